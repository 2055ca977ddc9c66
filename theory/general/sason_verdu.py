r"""The best constant in D_f <= c D_g is the supremum of the ratio of f and g above their tangents.

Proof. With h_f = f - f'(1)(u - 1) and h_g alike, E_Q[u] = 1 gives D_f = E_Q[h_f(u)] <= sup(h_f/h_g) E_Q[h_g(u)]. Let Q
give mass e to a letter of the ratio u_0 and the rest to one whose ratio is then 1 - e (u_0 - 1)/(1 - e). Both functions
vanish to first order at 1, so D_f/D_g = (e h_f(u_0) + O(e^2))/(e h_g(u_0) + O(e^2)) tends to h_f(u_0)/h_g(u_0) as
e -> 0, and the supremum is the best constant. As P tends to Q the quotient tends to f''(1)/g''(1), one of
the ratios. Total variation has a kink at 1: then D_f <= (f(0) + f'(inf)) TV, attained by P and Q of disjoint supports.

Computed is `fdiv.best_constant`; stated are the constants of the literature, and for E_gamma <= c KL the root that
Sason and Verdu express by Lambert's W. On random letters of raw generators, published values stand in the inequality,
and on the two letters of the example they come near the constant.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import lambertw

import fdiv
from fdiv import Divergence
from theory.general.finite_alphabets import random_pair
from theory.laws.published import published
from theory.theorem import Comparison, Theorem


@dataclass(frozen=True)
class Pair:
    """Two divergences and the published best constant c in D_f <= c D_g."""

    first: str
    second: str
    constant: float

    @property
    def spec(self) -> str:
        """Both names in one word."""
        return f"{self.first}<={self.second}"

    @property
    def divergences(self) -> tuple[Divergence, Divergence]:
        """D_f and D_g."""
        return fdiv.divergence(self.first), fdiv.divergence(self.second)


def _hockey_stick_by_kl(gamma: float) -> float:
    """(t - gamma)/(t log t + 1 - t) at its maximum t = -gamma W_{-1}(-e^{-1/gamma}/gamma)."""
    t = float(-gamma * lambertw(-math.exp(-1 / gamma) / gamma, -1).real)
    return (t - gamma) / (t * math.log(t) + 1 - t)


PAIRS = (
    Pair("kl", "pearson", 1.0),
    Pair("squared_hellinger", "kl", 1.0),
    Pair("squared_hellinger", "jeffreys", 0.25),
    Pair("jensen_shannon", "jeffreys", 0.125),
    Pair("triangular", "capacitory", 2.0),
    Pair("capacitory", "triangular", math.log(2)),
    Pair("triangular", "squared_hellinger", 2.0),
    Pair("squared_hellinger", "triangular", 1.0),
    Pair("hockey_stick:gamma=1.5", "kl", _hockey_stick_by_kl(1.5)),
    Pair("hockey_stick:gamma=4", "kl", _hockey_stick_by_kl(4.0)),
    Pair("jensen_shannon", "total_variation", math.log(2)),
    Pair("lin_k", "total_variation", math.log(2)),
    Pair("squared_hellinger", "total_variation", 2.0),
    Pair("triangular", "total_variation", 2.0),
    Pair("marton", "total_variation", 1.0),
    Pair("kl", "reverse_kl", math.inf),
    Pair("total_variation", "kl", math.inf),
    Pair("pearson", "total_variation", math.inf),
)


def _comparisons(pair: Pair) -> Iterator[Comparison]:
    found = fdiv.best_constant(*pair.divergences)
    yield Comparison("best constant", found.constant, pair.constant, "equal", 1e-9)
    first, second = published(pair.first), published(pair.second)
    assert first is not None
    assert second is not None
    for seed in range(12):
        p, q = random_pair(seed, 5)
        yield Comparison(f"pair {seed}", first(p, q), pair.constant * second(p, q), "at_most", 1e-12)
    if found.example is not None:
        p, q = map(np.array, found.example)
        yield Comparison(f"P, Q = {found.example}", first(p, q) / second(p, q), pair.constant, "equal", 1e-4)


THEOREM = Theorem(
    number=12,
    part="h",
    name="sason_verdu",
    title="The best constant between two divergences",
    statement=r"\sup_{P \ne Q} \frac{D_f(P\|Q)}{D_g(P\|Q)} = \sup_{u \ne 1}"
    r" \frac{f(u) - f'(1)(u - 1)}{g(u) - g'(1)(u - 1)}",
    hypotheses=("f and g are convex and differentiable at 1, or g is total variation",),
    reference="Sason and Verdu 2016, arXiv:1508.00335, theorems 1 and 5; Topsoe 2000; Harremoes and Vajda 2011",
    applies=lambda subject: isinstance(subject, Pair),
    comparisons=_comparisons,
    universe=lambda: PAIRS,
)
