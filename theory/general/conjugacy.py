r"""Conjugacy: Fenchel's inequality with its equality, and f** = f.

Proof. f*(t) = sup over u >= 0 of u t - f(u) gives u t <= f(u) + f*(t) for every pair; the supremum over a concave
function of u is attained where t lies in the subdifferential of f at u. f is convex and, extended by its limit at 0,
lower semicontinuous, so f** = f (Fenchel and Moreau). Below f'(0+) the supremum is at u = 0: f* is the constant
-f(0), the branch that published tables omit; above f'(inf) it is infinite.

Stated is fdiv's conjugate. Computed is a numeric supremum over u of the raw generator, for t below f'(0+) and inside
the domain; and, for f**, a numeric supremum over t of u t - f*(t).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import mpmath
import sympy
from scipy.optimize import minimize_scalar

from fdiv import Divergence
from fdiv.exact.symbols import u
from theory.theorem import Comparison, Theorem

_RATIOS = (0.03, 0.4, 0.9, 1.7, 6.0, 40.0)


def generator(divergence: Divergence) -> Callable[[float], float]:
    """Return the generator as written, in 30 digits."""
    f = sympy.lambdify(u, divergence.generator, "mpmath")

    def at(ratio: float) -> float:
        with mpmath.workdps(30):
            return float(f(mpmath.mpf(ratio)))

    return at


def _supremum(function: Callable[[float], float], low: float, high: float) -> float:
    """The maximum of a concave function of exp(x) on [low, high]; unimodal in x as well."""
    found = minimize_scalar(lambda x: -function(x), bounds=(low, high), method="bounded", options={"xatol": 1e-9})
    return max(-float(found.fun), function(low), function(high))


def _gain(f: Callable[[float], float], t: float, x: float) -> float:
    return math.exp(x) * t - f(math.exp(x))


def _gain_of_slope(conjugate: Callable[[float], float], ratio: float, t: float) -> float:
    return ratio * t - min(conjugate(t), 1e30)


def slope(divergence: Divergence, ratio: float) -> float:
    """f' inside a piece, by SymPy."""
    (piece,) = [piece for piece in divergence.pieces if float(piece.lower) < ratio < float(piece.upper)]
    return float(sympy.lambdify(u, sympy.diff(piece.expression, u), "mpmath")(mpmath.mpf(ratio)))


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    f, conjugate = generator(divergence), divergence.conjugate
    slopes = [slope(divergence, ratio) for ratio in _RATIOS]
    start = float(divergence.slope_at_zero)
    below = [start - 0.5, start - 5.0] if math.isfinite(start) else []
    for t in (*below, *slopes):
        supremum = _supremum(partial(_gain, f, t), -300.0, 12.0)
        # f* may be 0 or negative: a shift of its own size makes a relative error meaningful
        shift = 1 + 2 * abs(supremum)
        yield Comparison(f"f* shifted, t={t:.3g}", shift + conjugate(t), shift + supremum, "equal", 1e-7)
    for ratio, exact in zip(_RATIOS, slopes, strict=True):
        for t in (*below, *slopes):
            gap = f(ratio) + conjugate(t) - ratio * t
            yield Comparison(f"Fenchel, u={ratio:g}, t={t:.3g}", 1 + gap, 1.0, "at_least", 1e-7)
        touching = f(ratio) + conjugate(exact)
        yield Comparison(f"equality, u={ratio:g}", 1 + touching - ratio * exact, 1.0, "equal", 1e-6)
        width = 1 + abs(exact)
        high = min(exact + width, float(divergence.slope_at_infinity))
        again = _supremum(partial(_gain_of_slope, conjugate, ratio), exact - width, high)
        yield Comparison(f"f**, u={ratio:g}", 1 + again, 1 + f(ratio), "equal", 1e-6)
    beyond = float(divergence.slope_at_infinity)
    if math.isfinite(beyond):
        yield Comparison("above f'(inf)", conjugate(beyond + 0.1), math.inf, "equal", 0.0)


THEOREM = Theorem(
    number=12,
    part="a",
    name="conjugacy",
    title="Fenchel-Young and biconjugation",
    statement=r"u t \le f(u) + f^*(t), \text{ with equality iff } t \in \partial f(u); \qquad f^{**} = f; \qquad"
    r" f^*(t) = -f(0) \text{ for } t \le f'(0^+)",
    hypotheses=("f is convex on (0, inf), extended to 0 by its limit",),
    reference="Fenchel 1949, Moreau 1966; Rockafellar 1970, theorems 12.2 and 23.5",
    applies=lambda divergence: True,
    comparisons=_comparisons,
)
