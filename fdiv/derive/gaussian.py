"""D(s), its gradient weight w(s) = dD/ds and dw/ds between N(mu_P, sigma^2 I) and N(mu_Q, sigma^2 I).

Everything depends on s = |mu_P - mu_Q|^2 / sigma^2 alone, because log dP/dQ is N(-s/2, s) under Q.
Differentiating the Gaussian (Stein's lemma) gives the universal gradient law w(s) = E_Q[u^2 f''(u)] / 2 >=
0.

A closed form is decidable in one class: a finite sum of c u^p (log u)^n per piece, whose moments are
d^n/dp^n exp(p (p-1) s/2) times differences of normal distribution functions at kinks. What is outside that
class, or whose closed form loses digits, is computed by the trapezoid rule of `fdiv.derive.quadrature`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import mpmath
import numpy as np
import sympy
from sympy import Expr
from sympy.codegen.cfunctions import log1p

from fdiv.derive.generator import Generator, Piece
from fdiv.derive.trapezoid import Trapezoid, tabulated
from fdiv.exact.asymptotics import UnknownExpansion, terms_above
from fdiv.exact.simplify import normal
from fdiv.exact.symbols import DerivationError, s, u
from fdiv.numeric.lowering import MPMATH, Backend, Function, cancelled, lower, numpy_backend

_ACCURACY = 1e-13
_PROBES = (1e-12, 1e-9, 1e-6, 1e-3, 0.05, 0.3, 1.0, 3.0, 9.0, 30.0, 1e2, 1e3, 1e4, 1e6)
_ROUNDING = 1e-14  # of a closed form, or of the sum over the nodes
_LARGE = 300.0  # an exponent beyond which e^x outweighs every other term
Functions = tuple[Function, Function, Function]


@dataclass(frozen=True)
class Gaussian:
    """D(s), w(s) and dw/ds, with formulas where they exist.

    `kind` is closed (a formula exists), quadrature (none does in the decidable class) or infinite (D(s) is
    not finite for every s, so there is no Gaussian loss). `reason` says why where nothing can be evaluated.
    `quadrature` is the numeric route, also of a formula that would lose digits.
    """

    kind: Literal["closed", "quadrature", "infinite"]
    formula: Expr | None = None
    gradient_weight_formula: Expr | None = None
    quadrature: Trapezoid | None = None
    reason: str = ""

    @property
    def evaluable(self) -> bool:
        """Whether D and w have an accurate numeric form."""
        return not self.reason

    def on(self, backend: Backend) -> Functions:
        """Return D, w and dw/ds as functions of an array s >= 0; 0 at s = 0 where one is infinite there.

        Raises DerivationError where `evaluable` is False.
        """
        if not self.evaluable:
            raise DerivationError(self.reason)
        if self.quadrature is not None:
            return self.quadrature.on(backend)
        assert self.formula is not None
        assert self.gradient_weight_formula is not None
        slope = sympy.diff(self.gradient_weight_formula, s)
        value, weight, curve = (
            _at_zero_too(formula, backend) for formula in (self.formula, self.gradient_weight_formula, slope)
        )
        return value, weight, curve

    def wrapped_on(self, backend: Backend, factor: Any) -> tuple[Function, Function]:
        """Return s -> log(1 + factor D(s)), which does not overflow where D does, and its derivative."""
        value, weight, _ = self.on(backend)
        closed = self.quadrature.closed if self.quadrature is not None else self.formula
        rate, scaled = dominant(closed)
        log, plus_one = backend.functions[sympy.log], backend.functions[log1p]
        number = backend.number(sympy.sympify(factor))
        if rate == 0:
            return lambda x: plus_one(number * value(x)), lambda x: number * weight(x) / (1 + number * value(x))
        edge = _LARGE / float(rate)
        rest, slope = (lower(e, s, backend) for e in (scaled, rate + sympy.diff(scaled, s) / scaled))

        def split(x: Any, near: Function, far: Function) -> Any:
            return backend.where(x < edge, near(backend.clip(x, None, edge)), far(backend.clip(x, edge, None)))

        def wrapped(x: Any) -> Any:
            return split(x, lambda y: plus_one(number * value(y)), lambda y: float(rate) * y + log(number * rest(y)))

        def derivative(x: Any) -> Any:
            return split(x, lambda y: number * weight(y) / (1 + number * value(y)), slope)

        return wrapped, derivative

    def __call__(self, point: float) -> float:
        """D at a number s >= 0, in nats."""
        return self._at(0, point)

    def gradient_weight(self, point: float) -> float:
        """Return w = dD/ds at a number s >= 0; at s = 0 its limit, or the subgradient 0 where that is infinite."""
        return self._at(1, point)

    def weight_slope(self, point: float) -> float:
        """Return dw/ds = d^2 D/ds^2 at a number s >= 0; 0 at s = 0 where it is infinite."""
        return self._at(2, point)

    def error_bound(self, point: float) -> float:
        """Bound the relative errors of D and w at s > 0 before anything is evaluated there.

        By the trapezoid rule's theorem, plus an allowance of 1e-14 for rounding; closed forms err by rounding alone.
        """
        if self.quadrature is None:
            return _ROUNDING
        return _ROUNDING + self.quadrature.relative_bound(point)

    @cached_property
    def _numbers(self) -> Functions:
        return self.on(numpy_backend())

    def _at(self, which: int, point: float) -> float:
        with np.errstate(over="ignore", under="ignore"):
            return float(self._numbers[which](np.array(point, dtype=float)))


def dominant(formula: Expr) -> tuple[Expr, Expr]:
    """Return the rate r > 0 of the fastest exponential in a formula, and formula e^{-r s}; (0, formula) if none."""
    terms = sympy.Add.make_args(sympy.expand(formula))
    rates = [sympy.limit(sympy.diff(sympy.log(term), s), s, sympy.oo) for term in terms if term.has(sympy.exp)]
    rate = max((rate for rate in rates if rate.is_number), default=sympy.S.Zero)
    if not rate > 0:
        return sympy.S.Zero, formula
    return rate, sympy.expand(sympy.Add(*(sympy.powsimp(term * sympy.exp(-rate * s)) for term in terms)))


def closed_on(formula: Expr, backend: Backend) -> Function:
    """Lower a sum of exponentials that becomes infinite, and never NaN, where it overflows."""
    # at 0 the constants cancel, which expm1 does exactly; elsewhere expm1 would bring the cancellation in
    vanishes = formula.subs(s, 0) == 0
    function = lower(cancelled(formula, s) if vanishes else formula, s, backend)
    rate, scaled = dominant(formula)
    if rate == 0:
        return function
    rest, exp, half = lower(scaled, s, backend), backend.functions[sympy.exp], float(rate) / 2
    edge = _LARGE / float(rate)

    def value(x: Any) -> Any:
        large = backend.clip(x, edge, None)
        growth = exp(half * large)
        return backend.where(x < edge, function(backend.clip(x, None, edge)), growth * (growth * rest(large)))

    return value


def _at_zero_too(formula: Expr, backend: Backend) -> Function:
    """Lower a formula in s > 0, with its limit at s = 0, or 0 where that is infinite."""
    function = closed_on(formula, backend)
    if not formula.has(s) or formula.subs(s, 0).is_finite:
        return function
    limit = sympy.limit(formula, s, 0, "+")
    start = float(limit) if limit.is_finite else 0.0

    def extended(x: Any) -> Any:
        positive = backend.where(x > 0, x, backend.fill(x, 1.0))
        return backend.where(x > 0, function(positive), backend.fill(x, start))

    return extended


def derive_gaussian(generator: Generator) -> Gaussian:
    """Find the closed form or tabulate the quadrature; never raises for a convex generator."""
    moments = [_moments(piece) for piece in generator.pieces]
    kind: Literal["closed", "quadrature"] = "quadrature" if None in moments else "closed"
    formula = weight = None
    if kind == "closed":
        formula = _tidy(sympy.Add(*(moment for moment in moments if moment is not None)))
        weight = _tidy(sympy.diff(formula, s))
        if _accurate(Gaussian("closed", formula, weight)):
            return Gaussian("closed", formula, weight)
    try:
        return Gaussian(kind, formula, weight, quadrature=_quadrature(generator))
    except (DerivationError, NotImplementedError) as error:
        if kind == "quadrature" and _grows_too_fast(generator):
            why = "f grows faster than every power of u, so D(s) is not finite for every s"
            return Gaussian("infinite", reason=why)
        return Gaussian(kind, formula, weight, reason=f"this software has no accurate numeric form of D(s): {error}")


def _moments(piece: Piece) -> Expr | None:
    """Return E_Q[f 1{piece}] in closed form, or None outside the decidable class."""
    inside, outside = _split(piece.expression)
    if outside != 0:
        return None
    return sympy.Add(*(c * _moment(p, n, piece.lower, piece.upper) for c, p, n in inside))


def _split(expression: Expr) -> tuple[list[tuple[Expr, Expr, int]], Expr]:
    """Split f into terms c u^p (log u)^n, as (c, p, n), and the rest."""
    inside, outside = [], []
    expanded = sympy.expand(normal(expression))
    for term in sympy.Add.make_args(expanded):
        coefficient, factor = term.as_independent(u, as_Add=False)
        powers = dict(part.as_base_exp() for part in sympy.Mul.make_args(factor))
        power, logs = powers.pop(u, sympy.S.Zero), powers.pop(sympy.log(u), sympy.S.Zero)
        powers.pop(sympy.S.One, None)
        if powers or power.has(u) or not (logs.is_Integer and logs >= 0):
            outside.append(term)
        else:
            inside.append((coefficient, power, int(logs)))
    return inside, sympy.Add(*outside)


def _moment(power: Expr, logs: int, lower_end: Expr, upper_end: Expr) -> Expr:
    """Return E_Q[u^p (log u)^n 1{lower < u < upper}] for log u ~ N(-s/2, s)."""
    p = sympy.Dummy("p", real=True)
    mass = _normal_cdf(upper_end, p) - _normal_cdf(lower_end, p)
    return sympy.diff(sympy.exp(p * (p - 1) * s / 2) * mass, p, logs).subs(p, power)


def _normal_cdf(end: Expr, p: Expr) -> Expr:
    if end in (0, sympy.oo):
        return sympy.S.Zero if end == 0 else sympy.S.One
    return (1 + sympy.erf((sympy.log(end) + s / 2 - p * s) / sympy.sqrt(2 * s))) / 2


def _tidy(formula: Expr) -> Expr:
    arguments_expanded = formula.replace(sympy.erf, lambda argument: sympy.erf(sympy.expand(argument)))
    return sympy.expand(arguments_expanded)


def _accurate(closed: Gaussian) -> bool:
    """Whether the lowered formulas keep their fp64 digits from s = 1e-12 to overflow, against 60 digits."""
    assert closed.formula is not None
    formulas = [sympy.diff(closed.formula, s, order) for order in range(3)]
    for function, formula in zip(closed.on(numpy_backend()), formulas, strict=True):
        with np.errstate(all="ignore"):
            values = function(np.array(_PROBES))
        with mpmath.workdps(60):
            exact = lower(formula, s, MPMATH)
            for point, value in zip(_PROBES, values, strict=True):
                truth = exact(mpmath.mpf(point))
                if abs(truth) < 1e300 and not abs(value - truth) <= _ACCURACY * abs(truth) + 1e-300:
                    return False
    return True


def _grows_too_fast(generator: Generator) -> bool:
    """Whether f outgrows every power of u at an end: its index u f'/f of regular variation is infinite."""
    first, last = generator.pieces[0], generator.pieces[-1]
    ends = [(first, first.lower, generator.value_at_zero), (last, last.upper, generator.slope_at_infinity)]
    return any(
        piece.limit(u * piece.slope / piece.expression, end).is_infinite
        for piece, end, bound in ends
        if bound.is_infinite
    )


