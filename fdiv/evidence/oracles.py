"""Brute-force oracles for the tested claims; they read the generator and share no code with the derivations.

They compare numbers that are rounded, so that a claim which passes is *tested*, and one that does not is open: a
rounded number, or one that overflowed, refutes nothing.

The generator becomes a function of balls by SymPy's lambdify, not by `fdiv.numeric`, in 40 digits, so that the oracle's
own rounding cannot object to a true claim. The conjugate is a supremum, f' a difference, D(s) a quadrature of E_Q[f].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import flint
import numpy as np
import sympy
from flint import arb

from fdiv.evidence.finding import Evidence, Finding, left_open
from fdiv.evidence.signs import in_balls
from fdiv.exact.symbols import u, v
from fdiv.numeric.backends import numpy_backend
from fdiv.numeric.lower import lower
from fdiv.numeric.panels import Panels, panels
from fdiv.record import Divergence

_ONE_IS_WRONG = "one of the two is wrong, or lost its digits"
_TOO_STEEP = "f' overflows wherever looked"
_OVERFLOWING = 1e300  # a value beyond says nothing in double precision
_CONJUGATE_TOLERANCE = 1e-9
_GAUSSIAN_TOLERANCE = 1e-11
_WEIGHT_TOLERANCE = 1e-6
_NOTHING = 1e-30  # far below every D(s) but those of kinks that no Gaussian reaches
_POINTS_S = (0.05, 0.7, 4.0)
_COARSE = np.linspace(-700, 60, 4001)  # log ratios
_DIGITS, _MORE_DIGITS = 136, 204  # bits of 40 digits, and of 60 for differences


@cache
def _exact(divergence: Divergence) -> Callable[[Any], Any]:
    return in_balls(divergence.generator)


@cache
def _coarse(divergence: Divergence) -> Any:
    return sympy.lambdify(u, divergence.generator, ["scipy", "numpy"])


def supremum(divergence: Divergence, point: float) -> float:
    """Maximise u t - f(u) over log u in [-700, 60]: a grid finds the bracket, a golden section the maximum."""
    exact, coarse = _exact(divergence), _coarse(divergence)
    ratio = np.exp(_COARSE)
    with np.errstate(all="ignore"):
        values = np.nan_to_num(ratio * point - coarse(ratio), nan=-math.inf, posinf=-math.inf)
    at = int(np.argmax(values))
    low, high = float(_COARSE[max(at - 3, 0)]), float(_COARSE[min(at + 3, len(_COARSE) - 1)])

    def objective(x: float) -> Any:
        ratio = arb(x).exp()
        return ratio * point - exact(ratio)

    with flint.ctx.workprec(_DIGITS):
        return float(_highest(objective, low, high, 1e-10))


def compare_conjugate(divergence: Divergence) -> Finding:
    """Compare f* with the supremum on the whole line: below f'(0+), between, and above f'(inf)."""
    conjugate, unit = divergence.conjugate, _unit(divergence)
    start, end = float(divergence.slope_at_zero), float(divergence.slope_at_infinity)
    points = [unit * point for point in (-6.0, -3.0, -1.5, -0.7, -0.1, 0.05, 0.3, 0.9, 1.5, 4.0)]
    points += [_slope(divergence, x) for x in (-3, 3)]
    if math.isfinite(start):
        points += [start - 0.5 * unit, start - 3.0 * unit]
    # the supremum is sought up to log u = 60 only
    far = _slope(divergence, _COARSE[-1] - 1)
    points = [p for p in sorted(points) if abs(p - end) > 1e-3 * unit and not far < p < end]
    if not points:
        return left_open(_TOO_STEEP)
    for point in points:
        value = conjugate(point)
        truth = math.inf if point > end and _unbounded(divergence, point) else supremum(divergence, point)
        if not (value == truth or abs(value - truth) <= _CONJUGATE_TOLERANCE * max(unit, abs(truth)) < math.inf):
            return left_open(f"f*({point:g}) = {value!r}, but the supremum is {truth!r}: {_ONE_IS_WRONG}")
    return Finding(Evidence.TESTED, f"equals the supremum of u t - f(u) at {len(points)} t, below f'(0+) too")


def _unit(divergence: Divergence) -> float:
    """How far f' rises around u = 1, so that a multiple of f is looked at where f is."""
    return (_slope(divergence, 1) - _slope(divergence, -1)) / 2 or 1.0


def _unbounded(divergence: Divergence, point: float) -> bool:
    """Whether u t - f(u), which is concave, still rises between u = 1000 and 2000 as a slope beyond f'(inf) must."""
    exact = _exact(divergence)
    with flint.ctx.workprec(_DIGITS):
        rise = 1000 * arb(point) - exact(arb(2000)) + exact(arb(1000))
        return bool(rise >= 999 * (point - float(divergence.slope_at_infinity)))


