r"""Data processing and joint convexity, on finite alphabets.

Proof. The perspective (p, q) -> q f(p/q) of a convex f is convex and homogeneous. Hence a sum of pairs has at most
the sum of the values: merging atoms loses, and a channel K, which splits atoms and merges them, has D(PK||QK) <=
D(P||Q). Summed over atoms the same gives D(c P + (1-c) P' || c Q + (1-c) Q') <= c D(P||Q) + (1-c) D(P'||Q').

Equality holds for a channel that merges only atoms of equal ratio, which is compared too. Conversely u log^2 u, which
is not convex, violates both, though its D(s) between Gaussians is positive: a test of the tests.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from fdiv import Divergence
from theory.general.finite_alphabets import random_pair
from theory.laws.expectations import Numbers
from theory.laws.general import on_letters
from theory.laws.generators import Oracle
from theory.theorem import Comparison, Theorem

_LADDER = (1e-3, 0.02, 0.1, 0.3, 0.9, 1.5, 2.5, 8.0, 60.0)
_MERGE = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    def value(p: Numbers, q: Numbers) -> float:
        return on_letters(f, (math.nan, math.nan), (p.tolist(), q.tolist()))

    f = Oracle(divergence.generator).value
    for seed in range(20):
        p, q = random_pair(seed, 5)
        rng = np.random.default_rng(100 + seed)
        channel = rng.dirichlet(np.full(3, 0.5), size=5)
        before, after = value(p, q), value(p @ channel, q @ channel)
        yield Comparison(f"channel {seed}", 1 + after, 1 + before, "at_most", 1e-13)
        (p2, q2), share = random_pair(50 + seed, 5), float(rng.uniform(0.1, 0.9))
        mixed = value(share * p + (1 - share) * p2, share * q + (1 - share) * q2)
        mean = share * before + (1 - share) * value(p2, q2)
        yield Comparison(f"mixture {seed}", 1 + mixed, 1 + mean, "at_most", 1e-13)
    for low, high in pairwise(_LADDER):
        q = np.array([0.005, 0.005, 0.99])
        p = np.array([0.005 * low, 0.005 * high, 1 - 0.005 * (low + high)])
        before, after = value(p, q), value(p @ _MERGE, q @ _MERGE)
        yield Comparison(f"merged {low:g}, {high:g}", 1 + after, 1 + before, "at_most", 1e-14)
    p, q = random_pair(7, 3)
    parts = np.array([0.2, 0.5, 0.3])
    split = value(np.outer(parts, p).ravel(), np.outer(parts, q).ravel())
    yield Comparison("sufficient statistic", 1 + split, 1 + value(p, q), "equal", 1e-11)


THEOREM = Theorem(
    number=12,
    part="c",
    name="data_processing",
    title="Data processing and joint convexity",
    statement=r"D_f(PK \| QK) \le D_f(P\|Q), \qquad"
    r" D_f(cP + (1-c)P' \| cQ + (1-c)Q') \le c\, D_f(P\|Q) + (1-c)\, D_f(P'\|Q')",
    hypotheses=("f is convex", "K is a stochastic matrix, 0 <= c <= 1"),
    reference="Csiszar 1967; Polyanskiy and Wu, theorems 7.4 and 7.5",
    applies=lambda divergence: True,
    comparisons=_comparisons,
    corrections=(
        "A positive D between Gaussians does not make f convex: u log^2 u has D(s) = s + s^2/4 and w = 1 + s/2,"
        " and violates data processing by merging two atoms. Convexity has to be proved of f itself",
    ),
)