def _quadrature(generator: Generator) -> Trapezoid:
    """Tabulate f above its tangent for small s, and f less its growth at both ends for large s."""
    growth = _growth(generator)
    common = sympy.Add(*(c * u**p * sympy.log(u) ** n for (p, n), c in growth.items()))
    closed = sympy.Add(*(c * _moment(p, n, sympy.S.Zero, sympy.oo) for (p, n), c in growth.items()))
    above = [Piece(p.lower, p.upper, p.expression - generator.slope_at_one * (u - 1)) for p in generator.pieces]
    rest = [Piece(p.lower, p.upper, p.expression - common) for p in generator.pieces]
    return tabulated(tuple(above), tuple(rest), generator.kinks, _tidy(closed), _weight_at_zero(generator))


def _weight_at_zero(generator: Generator) -> float:
    """w(0+) = E_Q[u^2 f''(u)] / 2 at s -> 0: half the mean of f''(1-) and f''(1+); 0 where it is infinite."""
    sides = generator.curvatures
    return float(sympy.Add(*sides)) / 4 if all(side.is_finite for side in sides) else 0.0


def _growth(generator: Generator) -> dict[tuple[Expr, int], Expr]:
    """Return the terms c u^p (log u)^n, as {(p, n): c}, without which e^{-x/2} f(e^x) has a decaying even part."""
    half = sympy.Rational(1, 2)
    try:
        top = terms_above(generator.pieces[-1].expression, u, half)
        inverted = terms_above(generator.pieces[0].expression.subs(u, 1 / u), u, -half)
    except UnknownExpansion as error:
        raise DerivationError(str(error)) from error
    bottom = {(-p, n): c * (-1) ** n for (p, n), c in inverted.items()}
    found = {power: c for power, c in top.items() if power[0] > half}
    found |= {power: c for power, c in bottom.items() if power[0] < half}
    for power in {*top, *bottom}:
        if power[0] == half:  # the even part has the mean of both ends
            ends = [terms.get(power, sympy.S.Zero) for terms in (top, bottom)]
            if power[1] % 2 and ends[0] != ends[1]:
                raise DerivationError(f"its terms sqrt(u) (log u)^{power[1]} differ at 0 and infinity")
            found[power] = (ends[0] + ends[1]) / 2
    return found
