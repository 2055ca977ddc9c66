"""How two divergences bound each other: the best constant in D_f <= c D_g, and the range of (D_f, D_g).

E_Q[u] = 1, so D_f <= c D_g for all P and Q exactly if some a has f(u) <= c g(u) + a (u - 1) for all u: then the
concave envelope of f - c g is at most 0 at 1, and by Caratheodory two letters attain it. If neither f nor g has a kink
at 1, a is fixed and the best c is the supremum of the ratio of both above their tangents (Sason and Verdu 2016,
theorems 1 and 5: it is approached by an atom of that ratio and of vanishing mass). If g has one, a is free between
its slopes.

The range of (D_f, D_g) over all P and Q is the convex hull of that over two letters (Harremoes and Vajda 2011).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray

from fdiv.between.discrete import between_arrays
from fdiv.between.gaussians import Derived
from fdiv.between.perspective import Perspective
from fdiv.derive.generator import Piece, piece_at
from fdiv.exact.comparison import compare

Array = NDArray[np.float64]
Pair = tuple[float, float]
_REACH, _COUNT = 690.0, 4001
_VANISHING = 1e-9  # the mass of the atom in the example for a smooth pair
_NEAR = 1e-4
_ACCURACY = 1e-12
_BESIDE = 1e-5  # of log u = 0, where both vanish


@dataclass(frozen=True)
class BestConstant:
    """The least c with D_f <= c D_g for all P and Q; infinite where there is none.

    `ratio` says at which u = dP/dQ it is approached: 0, inf, 1 (as P tends to Q), a number in between, or two of them
    where g has a kink. `example` is a P and a Q on two letters whose D_f/D_g comes near it, `attained` that quotient.
    So the constant is at least `attained`, which is computed; that it is no larger is tested: f <= c g + a (u - 1) was
    looked at on 4001 ratios, refined about the worst, with the limits at 0 and at infinity, and is not proved.
    """

    constant: float
    ratio: tuple[float, ...]
    example: tuple[Pair, Pair] | None
    attained: float
    evidence: str = "tested"


def best_constant(f: Derived, g: Derived) -> BestConstant:
    """Return the least c with D_f <= c D_g for all P and Q.

    Raises ValueError if a limit of f or g cannot be derived.
    """
    jump_f, jump_g = (_jump_at_one(divergence) for divergence in (f, g))
    if jump_f > 0 and jump_g == 0:  # near P = Q one is of the order of the distance, the other of a higher one
        return BestConstant(math.inf, (1.0,), None, math.inf)
    pair = _Above(f.perspective), _Above(g.perspective)
    constant, ratios = _over_one_tangent(*pair) if jump_g == 0 else _between_slopes(*pair)
    if math.isinf(constant):
        return BestConstant(constant, ratios, None, math.inf)
    # near 1 it is approached from one side, or from both alike
    near = ((1 - _NEAR,), (1 + _NEAR,)) if ratios == (1.0,) else (ratios,)
    examples = [_example(one) for one in near]
    quotients = [_quotient(f, g, *example) for example in examples]
    attained = max(quotients)
    return BestConstant(constant, ratios, examples[quotients.index(attained)], attained)


def _quotient(f: Derived, g: Derived, p: Pair, q: Pair) -> float:
    above, below = (float(between_arrays(divergence.perspective, p, q)) for divergence in (f, g))
    return above / below if below > 0 else 0.0


def joint_range(f: Derived, g: Derived, size: int = 160) -> Array:
    """Return the corners of the range of (D_f, D_g), counter-clockwise, as an array of shape (n, 2).

    They are those of the hull of size^2 pairs of two letters, with probabilities from 1e-9 to 1 - 1e-9 and finite
    values: an inner approximation, in which each corner is attained.
    """
    from scipy.spatial import ConvexHull

    odds = np.linspace(-math.log(1e9), math.log(1e9), size)
    first, second = (x.ravel() for x in np.meshgrid(1 / (1 + np.exp(-odds)), 1 / (1 + np.exp(-odds))))
    p, q = (np.stack([x, 1 - x], axis=-1) for x in (first, second))
    points = np.stack([between_arrays(d.perspective, p, q) for d in (f, g)], axis=-1)
    points = points[np.isfinite(points).all(-1)]
    return points[ConvexHull(points).vertices]


def _jump_at_one(divergence: Derived) -> float:
    kinks = divergence.perspective.generator.kinks
    return float(sum((jump for place, jump in kinks if compare(place, sympy.S.One) == 0), sympy.S.Zero))


@dataclass(frozen=True)
class _Above:
    """h = f above its tangent, as h(u) / max(1, u) at log u, which overflows nowhere that h'(inf) is finite."""

    perspective: Perspective

    def __call__(self, x: Array) -> Array:
        return np.asarray(self.perspective.log_terms(x - np.maximum(x, 0), -np.maximum(x, 0)))

    @property
    def end_pieces(self) -> tuple[Piece, Piece]:
        """The first and the last piece of f."""
        return self.perspective.generator.pieces[0], self.perspective.generator.pieces[-1]


def _limits(f: _Above, g: _Above) -> tuple[float, float]:
    """Return the limits of h_f/h_g at u = 0 and at infinity."""
    found = []
    for side, (name, end) in enumerate((("at_zero", sympy.S.Zero), ("at_infinity", sympy.oo))):
        above, below = (getattr(h.perspective.tangent, name)[0] for h in (f, g))
        if math.isinf(above) and math.isinf(below):
            one, other = f.end_pieces[side], g.end_pieces[side]
            found.append(float(one.limit(one.expression / other.expression, end)))
        elif below == 0:
            found.append(math.inf if above > 0 else math.nan)
        else:
            found.append(0.0 if math.isinf(below) else above / below)
    return found[0], found[1]