def _slope(divergence: Divergence, log_ratio: float) -> float:
    """f'(e^x) by a central difference in 60 digits."""
    exact = _exact(divergence)
    with flint.ctx.workprec(_MORE_DIGITS):
        ratio = arb(log_ratio).exp()
        step = ratio * arb(10) ** -20
        return float((exact(ratio + step) - exact(ratio - step)) / (2 * step))


def gaussian_value(divergence: Divergence, s: float, around: float | None = None) -> float:
    """E_Q[f] for log u ~ N(-s/2, s), by composite Gauss-Legendre quadrature.

    A tangent of f is subtracted, whose expectation is zero, so that all terms are positive. The panels are those of
    s = `around`, which serve any s a few hundredths from it: f in 40 digits is what takes the time.
    """
    panels = _panels(divergence, s if around is None else around)
    return float(np.sum(panels.densities(s) * panels.heights))


@cache
def _panels(divergence: Divergence, s: float) -> Panels:
    cuts = [float(sympy.log(piece.lower)) for piece in divergence.pieces[1:]]
    slope, exact = divergence.slope_at_one, _exact(divergence)

    def above(log_ratio: float) -> float:
        ratio = arb(log_ratio).exp()
        return float(exact(ratio) - tangent * (ratio - 1))

    fine = 4 if divergence.generator.has(sympy.exp) else 1  # e^(10 - u) bends within a tenth of log u, anywhere
    with flint.ctx.workprec(_DIGITS):
        tangent = arb(str(slope.evalf(45)))
        return panels(above, s, (cuts, _bends(divergence.generator)), fine)


def _bends(generator: sympy.Expr) -> list[float]:
    """Return the log u at which the exponent of an e^{a u + b} vanishes: there it bends against a constant."""
    lines = [e.args[0].as_poly(u) for e in generator.atoms(sympy.exp)]
    zeros = [-line.nth(0) / line.nth(1) for line in lines if line is not None and line.degree() == 1]
    return [math.log(zero) for zero in zeros if zero.is_positive]


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
        if not abs(value - truth) <= _GAUSSIAN_TOLERANCE * abs(truth) + _NOTHING < math.inf:
            return left_open(f"D({s:g}) = {value!r}, but E_Q[f] = {truth!r} there: {_ONE_IS_WRONG}")
    shown = ", ".join(f"{s:.3g}" for s in points)
    return Finding(Evidence.TESTED, f"equals a quadrature of E_Q[f] at s = {shown}")


def compare_gradient_weight(divergence: Divergence) -> Finding:
    """Compare w(s) with fourth-order differences of the oracle's D, and ask for w >= 0."""
    for s in _scaled_points(divergence)[::2]:
        value = divergence.gaussian.gradient_weight(s)
        # D may rise like exp(-1/s) near a kink far from 1: a step in which it changes by a hundredth
        step = min(s / 200, 0.01 * divergence.gaussian(s) / max(value, 1e-300)) or s / 200
        at = {k: gaussian_value(divergence, s + k * step, around=s) for k in (-2, -1, 1, 2)}
        near, far = at[1] - at[-1], at[2] - at[-2]
        truth = (8 * near - far) / (12 * step)
        if not (value >= 0 and abs(value - truth) <= _WEIGHT_TOLERANCE * abs(truth) + _NOTHING < math.inf):
            return left_open(f"w({s:g}) = {value!r}, but dD/ds = {truth!r} there: {_ONE_IS_WRONG}")
    return Finding(Evidence.TESTED, "equals differences of a quadrature of E_Q[f]; w >= 0 because f is convex")


def compare_activation(divergence: Divergence) -> Finding:
    """Check that T increases inside the domain of f*, and T = f'(u), f*(T) = u f'(u) - f(u), or the supremum there."""
    activation, domain = divergence.activation, divergence.conjugate.effective_domain
    grid = np.linspace(-4.5, 4.5, 10)
    with np.errstate(all="ignore"):  # what overflows is left out below
        output, term = (lower(f, v, numpy_backend())(grid) for f in (activation.output, activation.conjugate_term))
    inside = np.abs(output) < _OVERFLOWING
    inside &= np.array([_value(divergence, math.exp(x)) < _OVERFLOWING for x in grid.tolist()])
    grid, output, term = grid[inside], output[inside], term[inside]
    if not len(grid) or not (np.diff(output) >= 0).all() or not all(domain.contains(value) for value in output):
        return left_open(f"T does not increase into {domain} in these numbers: {_ONE_IS_WRONG}")
    for x, critic_value, value in zip(grid.tolist(), output.tolist(), term.tolist(), strict=True):
        slope = _slope(divergence, x) if activation.canonical else critic_value
        truth = _surplus(divergence, x) if activation.canonical else supremum(divergence, critic_value)
        if not (_close(critic_value, slope) and _close(value, truth)):
            found = f"T({x:g}) = {critic_value!r} and f*(T) = {value!r}, but f' = {slope!r} and f* = {truth!r}"
            return left_open(f"{found}: {_ONE_IS_WRONG}")
    kind = "canonical, T(v) = f'(e^v)" if activation.canonical else "a smooth step at each kink"
    return Finding(Evidence.TESTED, f"{kind}; increasing inside {domain}, with the right f*(T(v))")


