r"""The DeGroot mixture: every f-divergence is a mixture of hockey-sticks, weighted by its curvature.

Proof. Taylor's formula with the curvature measure: f(u) = f'(1)(u - 1) + integral of h_k(u) f''(dk), with
h_k(u) = (u - k)_+ for k >= 1 and (k - u)_+ for k < 1. Take expectations; the linear term has none and the rest is
positive, so Tonelli applies: D_f = integral of H_k(P, Q) f''(dk). H_k is, up to scale, DeGroot's information of the
prior 1/(1 + k): the Bayes risk that looking at x saves. All divergences have the same ingredients and differ in how
they weigh the tests of P against Q; data processing for H_k is data processing for all.

Computed: D between Gaussians by quadrature of f(p/q). Stated: the integral over k of the closed form of H_k(s), with
atoms at the kinks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from fdiv import Divergence
from theory.gaussians.one_optimum import hockey_stick
from theory.laws.expectations import in_doubles, kinks, value
from theory.theorem import Comparison, Theorem

_POINTS = (0.2, 3.0)


def mixture(divergence: Divergence, s: float) -> float:
    """The integral of H_k(s) f''(dk), in x = log k over |x| <= 8 d + 2.5 s + 1, split at the kinks and at 0."""
    reach = 8 * math.sqrt(s) + 2.5 * s + 1
    nodes, shares = np.polynomial.legendre.leggauss(24)
    breaks = [math.log(float(k)) for k in kinks(divergence)]
    ends = sorted({*np.linspace(-reach, reach, 33), 0.0, *(x for x in breaks if abs(x) < reach)})
    total = 0.0
    for left, right in pairwise(ends):
        middle = math.exp((left + right) / 2)
        (piece,) = [piece for piece in divergence.pieces if float(piece.lower) < middle <= float(piece.upper)]
        # t^4 towards a kink, where f'' may be infinite
        side = left if left in breaks else right
        if side in breaks:
            t = (1 + nodes) / 2
            x = side + (left + right - 2 * side) * t**4
            weights = (right - left) * 2 * t**3 * shares
        else:
            x, weights = (left + right) / 2 + (right - left) / 2 * nodes, (right - left) / 2 * shares
        k = np.exp(x)
        tests = np.array([hockey_stick(float(one), s) for one in k])
        total += float(np.sum(weights * k * in_doubles(piece.second)(k) * tests))
    return total + sum(float(jump) * hockey_stick(float(place), s) for place, jump in divergence.kinks)


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    for s in _POINTS:
        yield Comparison(s, float(value(divergence, s)), mixture(divergence, s), "equal", 1e-8)


THEOREM = Theorem(
    number=12,
    part="d",
    name="mixture",
    title="The DeGroot mixture representation",
    statement=r"D_f(P\|Q) = \int_0^\infty H_k(P, Q)\, f''(\mathrm{d}k), \qquad"
    r" H_k = \mathbb{E}_Q[(p/q - k)_+] \; (k \ge 1), \quad \mathbb{E}_Q[(k - p/q)_+] \; (k < 1)",
    hypotheses=("f is convex with f(1) = 0; f'' is its curvature measure, with atoms at kinks",),
    reference="DeGroot 1962; Liese and Vajda 2006, theorem 11",
    applies=lambda divergence: divergence.gaussian.evaluable,
    comparisons=_comparisons,
)
