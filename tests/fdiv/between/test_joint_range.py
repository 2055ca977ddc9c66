"""The best constants between divergences, and their joint range, against bounds of the literature and random pairs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fdiv
from tests.laws.strategies import EXAMPLES
from theory.general.sason_verdu import PAIRS
from theory.laws.published import published

SOME = EXAMPLES[::2]
KINKED = ["total_variation", "degroot:pi=0.3", "hockey_stick:gamma=1", "max_ratio", "marton", "one_sided_chi_squared"]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.spec)
def test_it_is_the_constant_of_the_literature_and_its_example_comes_near_it(pair: Any) -> None:
    found = fdiv.best_constant(*pair.divergences)
    assert found.constant == pytest.approx(pair.constant, rel=1e-10)
    assert found.evidence == "tested"
    if math.isinf(pair.constant):
        assert (found.example, found.attained) == (None, math.inf)
        return
    first, second = published(pair.first), published(pair.second)
    assert found.example is not None
    assert first is not None
    assert second is not None
    p, q = map(np.array, found.example)
    assert found.attained == pytest.approx(first(p, q) / second(p, q), rel=1e-6)
    assert (1 - 1e-4) * pair.constant < found.attained < pair.constant * (1 + 1e-9)


@given(st.sampled_from(SOME), st.sampled_from([*SOME, *KINKED]), st.integers(0, 10**6))
def test_no_pair_of_distributions_exceeds_it_and_two_letters_come_near(f: str, g: str, seed: int) -> None:
    first, second = fdiv.divergence(f), fdiv.divergence(g)
    found = fdiv.best_constant(first, second)
    p, q = np.random.default_rng(seed).dirichlet(np.full(3, 0.4), (2, 20))
    above, below = first.between(p, q), second.between(p, q)
    finite = np.isfinite(above) & np.isfinite(below) & (below > 0)
    assert (above[finite] <= found.constant * below[finite] * (1 + 1e-9)).all()
    if math.isfinite(found.constant):
        assert found.attained <= found.constant * (1 + 1e-6)
        assert found.attained >= 0.9 * found.constant


@pytest.mark.parametrize("spec", EXAMPLES)
def test_of_itself_it_is_one_and_of_total_variation_the_range(spec: str) -> None:
    divergence = fdiv.divergence(spec)
    assert fdiv.best_constant(divergence, divergence).constant == pytest.approx(1, rel=1e-9)
    top = float(divergence.value_at_zero + divergence.slope_at_infinity)
    assert fdiv.best_constant(divergence, fdiv.divergence("tv")).constant == pytest.approx(top, rel=1e-9)


def test_a_multiple_has_the_factor_and_its_reverse_the_inverse() -> None:
    one, other = fdiv.divergence("squared_hellinger"), fdiv.divergence("halved_hellinger")
    assert fdiv.best_constant(one, other).constant == pytest.approx(2, rel=1e-12)
    assert fdiv.best_constant(other, one).constant == pytest.approx(0.5, rel=1e-12)


def test_the_joint_range_of_hellinger_and_total_variation_lies_between_le_cams_bounds() -> None:
    # H^2 in [0, 2]: H^2/2 <= TV <= sqrt(H^2 (1 - H^2/4)), and both bounds are attained (Le Cam 1986)
    corners = fdiv.joint_range(fdiv.divergence("tv"), fdiv.divergence("squared_hellinger"))
    distance, squared = corners.T
    assert (squared / 2 <= distance + 1e-12).all()
    assert (distance <= np.sqrt(squared * (1 - squared / 4)) + 1e-12).all()
    assert squared.max() > 1.999
    assert np.isclose(distance, np.sqrt(squared * (1 - squared / 4)), atol=1e-3).sum() > 20
    step, before = np.roll(corners, -1, axis=0) - corners, corners - np.roll(corners, 1, axis=0)
    assert (before[:, 0] * step[:, 1] - before[:, 1] * step[:, 0] > -1e-12).all()


def test_random_pairs_lie_inside_the_joint_range() -> None:
    kl, js = fdiv.divergence("kl"), fdiv.divergence("js")
    corners = fdiv.joint_range(kl, js)
    p, q = np.random.default_rng(2).dirichlet(np.ones(5), (2, 200))
    points = np.stack([kl.between(p, q), js.between(p, q)], axis=-1)
    edges = np.roll(corners, -1, axis=0) - corners
    away = points[:, None] - corners[None]
    assert (edges[:, 0] * away[..., 1] - edges[:, 1] * away[..., 0] > -1e-4).all()


def test_names_are_taken_as_everywhere():
    kl, tv = fdiv.divergence("kl"), fdiv.divergence("tv")
    assert fdiv.best_constant("hellinger", "kl") == fdiv.best_constant(fdiv.divergence("hellinger"), kl)
    assert (fdiv.joint_range("kl", "tv", 20) == fdiv.joint_range(kl, tv, 20)).all()
    with pytest.raises(fdiv.UnknownDivergence, match="did you mean kl"):
        fdiv.best_constant("kll", "kl")
