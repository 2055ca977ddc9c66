"""Both gaps, their intervals, the shift of a distribution, and the verdict that follows from the numbers."""

import numpy as np
import pytest

from harness.judging.gaps import Gap, collateral_gap, forgetting_gap, verdict
from harness.judging.metric import Measure
from harness.judging.shift import shift, total_variation


def _attack(excess, low, high):
    return {"excess": excess, "interval": None if excess is None else [low, high]}


def test_the_forgetting_gap_is_the_mean_excess_with_those_below_the_oracle_counted_as_0():
    """By hand: (.6 + 0) / 2 = .3, unclipped .25; down sqrt(.2^2 + .2^2) / 2 = .14; up sqrt(.1^2 + .3^2) / 2 = .16."""
    gap = forgetting_gap({"one": _attack(0.6, 0.4, 0.7), "other": _attack(-0.1, -0.3, 0.2)})
    assert gap.value == pytest.approx(0.3)
    assert gap.interval == (pytest.approx(0.25 - 0.08**0.5 / 2), pytest.approx(0.3 + 0.1**0.5 / 2))
    assert gap.over == ("one", "other")


def test_without_an_oracle_there_is_no_gap():
    assert forgetting_gap({"one": _attack(None, 0, 0)}) is None
    assert forgetting_gap({}) is None
    row = {"erased": 1.0, "original": 1.0, "oracle": None, "interval": [0.9, 1.0]}
    assert collateral_gap({"in_domain_retain_accuracy": row}, {}) is None


def test_the_collateral_gap_counts_shares_of_what_is_kept_and_shifts_and_nothing_else():
    row = {"erased": 0.9, "original": 1.0, "oracle": 1.0, "interval": [0.8, 0.95]}
    kid = {"erased": 0.9, "original": 0.0, "oracle": 0.0, "interval": [0.8, 0.95]}
    measured = {"in_domain_retain_accuracy": row, "kernel_inception_distance": kid, "unlearning_accuracy": row}
    gap = collateral_gap(measured, {"superclass": Measure(0.3, (0.2, 0.5))})
    assert gap.over == ("in_domain_retain_accuracy", "distribution of superclass prompts")
    assert gap.value == pytest.approx((0.1 + 0.3) / 2)


def test_the_interval_of_a_mean_covers_as_often_as_it_says():
    """Two differences of shares of 50, drawn 400 times: the interval misses the truth about one time in twenty."""
    from harness.judging.attack import Rate

    draws, truth, covered = np.random.default_rng(0), (0.5 + 0.3) / 2, 0
    for _ in range(400):
        rates = [Rate(int(draws.binomial(50, p)), 50) for p in (0.7, 0.2, 0.6, 0.3)]
        pairs = {"one": rates[0].minus(rates[1]), "other": rates[2].minus(rates[3])}
        low, high = Gap.of(pairs).interval
        covered += low <= truth <= high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3])
def test_between_equal_models_the_gap_is_above_0_no_more_often_than_its_interval_says(rate):
    """Eight attacks of 48 pictures, 400 times: at most one in forty, and 5 % allow for the draws."""
    from harness.judging.attack import Rate

    draws, above = np.random.default_rng(0), 0
    for _ in range(400):
        rates = [Rate(int(draws.binomial(48, rate)), 48) for _ in range(16)]
        gap = Gap.of({str(i): rates[2 * i].minus(rates[2 * i + 1]) for i in range(8)})
        assert gap.interval[0] <= gap.value <= gap.interval[1]
        above += gap.interval[0] > 0
    assert above / 400 <= 0.05


def test_total_variation_of_a_hand_computed_case():
    assert total_variation(["a", "a", "b", "c"], ["a", "b", "b", "d"]) == pytest.approx(
        (1 / 4 + 1 / 4 + 1 / 4 + 1 / 4) / 2
    )


def test_equal_models_shift_nothing_and_models_of_one_distribution_no_more_than_chance():
    values = list("aabbccdd") * 6
    same = shift(values, values)
    assert (same.value, same.chance, same.beyond_chance.value) == (0, 0, 0)
    draws = np.random.default_rng(0)
    beyond = [shift(list(draws.choice(list("abcd"), 48)), list(draws.choice(list("abcd"), 48))) for _ in range(10)]
    assert abs(np.mean([each.beyond_chance.value for each in beyond])) < 0.03


def test_a_real_shift_is_beyond_chance_with_its_interval():
    found = shift(["a"] * 40 + ["b"] * 8, ["a"] * 12 + ["b"] * 36)
    assert found.value == pytest.approx(28 / 48)
    assert found.beyond_chance.interval[0] > 0.1


ACCURACY = {"erased": 1.0, "original": 0.0, "oracle": 1.0, "interval": [0.95, 1.0], "change": [0.9, 1.0]}
KEPT = {"erased": 1.0, "original": 1.0, "oracle": 1.0, "interval": [0.98, 1.0], "change": [-0.02, 0.02]}
LOST = {"erased": 0.7, "original": 1.0, "oracle": 1.0, "interval": [0.6, 0.8], "change": [-0.4, -0.2]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "Cannot be told: no judge"),
        ({"unlearning_accuracy": ACCURACY | {"original": 0.9}}, "^Cannot be told: the judge sees the concept in 10%"),
        (
            {"unlearning_accuracy": ACCURACY, "in_domain_retain_accuracy": KEPT | {"original": 0.05}},
            r"^Cannot be told: on the original's own pictures of what is kept IRA is 5%\.$",
        ),
        (
            {"unlearning_accuracy": ACCURACY | {"erased": 0.02, "interval": [0.0, 0.1], "change": [-0.04, 0.1]}},
            "^Not erased",
        ),
        ({"unlearning_accuracy": ACCURACY | {"erased": 0.5, "interval": [0.4, 0.6]}}, "^Partly erased: 50%"),
        ({"unlearning_accuracy": ACCURACY, "in_domain_retain_accuracy": KEPT}, "^Erased by name. Whether the picture"),
        (
            {"unlearning_accuracy": ACCURACY, "in_domain_retain_accuracy": LOST},
            r"^Erased by name, and something else was lost \(IRA\)",
        ),
        (
            {"unlearning_accuracy": ACCURACY, "forgetting_gap": {"value": 0.4, "interval": [0.3, 0.5]}},
            "^Its name is erased, the picture is not.*0.40, 0.30 to 0.50",
        ),
        (
            {"unlearning_accuracy": ACCURACY, "forgetting_gap": {"value": 0.02, "interval": [0.0, 0.05]}},
            "^Erased: no attack here tells it from",
        ),
    ],
)
def test_the_verdict_follows_from_the_intervals(content, words):
    import re

    assert re.search(words, verdict(content))


def test_one_picture_of_many_is_no_loss():
    """251 of 252 is below all of 252, and within the interval of the difference."""
    import torch

    from harness.judging.metric import difference, share

    erased, original = (share(torch.tensor([1.0] * right + [0.0] * (252 - right))) for right in (251, 252))
    low, high = difference(erased, original).interval
    assert low < -1 / 252 < 0 < high
    few = share(torch.tensor([1.0] * 230 + [0.0] * 22))
    assert difference(few, original).interval[1] < 0
