r"""Bretagnolle and Huber: TV <= sqrt(1 - e^{-KL}), which still says something where Pinsker's bound exceeds 1.

Proof. With m = min(p, q) and M = max(p, q), sum sqrt(p q) = sum sqrt(m M) <= sqrt(sum m) sqrt(sum M) =
sqrt((1 - TV)(1 + TV)) by the Cauchy-Schwarz inequality. Jensen's inequality for the logarithm under P gives
sum sqrt(p q) = E_P[sqrt(q/p)] >= e^{-KL/2}. Together e^{-KL} <= 1 - TV^2; TV is symmetric, so KL may be of P from Q or
of Q from P.

Computed is the least Kullback-Leibler divergence on two letters of every total variation, and sums over five random
letters; stated is -log(1 - TV^2).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

import fdiv
from fdiv import Divergence
from theory.general.finite_alphabets import random_pair
from theory.general.pinsker import on_two_letters
from theory.laws.published import published
from theory.theorem import Comparison, Theorem


def _universe() -> tuple[Divergence, ...]:
    return fdiv.divergence("kl"), fdiv.divergence("reverse_kl")


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    for x in (1e-3, 0.1, 0.5, 0.9, 0.999, 1 - 1e-6):
        least = on_two_letters(divergence, x)
        yield Comparison(f"TV={x:g}", least, -math.log1p(-(x**2)), "at_least", 1e-12)
    reference = published(divergence.spec)
    assert reference is not None
    for seed in range(12):
        p, q = random_pair(seed, 5)
        x = float(np.abs(p - q).sum()) / 2
        yield Comparison(f"pair {seed}", x, math.sqrt(-math.expm1(-reference(p, q))), "at_most", 1e-12)


THEOREM = Theorem(
    number=12,
    part="g",
    name="bretagnolle_huber",
    title="The bound of Bretagnolle and Huber",
    statement=r"\mathrm{TV}(P, Q) \le \sqrt{1 - e^{-\mathrm{KL}(P\|Q)}}",
    hypotheses=("the divergence is KL(P||Q) or KL(Q||P), in nats, and TV lies in [0, 1]",),
    reference="Bretagnolle and Huber 1979; Tsybakov 2009, lemma 2.6; Canonne arXiv:2202.07198",
    applies=lambda divergence: getattr(divergence, "spec", "") in ("kl", "reverse_kl"),
    comparisons=_comparisons,
    universe=_universe,
)
