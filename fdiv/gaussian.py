"""D(s) and its gradient weight w(s) = dD/ds between N(mu_P, sigma^2 I) and N(mu_Q, sigma^2 I).

Everything depends on s = |mu_P - mu_Q|^2 / sigma^2 alone, because log dP/dQ is N(-s/2, s) under Q.
Differentiating the Gaussian (Stein's lemma) gives the universal gradient law w(s) = E_Q[u^2 f''(u)] / 2 >=
0.

A closed form is decidable in one class: a finite sum of c u^p (log u)^n per piece, whose moments are
d^n/dp^n exp(p (p-1) s/2) times differences of normal distribution functions at kinks. What is outside that
class, or whose closed form loses digits, goes to quadrature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import mpmath
import numpy as np
import sympy
from sympy import Expr
from sympy.codegen.cfunctions import log1p

from fdiv.calculus import DerivationError, Piece, normal, s, u
from fdiv.lowering import MPMATH, Backend, cancelled, lower, numpy_backend
from fdiv.quadrature import Quadrature, tabulate

if TYPE_CHECKING:
    from fdiv.divergence import Divergence

_ACCURACY = 1e-13
_PROBES = (1e-12, 1e-9, 1e-6, 1e-3, 0.05, 0.3, 1.0, 3.0, 9.0, 30.0, 1e2, 1e3, 1e4, 1e6)


@dataclass(frozen=True)
class Gaussian:
    """D(s) and w(s), with formulas where they exist.

    `kind` is closed (a formula exists), quadrature (none does in the decidable class) or infinite (D(s) is
    not finite for every s, so there is no Gaussian loss). `reason` says why where nothing can be evaluated.
    """

    kind: Literal["closed", "quadrature", "infinite"]
    formula: Expr | None = None
    gradient_weight_formula: Expr | None = None
    quadrature: Quadrature | None = None
    reason: str = ""

    @property
    def evaluable(self) -> bool:
        """Whether D and w have an accurate numeric form."""
        return not self.reason

    def on(self, backend: Backend) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """Return D and w as functions of an array s >= 0; w(0) is 0 where dD/ds is infinite."""
        if not self.evaluable:
            raise DerivationError(self.reason)
        if self.quadrature is not None:
            return self.quadrature.on(backend)
        assert self.formula is not None
        assert self.gradient_weight_formula is not None
        weight = lower(self.gradient_weight_formula, s, backend)
        if sympy.limit(self.gradient_weight_formula, s, 0, "+").is_finite:
            return lower(cancelled(self.formula, s), s, backend), weight

        def subgradient(x: Any) -> Any:
            positive = backend.where(x > 0, x, backend.fill(x, 1.0))
            return backend.where(x > 0, weight(positive), backend.fill(x, 0.0))

        return lower(cancelled(self.formula, s), s, backend), subgradient

    def wrapped_on(self, backend: Backend, factor: Any) -> Callable[[Any], Any] | None:
        """Return s -> log(1 + factor D(s)) without overflow, or None where D does not grow exponentially.

        The fastest exponential is taken out of the logarithm symbolically.
        """
        if self.formula is None or self.formula.has(sympy.erf):
            return None
        terms = sympy.Add.make_args(self.formula)
        rate = max((sympy.diff(sympy.log(term), s) for term in terms if term.has(sympy.exp)), default=sympy.S.Zero)
        if not (rate.is_number and rate > 0):
            return None
        inside = sympy.expand((1 + factor * self.formula) * sympy.exp(-rate * s))
        return lower(rate * s + log1p(cancelled(inside - 1, s)), s, backend)

    def __call__(self, point: float) -> float:
        """D at a number s >= 0, in nats."""
        return self._at(0, point)

    def gradient_weight(self, point: float) -> float:
        """Return w = dD/ds at a number s >= 0; the subgradient 0 at s = 0 where it is infinite."""
        return self._at(1, point)

    def _at(self, which: int, point: float) -> float:
        with np.errstate(over="ignore", under="ignore"):
            return float(self.on(numpy_backend())[which](np.array(point, dtype=float)))


def derive_gaussian(divergence: Divergence) -> Gaussian:
    """Find the closed form or tabulate the quadrature; never raises for a convex generator."""
    moments = [_moments(piece) for piece in divergence.pieces]
    if None not in moments:
        formula = _tidy(sympy.Add(*(moment for moment in moments if moment is not None)))
        weight = _tidy(sympy.diff(formula, s))
        if _accurate(Gaussian("closed", formula, weight)):
            return Gaussian("closed", formula, weight)
    elif _grows_too_fast(divergence):
        return Gaussian("infinite", reason="f grows faster than every power of u, so D(s) is not finite for every s")
    else:
        formula = weight = None
    kind: Literal["closed", "quadrature"] = "quadrature" if formula is None else "closed"
    try:
        return Gaussian(kind, formula, weight, quadrature=_quadrature(divergence))
    except DerivationError as error:
        return Gaussian(kind, formula, weight, reason=f"D(s) has no accurate numeric form: {error}")


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
    for function, formula in zip(
        closed.on(numpy_backend()), (closed.formula, closed.gradient_weight_formula), strict=True
    ):
        with np.errstate(all="ignore"):
            values = function(np.array(_PROBES))
        with mpmath.workdps(60):
            exact = lower(formula, s, MPMATH)
            for point, value in zip(_PROBES, values, strict=True):
                truth = exact(mpmath.mpf(point))
                if abs(truth) < 1e300 and not abs(value - truth) <= _ACCURACY * abs(truth) + 1e-300:
                    return False
    return True


def _grows_too_fast(divergence: Divergence) -> bool:
    """Whether f outgrows every power of u at an end: its index u f'/f of regular variation is infinite."""
    first, last = divergence.pieces[0], divergence.pieces[-1]
    ends = [(first, first.lower, divergence.value_at_zero), (last, last.upper, divergence.slope_at_infinity)]
    return any(
        piece.limit(u * piece.slope / piece.expression, end).is_infinite
        for piece, end, bound in ends
        if bound.is_infinite
    )


def _quadrature(divergence: Divergence) -> Quadrature:
    """Split a smooth f into closed terms and a bounded rest; a kinked f must be bounded as it stands."""
    if len(divergence.pieces) > 1:
        if divergence.value_at_zero.is_infinite or divergence.slope_at_infinity.is_infinite:
            raise DerivationError("f has pieces and is unbounded")
        return tabulate(divergence, divergence.pieces, sympy.S.Zero)
    (piece,) = divergence.pieces
    inside, rest = _split(piece.expression)
    whole = Piece(piece.lower, piece.upper, rest)
    at_infinity = whole.limit(whole.slope / sympy.log(u), whole.upper)
    at_zero = -whole.limit(rest / sympy.log(u), whole.lower)
    if at_infinity.is_infinite or at_zero.is_infinite:
        raise DerivationError("its part without a closed form grows faster than u log u or -log u")
    bounded = normal(rest - at_infinity * u * sympy.log(u) + at_zero * sympy.log(u))
    closed = [*inside, (at_infinity, sympy.S.One, 1), (-at_zero, sympy.S.Zero, 1)]
    formula = sympy.Add(*(c * _moment(p, n, sympy.S.Zero, sympy.oo) for c, p, n in closed))
    return tabulate(divergence, (Piece(piece.lower, piece.upper, bounded),), sympy.expand(formula))