def _surplus(divergence: Divergence, log_ratio: float) -> float:
    """u f'(u) - f(u) = f*(f'(u))."""
    return math.exp(log_ratio) * _slope(divergence, log_ratio) - _value(divergence, math.exp(log_ratio))


def _close(value: float, truth: float) -> bool:
    return abs(value - truth) <= 1e-9 * max(1.0, abs(truth)) < math.inf


_LOG_RATIOS = (-2.03, -0.97, 0.06, 1.04, 1.96)  # ratios that are nobody's kink


def compare_biconjugate(divergence: Divergence) -> Finding:
    """Compare f(u) with u t - f*(t): attained at t = f'(u), and by no t around it exceeded."""
    conjugate = divergence.conjugate
    for x in _usual(divergence):
        ratio = math.exp(x)
        # evenly in t, and where f' runs through 80 powers of ten evenly in log u
        low, at, high = (_slope(divergence, x + d) for d in (-1, 0, 1))
        slopes = np.array([at, *np.linspace(low, high, 33), *(_slope(divergence, x + k / 16) for k in range(-16, 17))])
        # an array's f* is by roots, all at once; a number's by the formula where there is one
        at_each = [conjugate(t) for t in slopes.tolist()] if conjugate.exact else conjugate(slopes)
        value = float(np.max(ratio * slopes - at_each))
        truth = _value(divergence, ratio)
        if not abs(value - truth) <= 1e-8 * max(1.0, abs(truth)):
            return left_open(f"f**({ratio:.6g}) = {value!r}, but f is {truth!r} there: {_ONE_IS_WRONG}")
    if not _usual(divergence):
        return left_open(_TOO_STEEP)
    return Finding(Evidence.TESTED, f"f**(u) = f(u) at {len(_usual(divergence))} ratios")


@cache
def _usual(divergence: Divergence) -> list[float]:
    """Return those of the log ratios around which neither f nor f' overflows."""
    return [x for x in _LOG_RATIOS if abs(_slope(divergence, x + 1)) + abs(_slope(divergence, x - 1)) < _OVERFLOWING]


def _value(divergence: Divergence, ratio: float) -> float:
    with flint.ctx.workprec(_DIGITS):
        return float(_exact(divergence)(arb(ratio)))


def _highest(concave: Callable[[float], Any], low: float, high: float, width: float = 1e-9) -> Any:
    """Return the maximum of a concave function on [low, high], by golden section down to that relative width."""
    share = (math.sqrt(5) - 1) / 2
    ends = concave(low), concave(high)
    left, right = high - share * (high - low), low + share * (high - low)
    f_left, f_right = concave(left), concave(right)
    while high - low > width * max(1.0, abs(low), abs(high)):
        if f_left < f_right:
            low, left, f_left = left, right, f_right
            right = low + share * (high - low)
            f_right = concave(right)
        else:
            high, right, f_right = right, left, f_left
            left = high - share * (high - low)
            f_left = concave(left)
    return max(f_left, f_right, *ends)


def compare_fenchel_young(divergence: Divergence) -> Finding:
    """Look at the gap f(u) + f*(t) - u t: zero where t is a slope at u, positive elsewhere."""
    unit = _unit(divergence)
    log_ratios = _usual(divergence)
    if not log_ratios:
        return left_open(_TOO_STEEP)
    slopes = [_slope(divergence, x) for x in log_ratios]
    conjugates = [divergence.conjugate(slope) for slope in slopes]
    for i, x in enumerate(log_ratios):
        ratio = math.exp(x)
        value = _value(divergence, ratio)
        for j, (slope, conjugate) in enumerate(zip(slopes, conjugates, strict=True)):
            gap = value + conjugate - ratio * slope
            scale = 1e-9 * max(unit, abs(value), abs(conjugate), abs(ratio * slope))
            distinct = abs(slope - slopes[i]) > 1e-4 * max(unit, abs(slope))
            if not gap >= -scale or (i == j and not gap <= scale < math.inf) or (distinct and not gap > 0):
                wanted = "zero" if i == j else "positive"
                reason = f"f(u) + f*(t) - u t = {gap!r} at u = {ratio:.6g}, t = {slope:g} is not {wanted}"
                return left_open(f"{reason}: {_ONE_IS_WRONG}")
    return Finding(Evidence.TESTED, f"the gap is positive but for t = f'(u), at {len(slopes) ** 2} pairs")


