"""Numeric D(s) and w(s) where no closed form exists, as precomputed tables for any array library.

With f = closed terms + a bounded rest b, and r(x) = e^{-x/2} (b(0) + b'(inf) e^x - b(e^x)), which decays,

    D(s) = closed(s) + b(0) + b'(inf) - e^{-s/8} E[r(sqrt(s) y)],    y ~ N(0, 1),

is stable for s >= 1: fixed Gauss-Legendre nodes in x, with panels that double in width away from every
kink, carry the values of r computed in high precision. (Gauss-Hermite nodes in y are silently wrong by 50 %
once sqrt(s) >= 8.) For s < 1 that difference cancels; there D(s)/s and w(s) are smooth and stored as
Chebyshev series, in s, or in sqrt(s) where u = 1 is a kink (Trefethen, Approximation Theory and
Approximation Practice, 2013).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mpmath
import numpy as np
import sympy
from numpy.typing import NDArray
from sympy import Expr

from fdiv.calculus import Piece, s, u
from fdiv.lowering import MPMATH, Backend, Function, cancelled, lower

if TYPE_CHECKING:
    from fdiv.divergence import Divergence

Array = NDArray[np.float64]
_SWITCH = 1.0  # the s at which the series hand over to the nodes
_ENDS = (0.0, 1.0, 2.5, 4.5, 7.0, 9.5)  # of the panels in y, for the series
_ORDER = 20  # Gauss-Legendre nodes in a panel
_REACH = 128.0  # r(x) is below e^{-64} beyond
_DIGITS = 130  # e^{-x/2} u and e^{-x/2} b(u) cancel to 2 _REACH / log(10) digits


@dataclass(frozen=True, eq=False)
class Quadrature:
    """The tables: Chebyshev coefficients below s = 1, node values above."""

    order: int  # D is of order d^order as d = sqrt(s) -> 0: 2, or 1 at a kink
    in_root: bool  # the series are in sqrt(s), not in s
    value_series: Array
    weight_series: Array
    closed: Expr
    limit: float
    nodes: Array
    value_nodes: Array
    weight_nodes: Array
    kinks: tuple[tuple[float, float], ...]  # (log k, half the jump of the slope times sqrt(k))

    def on(self, backend: Backend) -> tuple[Function, Function]:
        """Return D and w as functions of a `backend` array."""
        exp, root = backend.functions[sympy.exp], backend.functions[sympy.sqrt]
        closed = lower(cancelled(self.closed, s), s, backend)
        closed_weight = lower(sympy.diff(self.closed, s), s, backend)

        def mean(x: Any, table: Array) -> Any:
            """Integrate the tabulated function against N(0, x), times e^{-x/8}."""
            exponent = -(backend.array(self.nodes, x) ** 2) / (2 * x[..., None]) - x[..., None] / 8
            return (exp(exponent) * backend.array(table, x)).sum(-1) / root(2 * np.pi * x)

        def split(x: Any, low: Function, high: Function) -> Any:
            return backend.where(x < _SWITCH, low(backend.clip(x, 0.0, _SWITCH)), high(backend.clip(x, _SWITCH, None)))

        def series(x: Any, coefficients: Array) -> Any:
            # the floor keeps the derivative of sqrt finite; it is far below the rounding of every result
            return _clenshaw(root(backend.clip(x, 1e-30, None)) if self.in_root else x, coefficients)

        def kink_mass(x: Any) -> Any:
            masses = [mass * exp(-(place**2) / (2 * x) - x / 8) for place, mass in self.kinks]
            return sum(masses) / root(2 * np.pi * x) if masses else 0.0

        def value(x: Any) -> Any:
            return split(
                x,
                lambda y: (y if self.order == 2 else root(y)) * series(y, self.value_series),
                lambda y: closed(y) + self.limit - mean(y, self.value_nodes),
            )

        def weight(x: Any) -> Any:
            def low(y: Any) -> Any:
                if self.order == 2:
                    return series(y, self.weight_series)
                positive = backend.clip(y, 1e-30, None)
                return backend.where(y > 0, series(y, self.weight_series) / root(positive), backend.fill(y, 0.0))

            return split(x, low, lambda y: closed_weight(y) + mean(y, self.weight_nodes) + kink_mass(y))

        return value, weight


def _clenshaw(z: Any, coefficients: Array) -> Any:
    """Sum a Chebyshev series on [0, 1]."""
    x, first, second = 4 * z - 2, 0 * z, 0 * z
    for coefficient in coefficients[:0:-1].tolist():
        first, second = x * first - second + coefficient, first
    return x * first / 2 - second + float(coefficients[0])


def tabulate(divergence: Divergence, bounded: tuple[Piece, ...], closed: Expr) -> Quadrature:
    """Compute the tables; the generator is `bounded` plus terms whose D(s) is `closed`."""
    whole = divergence.pieces
    at_zero = bounded[0].limit(bounded[0].expression, sympy.S.Zero)
    at_infinity = bounded[-1].limit(bounded[-1].slope, sympy.oo)
    kinks = tuple((float(sympy.log(k)), float(jump * sympy.sqrt(k) / 2)) for k, jump in divergence.kinks)
    cuts = tuple(float(sympy.log(piece.lower)) for piece in whole[1:])
    at_one = any(cut == 0 for cut in cuts)
    with mpmath.workdps(_DIGITS):
        tangent = divergence.slope_at_one
        value = _in_log_ratio(whole, lambda p: p.expression - tangent * (u - 1), sympy.Rational(-1, 2))
        weight = _in_log_ratio(whole, lambda p: p.second / 2, sympy.Rational(3, 2))
        rest = _in_log_ratio(bounded, lambda p: at_zero + at_infinity * u - p.expression, sympy.Rational(-1, 2))
        curved = _in_log_ratio(bounded, lambda p: p.second / 2, sympy.Rational(3, 2))
        nodes, weights = _panels(cuts)

        def slope(d: float) -> float:
            return _mean(weight, d, cuts) + _kink_mass(d, kinks)

        order = 1 if divergence.curvature == sympy.oo else 2
        return Quadrature(
            order,
            at_one,
            _series(lambda roots: np.array([_mean(value, d, cuts) / d**order for d in roots]), at_one),
            _series(lambda roots: np.array([slope(d) * d ** (2 - order) for d in roots]), at_one),
            closed,
            float(at_zero + at_infinity),
            nodes,
            weights * np.array([float(rest(x)) for x in nodes]),
            weights * np.array([float(curved(x)) for x in nodes]),
            kinks,
        )


def _in_log_ratio(pieces: tuple[Piece, ...], part: Callable[[Piece], Expr], power: Expr) -> Callable[[Any], Any]:
    """Return x -> e^{power x} part(e^x) in the working precision."""
    branches = [(MPMATH.number(p.upper), lower(sympy.sympify(part(p)), u, MPMATH)) for p in pieces]
    exponent = MPMATH.number(power)

    def function(x: Any) -> Any:
        ratio = mpmath.exp(x)
        branch = next((f for upper, f in branches if ratio < upper), branches[-1][1])
        return mpmath.exp(exponent * x) * branch(ratio)

    return function


def _panels(cuts: tuple[float, ...]) -> tuple[Array, Array]:
    """Return nodes and weights on panels that double in width away from 0 and every kink."""
    centres = sorted({0.0, *cuts})
    steps = [0.0, *(2.0**k for k in range(8))]
    breaks = {centre + sign * step for centre in centres for sign in (1, -1) for step in steps}
    return _composite(sorted(b for b in breaks if abs(b) <= _REACH))


def _composite(breaks: list[float]) -> tuple[Array, Array]:
    points, weights = np.polynomial.legendre.leggauss(_ORDER)
    ends = np.array(breaks)
    half, middle = np.diff(ends)[:, None] / 2, (ends[1:] + ends[:-1])[:, None] / 2
    return (middle + half * points).ravel(), (half * weights).ravel()


def _series(small: Callable[[Array], Array], in_root: bool) -> Array:
    """Return Chebyshev coefficients on [0, 1], doubling the degree until the last ones are rounding.

    A kink or a complex singularity at distance a from u = 1 adds terms like exp(-a^2 / (2 s)), which converge slowly.
    """
    for degree in (24, 48, 96):
        points = (1 + np.cos(np.pi * (np.arange(degree) + 0.5) / degree)) / 2
        coefficients = _coefficients(small(points if in_root else np.sqrt(points)))
        if np.max(np.abs(coefficients[-3:])) <= 1e-14 * np.max(np.abs(coefficients)):
            break
    return coefficients


def _coefficients(values: Array) -> Array:
    """Return the Chebyshev coefficients of the interpolant (a discrete cosine transform)."""
    degree = len(values)
    angles = np.pi * (np.arange(degree) + 0.5) / degree
    coefficients = 2 / degree * np.cos(np.outer(np.arange(degree), angles)) @ values
    coefficients[0] /= 2
    return coefficients


def _mean(function: Callable[[Any], Any], d: float, cuts: tuple[float, ...]) -> float:
    """Return e^{-d^2/8} E[function(d y)] for y ~ N(0, 1) and a positive function, which loses no digits."""
    inner = {cut / d for cut in cuts if abs(cut / d) < _ENDS[-1]}
    nodes, weights = _composite(sorted({sign * end for end in _ENDS for sign in (1, -1)} | inner))
    density = weights * np.exp(-(nodes**2) / 2 - d * d / 8) / np.sqrt(2 * np.pi)
    with mpmath.workdps(40):
        return float(density @ [float(function(d * y)) for y in nodes])


def _kink_mass(d: float, kinks: tuple[tuple[float, float], ...]) -> float:
    """Return the kinks' share of w at s = d^2."""
    masses = [mass * np.exp(-((place / d) ** 2) / 2 - d * d / 8) for place, mass in kinks]
    return float(sum(masses)) / np.sqrt(2 * np.pi) / d
