"""Brute-force oracles for the tested claims; they read the generator and share no code with the derivations.

The generator becomes a function by SymPy's lambdify (not by `fdiv.lowering`) in 40 digits, so that the oracle's own
rounding cannot refute a true claim. The conjugate is a supremum, f' is a difference, D(s) a plain quadrature of E_Q[f].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import mpmath
import numpy as np
import sympy

from fdiv.calculus import u, v
from fdiv.lowering import lower, numpy_backend
from fdiv.signs import Counterexample, Evidence, Finding

if TYPE_CHECKING:
    from fdiv.divergence import Divergence

_CONJUGATE_TOLERANCE = 1e-9
_GAUSSIAN_TOLERANCE = 1e-11
_WEIGHT_TOLERANCE = 1e-6
_POINTS_S = (0.05, 0.7, 4.0)
_COARSE = np.linspace(-700, 60, 4001)  # log ratios


@dataclass(frozen=True)
class _Generator:
    """The generator as a coarse NumPy function and as an exact mpmath one."""

    coarse: Callable[[Any], Any]
    exact: Callable[[Any], Any]


@cache
def _generator(divergence: Divergence) -> _Generator:
    coarse = sympy.lambdify(u, divergence.generator, ["scipy", "numpy"])
    return _Generator(coarse, sympy.lambdify(u, divergence.generator, "mpmath"))


def supremum(divergence: Divergence, point: float) -> float:
    """Maximise u t - f(u) over log u in [-700, 60]: a grid finds the bracket, a golden section the maximum."""
    generator = _generator(divergence)
    ratio = np.exp(_COARSE)
    with np.errstate(all="ignore"):
        values = np.nan_to_num(ratio * point - generator.coarse(ratio), nan=-math.inf, posinf=-math.inf)
    at = int(np.argmax(values))
    low, high = float(_COARSE[max(at - 3, 0)]), float(_COARSE[min(at + 3, len(_COARSE) - 1)])

    def objective(x: float) -> Any:
        ratio = mpmath.exp(x)
        return ratio * point - generator.exact(ratio)

    share = (math.sqrt(5) - 1) / 2
    with mpmath.workdps(40):
        left, right = high - share * (high - low), low + share * (high - low)
        f_left, f_right = objective(left), objective(right)
        while high - low > 1e-10:
            if f_left < f_right:
                low, left, f_left = left, right, f_right
                right = low + share * (high - low)
                f_right = objective(right)
            else:
                high, right, f_right = right, left, f_left
                left = high - share * (high - low)
                f_left = objective(left)
        return float(max(f_left, f_right))


def compare_conjugate(divergence: Divergence) -> Finding:
    """Compare f* with the supremum on the whole line: below f'(0+), between, and above f'(inf)."""
    conjugate, end = divergence.conjugate, float(divergence.slope_at_infinity)
    start = float(divergence.slope_at_zero)
    points = [-6.0, -3.0, -1.5, -0.7, -0.1, 0.05, 0.3, 0.9, 1.5, 4.0, _slope(divergence, -3), _slope(divergence, 3)]
    points += [start - 0.5, start - 3.0] if math.isfinite(start) else []
    points = [point for point in sorted(points) if abs(point - end) > 1e-3]
    for point in points:
        value = conjugate(point)
        truth = math.inf if point > end and _unbounded(divergence, point) else supremum(divergence, point)
        if not (value == truth or abs(value - truth) <= _CONJUGATE_TOLERANCE * max(1.0, abs(truth))):
            reason = f"f*({point:g}) = {value!r}, but the supremum is {truth!r}"
            return Finding(Evidence.REFUTED, reason, Counterexample(point, "f*(t) at t = u", value))
    return Finding(Evidence.TESTED, f"equals the supremum of u t - f(u) at {len(points)} t, below f'(0+) too")


def _unbounded(divergence: Divergence, point: float) -> bool:
    """Whether u t - f(u), which is concave, still rises between u = 1000 and 2000 as a slope beyond f'(inf) must."""
    exact = _generator(divergence).exact
    with mpmath.workdps(40):
        rise = 1000 * mpmath.mpf(point) - exact(mpmath.mpf(2000)) + exact(mpmath.mpf(1000))
        return bool(rise >= 999 * (point - float(divergence.slope_at_infinity)))


def _slope(divergence: Divergence, log_ratio: float) -> float:
    """f'(e^x) by a central difference in 60 digits."""
    exact = _generator(divergence).exact
    with mpmath.workdps(60):
        ratio = mpmath.exp(log_ratio)
        step = ratio * mpmath.mpf(10) ** -20
        return float((exact(ratio + step) - exact(ratio - step)) / (2 * step))