def compare_adjoint(divergence: Divergence) -> Finding:
    """Compare u g(1/u) with f, where g is the derived adjoint."""
    exact, adjoint = _exact(divergence), _exact(divergence.adjoint)
    for x in _LOG_RATIOS:
        with flint.ctx.workprec(_DIGITS):
            ratio = arb(x).exp()
            value, truth = ratio * adjoint(1 / ratio), exact(ratio)
        if not _close(float(value), float(truth)):
            return left_open(f"the adjoint's adjoint is {float(value)!r} at u = {float(ratio):g}: {_ONE_IS_WRONG}")
    return Finding(Evidence.TESTED, f"u f(1/u) twice is f at {len(_LOG_RATIOS)} ratios; f(0+) and f'(inf) exchange")


def compare_sign(divergence: Divergence) -> Finding:
    """Ask for D(0) = 0 and D(s) >= 0 from s = 1e-12 to 1e6."""
    if divergence.gaussian(0.0) != 0:
        return left_open(f"D(0) = {divergence.gaussian(0.0)!r}: {_ONE_IS_WRONG}")
    for s in (10.0**k for k in range(-12, 7)):
        value = divergence.gaussian(s)
        if not value >= 0:
            return left_open(f"D({s:g}) = {value!r}: {_ONE_IS_WRONG}")
    return Finding(Evidence.TESTED, "D(0) = 0 and D(s) >= 0 at 19 s from 1e-12 to 1e6")


def compare_gradient_law(divergence: Divergence) -> Finding:
    """Compare w(s) with a quadrature of E_Q[u^2 f''(u)] / 2.

    Where f has kinks or an infinite f'', the same after one integration by parts: E_Q[u f'(u) (y / sqrt(s) - 1)] / 2
    for log u = sqrt(s) y - s/2.
    """
    for s in _scaled_points(divergence)[1:]:
        panels = _panels(divergence, s)
        with flint.ctx.workprec(_MORE_DIGITS):
            log_ratios = panels.log_ratios.tolist()
            if len(divergence.pieces) == 1:
                values = np.array([_curvature(divergence, x) for x in log_ratios])
            else:
                tangent = _slope(divergence, 1e-9)
                rises = np.array([float(arb(x).exp() * (_slope(divergence, x) - tangent)) for x in log_ratios])
                values = rises * ((panels.log_ratios + s / 2) / s - 1)
        truth = float(np.sum(panels.densities(s) * values)) / 2
        value = divergence.gaussian.gradient_weight(s)
        if not abs(value - truth) <= 1e-9 * abs(truth) + _NOTHING < math.inf:
            return left_open(f"w({s:g}) = {value!r}, but E_Q[u^2 f''(u)] / 2 = {truth!r} there: {_ONE_IS_WRONG}")
    return Finding(Evidence.TESTED, "equals a quadrature of E_Q[u^2 f''(u)] / 2")


def _curvature(divergence: Divergence, log_ratio: Any) -> float:
    """u^2 f''(u) by a second difference in the working precision."""
    exact, ratio, step = _exact(divergence), arb(log_ratio).exp(), arb(10) ** -15
    values = exact(ratio * (1 + step)) + exact(ratio * (1 - step)) - 2 * exact(ratio)
    return float(values / step**2)


def compare_large_s(divergence: Divergence) -> Finding:
    """Ask that D(s) increases with s and stays below f(0+) + f'(inf)."""
    points = (1.0, 10.0, 100.0, 1e3, 1e4, 1e6)
    values = list(map(divergence.gaussian, points))
    limit = [float(divergence.value_at_zero + divergence.slope_at_infinity)]
    for s, value, following in zip(points, values, values[1:] + limit, strict=True):
        if not value <= following * (1 + 1e-12):
            return left_open(f"D({s:g}) = {value!r} exceeds {following!r}: {_ONE_IS_WRONG}")
    if values[0] == math.inf:
        return left_open("D(1) is beyond double precision already")
    s, value = [(s, value) for s, value in zip(points, values, strict=True) if value < math.inf][-1]
    return Finding(Evidence.TESTED, f"D increases up to D({s:g}) = {value:.6g}, the last point in range")
