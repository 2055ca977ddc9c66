r"""Near the optimum every divergence that is curved at 1 is a mean squared error: D(s) = f''(1)/2 s + o(s).

Proof. Subtract the tangent of f at 1, so that f >= 0 and f(u) = f''(1)/2 (u - 1)^2 + o((u - 1)^2) as u -> 1. Split
E_Q[f(u)] at |log u| = delta. Inside, Taylor's formula gives (f''(1)/2 + epsilon) E_Q[(u - 1)^2] with epsilon -> 0 as
delta -> 0, and E_Q[(u - 1)^2] = e^s - 1 up to an exponentially small tail. Outside, log u ~ N(-s/2, s) has a density
below exp(-c delta^2/s) times a multiple of its density at s', for small s and some c > 0; D(s') is finite, so this part
is o(s). Let s -> 0, then delta -> 0.

The hypothesis does work. Total variation has a kink at 1 and D(s) of order sqrt(s); a generator that is curved on one
side of 1 only has no f''(1) (D is then s/2 times the mean of the two one-sided values); a generator that is flat at 1
has D(s) = o(s), with no mean squared error in it.

The remainder. If f is C^4 near 1, put h(x) = u^2 f''(u) at u = e^x. By the gradient law w(s) = E[h]/2 with
x ~ N(-s/2, s), so w = (h - s h'/2 + s h''/2)/2 at x = 0 up to O(s^2), where h = f'', h' = 2 f'' + f''' and
h'' = 4 f'' + 5 f''' + f'''' at u = 1. Integrating, D(s) = f''/2 s + (2 f'' + 4 f''' + f'''')/8 s^2 + O(s^3): the sign
of the second coefficient says whether a divergence is above or below the squared error to begin with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import sympy

from fdiv import Divergence
from fdiv.calculus import u
from theory.oracle import ball, value
from theory.theorem import Comparison, Theorem

_POINTS = (1e-4, 1e-6, 1e-8)


def curved(divergence: Divergence) -> bool:
    """Whether 0 < f''(1) < inf."""
    curvature = divergence.curvature
    return bool(curvature is not None and curvature.is_finite and curvature > 0)


def second_coefficient(divergence: Divergence) -> float | None:
    """(2 f'' + 4 f''' + f'''')/8 at 1, or None where f is not C^4 there."""
    if len(divergence.pieces) > 1:
        return None
    second, third, fourth = (sympy.diff(divergence.generator, u, order).subs(u, 1) for order in (2, 3, 4))
    return float((2 * second + 4 * third + fourth) / 8)


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    half = float(divergence.curvature) / 2  # type: ignore[arg-type]
    for s in _POINTS:
        # little-o promises no rate; for f in C^4 the rest is of order s, within sqrt(s) once s is small
        yield Comparison(s, float(value(divergence, s) / s), half, "equal", math.sqrt(s))
    second = second_coefficient(divergence)
    if second is not None:
        s = 2.0**-17  # D loses ten of its 25 digits in the difference
        rest = float((value(divergence, s) - ball(divergence.curvature) * s / 2) / ball(s) ** 2)
        # KL's coefficient is 0; 1 is added to both sides so that a relative error means something
        yield Comparison("1 + coefficient of s^2", 1 + rest, 1 + second, "equal", 1e-3)


THEOREM = Theorem(
    number=6,
    name="local_universality",
    title="Near the optimum every curved divergence is a mean squared error",
    statement=r"D_f(s) = \tfrac12 f''(1)\, s + o(s), \qquad f \in C^4 \Rightarrow D_f(s) = \tfrac12 f''(1)\, s +"
    r" \tfrac18 \left(2 f''(1) + 4 f'''(1) + f''''(1)\right) s^2 + O(s^3) \quad (s \to 0)",
    hypotheses=(
        "P and Q are Gaussians of one covariance sigma^2 I",
        "f is convex and twice differentiable at 1 with 0 < f''(1) < inf; four times for the remainder",
        "D(s') is finite for some s' > 0",
    ),
    reference="Csiszar and Shields 2004, section 4; the proof for Gaussians and the remainder are ours",
    applies=lambda divergence: curved(divergence) and divergence.gaussian.evaluable,
    comparisons=_comparisons,
)