def gaussian_value(divergence: Divergence, s: float) -> float:
    """E_Q[f] for log u ~ N(-s/2, s), by composite Gauss-Legendre quadrature in the standard normal variable.

    A tangent of f is subtracted, whose expectation is zero, so that all terms are positive.
    """
    exact, root = _generator(divergence).exact, math.sqrt(s)
    kinks = [(float(sympy.log(piece.lower)) + s / 2) / root for piece in divergence.pieces[1:]]
    reach = 10 + 2 * root
    ends = [-reach, *sorted(kink for kink in kinks if abs(kink) < reach), reach]
    breaks = np.unique(np.concatenate([np.linspace(a, b, 25) for a, b in pairwise(ends)]))
    points, weights = np.polynomial.legendre.leggauss(16)
    half, middle = np.diff(breaks)[:, None] / 2, (breaks[1:] + breaks[:-1])[:, None] / 2
    nodes, masses = (middle + half * points).ravel(), (half * weights).ravel()
    with mpmath.workdps(40):
        tangent = mpmath.mpmathify(divergence.slope_at_one.evalf(45))
        ratios = [mpmath.exp(root * y - s / 2) for y in nodes.tolist()]
        values = np.array([float(exact(ratio) - tangent * (ratio - 1)) for ratio in ratios])
    return float(np.sum(masses * values * np.exp(-nodes * nodes / 2))) / math.sqrt(2 * math.pi)


def _scaled_points(divergence: Divergence) -> list[float]:
    """Return the s to test at, shrunk for a D that explodes until s w(s) <= 8 D(s)."""

    def steep(s: float) -> bool:
        value = divergence.gaussian(s)
        return not (math.isfinite(value) and s * divergence.gaussian.gradient_weight(s) <= 8 * value)

    shrink = 1.0
    while shrink > 1e-6 and steep(max(_POINTS_S) * shrink):
        shrink /= 2
    return [s * shrink for s in _POINTS_S]


def compare_gaussian(divergence: Divergence) -> Finding:
    """Compare D(s) with the quadrature of E_Q[f]."""
    points = _scaled_points(divergence)
    for s in points:
        value, truth = divergence.gaussian(s), gaussian_value(divergence, s)
        if not abs(value - truth) <= _GAUSSIAN_TOLERANCE * abs(truth):
            return Finding(Evidence.REFUTED, f"D({s:g}) = {value!r}, but E_Q[f] = {truth!r} there")
    shown = ", ".join(f"{s:.3g}" for s in points)
    return Finding(Evidence.TESTED, f"equals a quadrature of E_Q[f] at s = {shown}")


def compare_gradient_weight(divergence: Divergence) -> Finding:
    """Compare w(s) with fourth-order differences of the oracle's D, and ask for w >= 0."""
    for s in _scaled_points(divergence)[::2]:
        step = s / 200
        near, far = (
            gaussian_value(divergence, s + k * step) - gaussian_value(divergence, s - k * step) for k in (1, 2)
        )
        value, truth = divergence.gaussian.gradient_weight(s), (8 * near - far) / (12 * step)
        if not (value >= 0 and abs(value - truth) <= _WEIGHT_TOLERANCE * abs(truth)):
            return Finding(Evidence.REFUTED, f"w({s:g}) = {value!r}, but dD/ds = {truth!r} there")
    return Finding(Evidence.TESTED, "equals differences of a quadrature of E_Q[f]; w >= 0 because f is convex")


def compare_activation(divergence: Divergence) -> Finding:
    """Check that T increases inside the domain of f*, and T = f'(u), f*(T) = u f'(u) - f(u), or the supremum there."""
    activation, domain = divergence.activation, divergence.conjugate.effective_domain
    grid = np.linspace(-4.5, 4.5, 10)
    output = lower(activation.output, v, numpy_backend())(grid)
    term = lower(activation.conjugate_term, v, numpy_backend())(grid)
    if not (np.diff(output) >= 0).all() or not all(domain.contains(value) for value in output):
        return Finding(Evidence.REFUTED, f"T is not increasing into {domain}")
    for x, critic_value, value in zip(grid.tolist(), output.tolist(), term.tolist(), strict=True):
        slope = _slope(divergence, x) if activation.canonical else critic_value
        truth = _surplus(divergence, x) if activation.canonical else supremum(divergence, critic_value)
        if not (_close(critic_value, slope) and _close(value, truth)):
            found = f"T({x:g}) = {critic_value!r} and f*(T) = {value!r}, but f' = {slope!r} and f* = {truth!r}"
            return Finding(Evidence.REFUTED, found)
    kind = "canonical, T(v) = f'(e^v)" if activation.canonical else "a logistic step at the kink"
    return Finding(Evidence.TESTED, f"{kind}; increasing inside {domain}, with the right f*(T(v))")


def _surplus(divergence: Divergence, log_ratio: float) -> float:
    """u f'(u) - f(u) = f*(f'(u)), by differences."""
    exact = _generator(divergence).exact
    with mpmath.workdps(60):
        ratio = mpmath.exp(log_ratio)
        step = ratio * mpmath.mpf(10) ** -20
        return float(ratio * (exact(ratio + step) - exact(ratio - step)) / (2 * step) - exact(ratio))


def _close(value: float, truth: float) -> bool:
    return abs(value - truth) <= 1e-9 * max(1.0, abs(truth))