def _over_one_tangent(f: _Above, g: _Above) -> tuple[float, tuple[float, ...]]:
    """Return the supremum of h_f/h_g over u, and where it is."""

    def quotient(x: Any) -> Array:
        above, below = f(x), g(x)
        with np.errstate(all="ignore"):
            return np.where(above == 0, 0.0, above / below)

    def at(x: float) -> float:
        return float(quotient(np.array([x]))[0])

    candidates = dict(zip((0.0, math.inf), _limits(f, g), strict=True))
    beside = quotient(np.array([-_BESIDE, _BESIDE]))
    candidates[1.0] = _at_one(f, g, beside)
    grid = _grid()
    values = quotient(grid)
    for i in np.argsort(-values)[:3]:
        x = _highest(at, grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)])
        candidates[float(np.exp(x))] = at(x)
    finite = {ratio: value for ratio, value in candidates.items() if not math.isnan(value)}
    # an end, or 1, before a number near it that rounding has lifted above
    best = max(finite.values())
    place = next(ratio for ratio, value in finite.items() if value == best or value >= best * (1 - _ACCURACY))
    return finite[place], (place,)


def _at_one(f: _Above, g: _Above, beside: Array) -> float:
    """The limit of h_f/h_g at u = 1, by the first terms of their Taylor polynomials; beside it where they have none."""
    found = []
    for side in ("left", "right"):
        one, other = (getattr(h.perspective.tangent, side).coefficients for h in (f, g))
        leads = [next((n for n, c in enumerate(series) if c), None) for series in (one, other)]
        if not one or not other or leads[1] is None:
            found.append(beside[int(side == "right")])
        elif leads[0] is None or leads[0] > leads[1]:
            found.append(0.0)
        else:
            found.append(math.inf if leads[0] < leads[1] else one[leads[0]] / other[leads[1]])
    return float(max(found))


def _grid() -> Array:
    """log u, dense about 0 and reaching where u overflows."""
    steps = np.linspace(math.asinh(1), math.asinh(_REACH / _BESIDE), _COUNT // 2)
    return np.concatenate([-np.sinh(steps[::-1]), np.sinh(steps)]) * _BESIDE


def _highest(function: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda x: -function(float(x)), bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    )
    return float(found.x)


def _between_slopes(f: _Above, g: _Above) -> tuple[float, tuple[float, ...]]:
    """Return the least c for which some a has h_f <= c h_g + a (u - 1), with a ratio on each side of 1 where they meet.

    a is at least A(c), the supremum of (h_f - c h_g)/(u - 1) over u > 1, and at most B(c), the infimum of
    (c h_g - h_f)/(1 - u) over u < 1. A falls and B rises in c, so the least c with A(c) <= B(c) is found by bisection.
    """
    (f0, f1), (g0, g1) = ((h.perspective.tangent.at_zero[0], h.perspective.tangent.at_infinity[0]) for h in (f, g))
    for place, above, below in ((0.0, f0, g0), (math.inf, f1, g1)):
        if math.isinf(above) and not math.isinf(below):
            return math.inf, (place,)
    left, low_x = _slopes(f, g, -1, (f0, g0))
    right, high_x = _slopes(f, g, 1, (f1, g1))

    def worst(c: float) -> tuple[float, int, int]:
        below, above = c * left[1] - left[0], right[0] - c * right[1]
        i, j = int(below.argmin()), int(above.argmax())
        return float(above[j] - below[i]), i, j

    lowest, highest = 0.0, 1.0
    while worst(highest)[0] > 0:
        highest *= 2
        if highest > 1e300:
            return math.inf, (1.0,)
    for _ in range(200):
        middle = (lowest + highest) / 2
        lowest, highest = (middle, highest) if worst(middle)[0] > 0 else (lowest, middle)
    _, i, j = worst(lowest)
    return highest, (float(np.exp(low_x[i])), float(np.exp(high_x[j])))


def _slopes(f: _Above, g: _Above, sign: int, ends: tuple[float, float]) -> tuple[Array, Array]:
    """Return h_f/|u - 1| and h_g/|u - 1| on one side of 1, its two ends included, with log u; finite ones alone."""
    x = sign * _grid()[_COUNT // 2 :]
    inner = np.stack([f(x), g(x)]) / -np.expm1(-abs(x))  # h is divided by max(1, u), and so is |u - 1|
    beside = [[_slope_at_one(h, sign)] for h in (f, g)]
    values = np.concatenate([beside, inner, np.reshape(ends, (2, 1))], axis=1)
    x = np.concatenate([[0.0], x, [sign * math.inf]])
    finite = np.isfinite(values).all(0)
    return values[:, finite], x[finite]


def _slope_at_one(h: _Above, sign: int) -> float:
    """The size of the slope of h at 1, from the left or from the right."""
    piece = piece_at(h.perspective.generator.pieces, sympy.S.One, "right" if sign > 0 else "left")
    return abs(float(piece.limit(piece.slope, sympy.S.One)) - h.perspective.tangent.slope)


def _example(ratios: tuple[float, ...]) -> tuple[Pair, Pair]:
    """Return P and Q on two letters: one of the ratio and of small mass, or one of each of two ratios."""
    if len(ratios) == 2:
        low, high = min(ratios[0], 1 - 1e-6), min(max(ratios[1], 1 + 1e-6), 1e12)
        q = (1 - low) / (high - low)
        return (high * q, 1 - high * q), (q, 1 - q)
    ratio = ratios[0]
    ratio = min(max(ratio, 1e-200), 1e200)
    q = _VANISHING / max(ratio, 1.0)
    return (ratio * q, 1 - ratio * q), (q, 1 - q)
