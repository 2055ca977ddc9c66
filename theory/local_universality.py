r"""Near the optimum every divergence that is curved at 1 is a mean squared error: D(s) = f''(1)/2 s + o(s).

Proof. Subtract the tangent of f at 1, so that f >= 0 and f(u) = f''(1)/2 (u - 1)^2 + o((u - 1)^2) as u -> 1. Split
E_Q[f(u)] at |log u| = delta. Inside, Taylor's formula gives (f''(1)/2 + epsilon) E_Q[(u - 1)^2] with epsilon -> 0 as
delta -> 0, and E_Q[(u - 1)^2] = e^s - 1 up to an exponentially small tail. Outside, log u ~ N(-s/2, s) has a density
below exp(-c delta^2/s) times a multiple of its density at s', for small s and some c > 0; D(s') is finite, so this part
is o(s). Let s -> 0, then delta -> 0.

The hypothesis does work. Total variation has a kink at 1 and D(s) of order sqrt(s); a generator that is curved on one
side of 1 only has no f''(1); a generator that is flat at 1 has D(s) = o(s), with no mean squared error in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from fdiv import Divergence
from theory.oracle import value
from theory.theorem import Comparison, Theorem

_POINTS = (1e-4, 1e-6, 1e-8)


def _applies(divergence: Divergence) -> bool:
    curvature = divergence.curvature
    curved = curvature is not None and curvature.is_finite and curvature > 0
    return bool(curved) and divergence.gaussian.kind != "infinite"


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    assert divergence.curvature is not None
    for s in _POINTS:
        # little-o promises no rate; for f in C^4 the rest is of order s, within sqrt(s) once s is small
        yield Comparison(s, float(value(divergence, s) / s), float(divergence.curvature) / 2, "equal", math.sqrt(s))


THEOREM = Theorem(
    name="local_universality",
    title="Near the optimum every curved divergence is a mean squared error",
    statement=r"D_f(s) = \tfrac12 f''(1)\, s + o(s) \quad (s \to 0)",
    hypotheses=(
        "P and Q are Gaussians of one covariance sigma^2 I",
        "f is convex and twice differentiable at 1 with 0 < f''(1) < inf",
        "D(s') is finite for some s' > 0",
    ),
    reference="Csiszar and Shields 2004, section 4; the proof for Gaussians is in this file",
    applies=_applies,
    comparisons=_comparisons,
)
