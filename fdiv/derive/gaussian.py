"""D(s), its gradient weight w(s) = dD/ds and dw/ds between N(mu_P, sigma^2 I) and N(mu_Q, sigma^2 I).

Everything depends on s = |mu_P - mu_Q|^2 / sigma^2 alone, because log dP/dQ is N(-s/2, s) under Q.
Differentiating the Gaussian (Stein's lemma) gives the universal gradient law w(s) = E_Q[u^2 f''(u)] / 2 >=
0.

A closed form is decidable in one class: a finite sum of c u^p (log u)^n per piece, whose moments are
d^n/dp^n exp(p (p-1) s/2) times differences of normal distribution functions at kinks. What is outside that
class, or whose closed form loses digits, is computed by the trapezoid rule of `fdiv.derive.quadrature`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import mpmath
import numpy as np
import sympy
from sympy import Expr
from sympy.codegen.cfunctions import log1p

from fdiv.derive.closed_form import LARGE, closed_from_zero_on, dominant, expectation, tidy
from fdiv.derive.generator import Generator
from fdiv.derive.two_tables import TwoTables, tabulated
from fdiv.exact.symbols import DerivationError, s, u
from fdiv.numeric.backends import MPMATH, Backend, Function, elementwise, is_number, numpy_backend
from fdiv.numeric.lower import lower

_ACCURACY = 1e-13
_PROBES = (1e-12, 1e-9, 1e-6, 1e-3, 0.05, 0.3, 1.0, 3.0, 9.0, 30.0, 1e2, 1e3, 1e4, 1e6)
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
    quadrature: TwoTables | None = None
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
            closed_from_zero_on(formula, backend) for formula in (self.formula, self.gradient_weight_formula, slope)
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
        edge = LARGE / float(rate)
        rest, slope = (lower(e, s, backend) for e in (scaled, rate + sympy.diff(scaled, s) / scaled))

        def split(x: Any, near: Function, far: Function) -> Any:
            return backend.where(x < edge, near(backend.clip(x, None, edge)), far(backend.clip(x, edge, None)))

        def wrapped(x: Any) -> Any:
            return split(x, lambda y: plus_one(number * value(y)), lambda y: float(rate) * y + log(number * rest(y)))

        def derivative(x: Any) -> Any:
            return split(x, lambda y: number * weight(y) / (1 + number * value(y)), slope)

        return wrapped, derivative

    def __call__(self, point: Any) -> Any:
        """D in nats at a number s >= 0, or elementwise at an array or tensor, where a negative s gives NaN.

        Arrays are computed in fp64 and keep their dtype (fp32 for shorter ones), device and gradient, which is w(s).
        """
        return self._at(0, point) if is_number(point) else elementwise(self._from_zero_on, point)

    def _from_zero_on(self, backend: Backend) -> Function:
        def from_zero(function: Function) -> Function:
            return lambda x: backend.where(x >= 0, function(backend.clip(x, 0.0, None)), backend.fill(x, math.nan))

        value = backend.derived(*map(from_zero, self.on(backend)))
        return lambda x: backend.narrow(value(backend.wide(x)), x)

    def gradient_weight(self, point: float) -> float:
        """Return w = dD/ds at a number s >= 0; at s = 0 its limit, or the subgradient 0 where that is infinite."""
        return self._at(1, point)

    def weight_slope(self, point: float) -> float:
        """Return dw/ds = d^2 D/ds^2 at a number s >= 0; 0 at s = 0 where it is infinite."""
        return self._at(2, point)

    @cached_property
    def _numbers(self) -> Functions:
        return self.on(numpy_backend())

    def _at(self, which: int, point: float) -> float:
        with np.errstate(over="ignore", under="ignore"):
            return float(self._numbers[which](np.array(point, dtype=float)))


def derive_gaussian(generator: Generator) -> Gaussian:
    """Find the closed form or tabulate the quadrature; never raises for a convex generator."""
    moments = [expectation(piece) for piece in generator.pieces]
    kind: Literal["closed", "quadrature"] = "quadrature" if None in moments else "closed"
    formula = weight = None
    if kind == "closed":
        formula = tidy(sympy.Add(*(moment for moment in moments if moment is not None)))
        weight = tidy(sympy.diff(formula, s))
        if _accurate(Gaussian("closed", formula, weight)):
            return Gaussian("closed", formula, weight)
    try:
        return Gaussian(kind, formula, weight, quadrature=tabulated(generator))
    except (DerivationError, NotImplementedError) as error:
        if kind == "quadrature" and _grows_too_fast(generator):
            why = "f grows faster than every power of u, so D(s) is not finite for every s"
            return Gaussian("infinite", reason=why)
        return Gaussian(kind, formula, weight, reason=f"this software has no accurate numeric form of D(s): {error}")


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
