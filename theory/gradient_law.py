r"""The universal gradient law: dD/ds = E_Q[u^2 f''(u)] / 2 for every smooth f, with D between Gaussians.

Proof. Put d = sqrt(s) and y ~ N(0, 1), so that u = exp(d y - d^2/2) has the law of p/q under Q and D = E[f(u)].
Subtracting the tangent f'(1)(u - 1) changes neither side, so let f >= 0 with f(1) = f'(1) = 0.

1. Bound. By convexity f(2u) >= f(u) + u f'(u) for u >= 1 and f(u/2) >= f(u) - u f'(u)/2 for u <= 1; therefore
   |u f'(u)| <= f(2u) + 2 f(u/2). The factors 2 and 1/2 shift log u by log 2, and all shifted laws of log u at
   distances near d are dominated by a multiple of its law at any s' > s, even times a polynomial in y. As D(s') is
   finite, h(y) = u f'(u) and y h(y) are integrable, locally uniformly in d.
2. Differentiate under the expectation, which the bound permits: du/dd = u (y - d), so dD/dd = E[(y - d) h(y)].
3. Stein's lemma, E[y h] = E[h'] with h' = d (u f' + u^2 f''), gives dD/dd = d E[u^2 f''(u)]. It holds here: integrate
   h' phi by parts over growing intervals along which the ends h phi vanish, as they do for an integrable h phi; as
   u f' is integrable and u^2 f'' >= 0, the limit passes inside by monotone convergence, and is finite.
4. ds = 2 d dd; divide.

In particular dD/ds >= 0, for every convex f. At a kink, f'' is a measure, and the jump of the slope adds its mass; this
file stays with smooth f.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy

from fdiv import Divergence
from fdiv.calculus import u
from theory.oracle import expectation, slope
from theory.theorem import Comparison, Theorem

_POINTS = (0.04, 0.9, 6.0)


def _applies(divergence: Divergence) -> bool:
    return len(divergence.pieces) == 1 and divergence.gaussian.kind != "infinite"


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    scaled = u**2 * sympy.diff(divergence.generator, u, 2)
    for s in _POINTS:
        yield Comparison(s, float(slope(divergence, s)), float(expectation(scaled, s) / 2), "equal", 1e-10)


THEOREM = Theorem(
    name="gradient_law",
    title="The universal gradient law",
    statement=r"\frac{\mathrm{d}D_f}{\mathrm{d}s} = \tfrac12\, \mathbb{E}_Q\!\left[u^2 f''(u)\right] \ge 0,"
    r" \qquad u = \mathrm{d}P/\mathrm{d}Q",
    hypotheses=(
        "P and Q are Gaussians of one covariance sigma^2 I",
        "f is convex and C^2 on (0, inf)",
        "D(s') is finite for some s' > s",
    ),
    reference="ours; the proof is in this file. Stein's lemma: Stein 1981",
    applies=_applies,
    comparisons=_comparisons,
)
