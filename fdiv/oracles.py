"""Brute-force oracles for the tested claims. They read the generator alone and share no code with the derivations.

The generator is turned into NumPy by SymPy's lambdify (not by `fdiv.lowering`), the conjugate is a supremum over a
grid, and D(s) is SciPy's adaptive quadrature of E_Q[f].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy

from fdiv.calculus import u
from fdiv.signs import Counterexample, Evidence, Finding

if TYPE_CHECKING:
    from fdiv.divergence import Divergence

_CONJUGATE_TOLERANCE = 1e-8
_GAUSSIAN_TOLERANCE = 1e-9
_WEIGHT_TOLERANCE = 1e-6
_POINTS_S = (0.05, 0.7, 4.0)


def _numeric(divergence: Divergence) -> Callable[[Any], Any]:
    function = sympy.lambdify(u, divergence.generator, ["scipy", "numpy"])
    return lambda ratio: function(ratio) * np.ones_like(ratio)


def supremum(function: Callable[[Any], Any], point: float) -> float:
    """Maximise u t - f(u) over log u in [-700, 60] by a grid that narrows."""
    low, high, best = -700.0, 60.0, -math.inf
    for _ in range(9):
        grid = np.linspace(low, high, 4001)
        ratio = np.exp(grid)
        with np.errstate(all="ignore"):
            values = np.nan_to_num(ratio * point - function(ratio), nan=-math.inf, posinf=-math.inf)
        at = int(np.argmax(values))
        best = max(best, float(values[at]))
        low, high = grid[max(at - 2, 0)], grid[min(at + 2, len(grid) - 1)]
    return best


def compare_conjugate(divergence: Divergence) -> Finding:
    """Compare f* with the supremum on the whole line: below f'(0+), between, and above f'(inf)."""
    function, conjugate = _numeric(divergence), divergence.conjugate
    end = float(divergence.slope_at_infinity)
    start = float(divergence.slope_at_zero)
    points = [-6.0, -3.0, -1.5, -0.7, -0.1, 0.05, 0.3, 0.9, 1.5, 4.0]
    points += [start - 0.5, start - 3.0] if math.isfinite(start) else []
    points += [end - 0.02, end - 0.3] if math.isfinite(end) else []
    for point in sorted(points):
        if abs(point - end) < 1e-3:
            continue
        value, truth = conjugate(point), supremum(function, point)
        if point > end:
            truth = math.inf if truth > 1e9 else truth
        if not (value == truth or abs(value - truth) <= _CONJUGATE_TOLERANCE * max(1.0, abs(truth))):
            reason = f"f*({point:g}) = {value!r}, but the supremum is {truth!r}"
            return Finding(Evidence.REFUTED, reason, Counterexample(point, "f*(t) at t = u", value))
    return Finding(Evidence.TESTED, f"equals the supremum of u t - f(u) at {len(points)} t, below f'(0+) too")


def gaussian_value(divergence: Divergence, s: float) -> float:
    """E_Q[f] for log u ~ N(-s/2, s) by adaptive quadrature; a tangent is subtracted, which drops out."""
    from scipy.integrate import quad

    function, root = _numeric(divergence), math.sqrt(s)
    tangent = float(divergence.slope_at_one)

    def integrand(y: float) -> float:
        ratio = np.exp(np.float64(-s / 2 + root * y))
        return float(function(ratio) - tangent * (ratio - 1)) * math.exp(-y * y / 2)

    places = [float(sympy.log(piece.lower)) for piece in divergence.pieces[1:]]
    breaks = [(place + s / 2) / root for place in places]
    ends = [-12.0, *sorted(b for b in {*breaks, 0.0, root} if -12 < b < 12 + 2 * root), 12.0 + 2 * root]
    parts = (
        quad(integrand, a, b, epsabs=0, epsrel=1e-12, limit=200)[0]
        for a, b in zip(ends, ends[1:], strict=False)
    )
    return math.fsum(parts) / math.sqrt(2 * math.pi)


def _scaled_points(divergence: Divergence) -> list[float]:
    """Return the s to test at, shrunk for a D that explodes: where it changes at most eightfold faster than s."""
    gaussian, largest = divergence.gaussian, max(_POINTS_S)
    shrink = 1.0
    while shrink > 1e-6 and not gaussian.gradient_weight(largest * shrink) * largest * shrink <= 8 * gaussian(
        largest * shrink
    ):
        shrink /= 2
    return [s * shrink for s in _POINTS_S]


def compare_gaussian(divergence: Divergence) -> Finding:
    """Compare D(s) with the quadrature of E_Q[f]."""
    points = _scaled_points(divergence)
    for s in points:
        value, truth = divergence.gaussian(s), gaussian_value(divergence, s)
        if not abs(value - truth) <= _GAUSSIAN_TOLERANCE * abs(truth):
            return Finding(Evidence.REFUTED, f"D({s:g}) = {value!r}, but E_Q[f] = {truth!r} there")
    return Finding(
        Evidence.TESTED,
        f"equals the adaptive quadrature of E_Q[f] at s = {', '.join(f'{s:g}' for s in points)}",
    )


def compare_gradient_weight(divergence: Divergence) -> Finding:
    """Compare w(s) with fourth-order differences of the oracle's D, and ask for w >= 0."""
    for s in _scaled_points(divergence):
        step = s / 200
        near, far = (
            gaussian_value(divergence, s + k * step) - gaussian_value(divergence, s - k * step)
            for k in (1, 2)
        )
        value, truth = divergence.gaussian.gradient_weight(s), (8 * near - far) / (12 * step)
        if not (value >= 0 and abs(value - truth) <= _WEIGHT_TOLERANCE * abs(truth)):
            return Finding(Evidence.REFUTED, f"w({s:g}) = {value!r}, but dD/ds = {truth!r} there")
    return Finding(
        Evidence.TESTED, "equals differences of the quadrature of E_Q[f]; w >= 0 because f is convex"
    )


def compare_activation(divergence: Divergence) -> Finding:
    """Check that T increases inside the domain of f* and that f*(T(v)) is the conjugate of T(v)."""
    from fdiv.calculus import v
    from fdiv.lowering import lower, numpy_backend

    activation, domain = divergence.activation, divergence.conjugate.effective_domain
    grid = np.linspace(-6, 6, 13)
    output = lower(activation.output, v, numpy_backend())(grid)
    term = lower(activation.conjugate_term, v, numpy_backend())(grid)
    if not (np.diff(output) >= 0).all() or not all(domain.contains(value) for value in output):
        return Finding(Evidence.REFUTED, f"T is not increasing into {domain}")
    for point, value in zip(output[::3].tolist(), term[::3].tolist(), strict=True):
        truth = supremum(_numeric(divergence), point)
        if not abs(value - truth) <= 1e-7 * max(1.0, abs(truth)):
            return Finding(
                Evidence.REFUTED, f"f*(T(v)) = {value!r} where T = {point!r}, but the supremum is {truth!r}"
            )
    kind = "canonical, T(v) = f'(e^v)" if activation.canonical else "a logistic step at the kink"
    return Finding(Evidence.TESTED, f"{kind}; increasing inside {domain}, and f*(T(v)) is the supremum")
