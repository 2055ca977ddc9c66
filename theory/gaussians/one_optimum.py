r"""Changing f changes the path, never the goal: between Gaussians D_f(s) = 0 at s = 0 only, and D_f increases.

Proof. f is a mixture of hockey-sticks: f(u) = f'(1)(u - 1) + integral of h_k(u) f''(dk), where h_k(u) = (u - k)_+ for
k >= 1, (k - u)_+ for k < 1, and f'' is the curvature measure. Hence D(s) = integral of H_k(s) f''(dk) with
H_k(s) = E_Q[h_k(p/q)]. Under Q the ratio p/q is lognormal and charges every interval, so H_k(s) > 0 for every k and
s > 0; and f'' is not zero unless f is affine. So D(s) > 0 = D(0). As H_k falls in k above 1 and rises below 1,

    D(s) >= f''([a, b]) min(H_a(s), H_b(s)),        a < 1 < b,

which is the bound that is compared below (the mass is bounded from below by two secants of f). D increases strictly,
since w(s) > 0 (gradient_law).

What fails without strict convexity at 1. Total variation has a kink at 1, and still vanishes at s = 0 only. A
hockey-stick with gamma > 1 is flat at 1: it does not tell P from Q whenever all ratios are below gamma (two coins of
.52 and .5 have divergence 0), so for general distributions its zero is not unique. Between Gaussians it is, but D has
all derivatives 0 at s = 0: H_k(s) <= e^{-(|log k| - s/2)^2 / (2 s)} for s < 2 |log k| by the normal tail bound, so that
the last part of the way gives no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from scipy.special import ndtr

from fdiv import Divergence
from theory.laws.expectations import in_balls, value
from theory.theorem import Comparison, Theorem

_POINTS = (0.05, 0.5, 3.0, 20.0)


def hockey_stick(k: float, s: float) -> float:
    """H_k(s) in closed form (the price of an option, Black and Scholes 1973)."""
    d = math.sqrt(s)
    high, low = (-math.log(k) + s / 2) / d, (-math.log(k) - s / 2) / d
    return float(ndtr(high) - k * ndtr(low)) if k >= 1 else float(k * ndtr(-low) - ndtr(-high))


def flat_at_one(divergence: Divergence) -> bool:
    """Whether f is a straight line around 1."""
    around = [piece for piece in divergence.pieces if piece.lower <= 1 <= piece.upper]
    return all(piece.affine for piece in around) and all(place != 1 for place, _ in divergence.kinks)


def _curved_mass(divergence: Divergence) -> float:
    """A lower bound of f'(8) - f'(1/8), from secants."""
    f = in_balls(divergence.generator)
    high = (f(_exact("8")) - f(_exact("4"))) / 4
    low = (f(_exact("0.25")) - f(_exact("0.125"))) * 8
    return float(high - low)


def _exact(text: str) -> object:
    from flint import arb

    return arb(text)


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    mass, values = _curved_mass(divergence), [float(value(divergence, s)) for s in _POINTS]
    yield Comparison("D(0)", divergence.gaussian(0.0), 0.0, "equal", 0.0)
    for s, computed in zip(_POINTS, values, strict=True):
        floor = mass * min(hockey_stick(0.125, s), hockey_stick(8, s))
        yield Comparison(s, computed, floor, "at_least", 1e-12)
        yield Comparison(s, floor, 1e-300, "at_least", 0.0)
    for i in range(1, len(values)):
        yield Comparison(f"D({_POINTS[i]:g}) > D({_POINTS[i - 1]:g})", values[i], values[i - 1], "at_least", 0.0)
    f = in_balls(divergence.generator)
    coins = float((f(_exact("0.96")) + f(_exact("1.04"))) / 2)
    if flat_at_one(divergence):
        yield Comparison("1 + two coins", 1 + coins, 1.0, "equal", 1e-15)
        yield Comparison("D(0.001) < 0.001^6", float(value(divergence, 1e-3)), 1e-18, "at_most", 0.0)
    else:
        yield Comparison("two coins", coins, 1e-12, "at_least", 0.0)


THEOREM = Theorem(
    number=3,
    name="one_optimum",
    title="One optimum for all divergences",
    statement=r"D_f(s) = 0 \iff s = 0, \qquad s \mapsto D_f(s) \text{ increases strictly}, \qquad"
    r" D_f(s) \ge f''([a, b]) \min(H_a(s), H_b(s)) > 0",
    hypotheses=(
        "P and Q are Gaussians of one covariance sigma^2 I",
        "f is convex and not affine (for general P and Q: strictly convex at 1)",
        "D(s) is finite",
    ),
    reference="ours for Gaussians; in general Csiszar 1967, Liese and Vajda 2006",
    applies=lambda divergence: divergence.gaussian.evaluable and _curved_mass(divergence) > 0,
    comparisons=_comparisons,
    corrections=(
        '"D = 0 only at the optimum" needs strict convexity at 1 in general: two coins of .52 and .5 have hockey-stick'
        " divergence 0 for gamma = 1.5. Between Gaussians f need not be, but then all derivatives of D vanish at s = 0",
    ),
)
