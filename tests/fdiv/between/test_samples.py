"""D_f from samples, against the divergences of what they are drawn from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import fdiv
from fdiv import Normal, Samples

P, Q = Normal([0.0, 0.0], np.eye(2)), Normal([0.7, 0.0], 1.69 * np.eye(2))


def drawn(seed: int, count: int = 3000) -> tuple[Samples, Samples]:
    rng = np.random.default_rng(seed)
    return Samples(rng.normal(0, 1, (count, 2))), Samples(rng.normal((0.7, 0), 1.3, (count, 2)))


@pytest.mark.parametrize("spec", ["kl", "reverse_kl", "js", "hellinger", "pearson", "tv", "triangular", "marton"])
def test_the_critics_bound_is_below_and_between_gaussians_near_the_truth(spec: str) -> None:
    divergence = fdiv.divergence(spec)
    truth = divergence.between(P, Q, draws=200_000)
    truth = float(truth)
    found = [divergence.between(*drawn(seed)) for seed in range(5)]
    assert sum(one.low <= truth for one in found) >= 4
    assert all(one.high == math.inf and "lower bound" in one.interval for one in found)
    near = 0.9 if not divergence.kinks else 0.8
    assert near * truth < np.mean([one.value for one in found]) < 1.1 * truth


def test_of_one_law_the_bound_says_nothing_and_of_a_hidden_difference_too_little() -> None:
    rng = np.random.default_rng(1)
    same = fdiv.divergence("kl").between(Samples(rng.normal(size=4000)), Samples(rng.normal(size=4000)))
    assert same.low == 0
    assert same.value < 0.01
    # a cubic log-ratio is beyond a quadratic critic
    x = rng.normal(size=20000)
    tilted = x[rng.random(20000) < (1 + np.tanh(x**3 - 3 * x)) / 2]
    p, q = Samples(tilted), Samples(rng.normal(size=20000))
    bound, estimate = (fdiv.divergence("kl").between(p, q, neighbours=k) for k in (None, 5))
    assert bound.value < 0.5 * estimate.low


@pytest.mark.parametrize(("spec", "factor"), [("kl", (1, 0)), ("reverse_kl", (0, 1)), ("half_jeffreys", (0.5, 0.5))])
def test_nearest_neighbours_hold_the_truth(spec: str, factor: tuple[float, float]) -> None:
    forward, backward = fdiv.divergence("kl").between(P, Q), fdiv.divergence("kl").between(Q, P)
    truth = factor[0] * forward + factor[1] * backward
    found = [fdiv.divergence(spec).between(*drawn(seed), neighbours=5) for seed in range(10)]
    assert sum(one.low <= truth <= one.high for one in found) >= 7
    # KL(Q||P) has a large bias: far out, where Q has points, P has none
    assert np.mean([one.value for one in found]) == pytest.approx(truth, rel=0.05 if factor[1] == 0 else 0.3)
    assert all(one.high - one.low < 1.5 * truth for one in found)


def test_on_the_line_they_agree_with_the_integral_of_laws_that_are_no_gaussians() -> None:
    p, q = stats.gamma(2), stats.gamma(3.5, scale=2)
    truth = fdiv.divergence("kl").between(p, q)
    x, y = (law.rvs(8000, random_state=seed) for seed, law in enumerate((p, q)))
    found = fdiv.divergence("kl").between(Samples(torch.tensor(x)), Samples(y), neighbours=4)
    assert found.value == pytest.approx(float(truth), rel=0.1)
    assert fdiv.divergence("kl").between(Samples(x), Samples(y)).low < float(truth)


def test_the_seed_decides_and_the_library_does_not() -> None:
    between, (p, q) = fdiv.divergence("js").between, drawn(3)
    assert between(p, q) == between(p, q)
    assert between(p, q) != between(p, q, seed=1)
    assert between(Samples(torch.tensor(p.points)), q) == between(p, q)


@pytest.mark.parametrize(
    ("p", "q", "options", "message"),
    [
        (np.zeros((30, 2)), np.zeros((30, 3)), {}, "one number of coordinates, got 2 and 3"),
        (np.arange(30.0), np.arange(30.0) + 0.5, {"neighbours": 6}, "between 1 and 5, .* got 6"),
        (np.zeros(30), np.arange(30.0), {"neighbours": 2}, "points coincide"),
    ],
)
def test_what_cannot_be_estimated_is_refused(p: Any, q: Any, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fdiv.divergence("kl").between(Samples(p), Samples(q), **options)


def test_what_are_no_samples_and_what_has_no_neighbours_is_refused() -> None:
    for points in (np.zeros(19), np.zeros((30, 2, 2)), np.full(30, np.nan)):
        with pytest.raises(ValueError, match="20 or more finite points"):
            Samples(points)
    with pytest.raises(ValueError, match="jensen_shannon is none: without `neighbours` there is a lower bound"):
        fdiv.divergence("js").between(*drawn(0), neighbours=3)
    with pytest.raises(ValueError, match=r"or two fdiv\.Samples; got Samples and list"):
        fdiv.divergence("js").between(drawn(0)[0], [0.5, 0.5])


@pytest.mark.parametrize("neighbours", [2.5, True, 0])
def test_neighbours_are_a_count(neighbours):
    points = np.random.default_rng(0).normal(size=(2, 50, 1))
    with pytest.raises(ValueError, match="neighbours are a count between 1 and 9"):
        fdiv.divergence("kl").between(*(fdiv.Samples(each) for each in points), neighbours=neighbours)
