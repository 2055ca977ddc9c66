"""Intervals over prompts and seeds: by hand, from published tables, and by how often they cover the truth."""

import numpy as np
import pytest
import torch

from harness.judging.intervals.measure import (
    Measure,
    bootstrap,
    correlation,
    difference,
    mean,
    share,
    weighted,
    wilson,
    worth,
)


@pytest.mark.parametrize(
    ("right", "of", "low", "high"), [(0, 72, 0.0, 0.0507), (72, 72, 0.9493, 1.0), (50, 100, 0.4038, 0.5962)]
)
def test_of_as_many_prompts_as_pictures_a_share_has_wilsons_interval(right, of, low, high):
    found = share([1.0] * right + [0.0] * (of - right), range(of))
    assert found.interval == (pytest.approx(low, abs=2e-4), pytest.approx(high, abs=2e-4))
    assert found.interval == pytest.approx(wilson(right / of, of))
    assert found.value == right / of
    assert share([], []) is None


def test_a_share_of_all_or_none_still_has_a_width_and_its_end_is_exact():
    none, every = (share([answer] * 24, [i // 6 for i in range(24)]) for answer in (0.0, 1.0))
    assert none.interval == (0.0, pytest.approx(3.8415 / (24 + 3.8415), abs=1e-4))
    assert every.interval == (pytest.approx(24 / (24 + 3.8415), abs=1e-4), 1.0)


def test_pictures_that_always_agree_are_worth_no_more_than_their_prompts():
    """Four of eight prompts, six seeds each: eight answers, and by Student's quantiles 2.365 and 2.012 for 5.8."""
    deviations = share([1.0] * 24 + [0.0] * 24, [i // 6 for i in range(48)]).deviations
    assert list(deviations.values()) == [3.0] * 4 + [-3.0] * 4
    alike = 8 / 7 * 8 * 9 / 48**2 / (0.25 / 47)  # the design effect by hand
    assert worth(0.5, 48, deviations) == pytest.approx(48 / (alike * (2.3646 / 2.0117) ** 2), rel=1e-3)


def test_answers_of_one_prompt_are_told_apart_by_their_seeds():
    one, many = share([1.0, 0.0, 0.0, 1.0], [7] * 4), share([1.0, 0.0, 0.0, 1.0], range(4))
    assert one == many
    assert len(one.deviations) == 4


def _drawn(draws, rate, alike, prompts, seeds):
    """Answers of a beta-binomial, of which two of one prompt have the correlation `alike`."""
    own = draws.beta(rate * (1 - alike) / alike, (1 - rate) * (1 - alike) / alike, prompts) if alike else rate
    return (draws.random((seeds, prompts)) < own).astype(float).ravel().tolist()


@pytest.mark.parametrize(("prompts", "seeds"), [(36, 2), (16, 3), (8, 6)])
@pytest.mark.parametrize("rate", [0.3, 0.5])
def test_the_interval_covers_the_truth_of_prompts_to_come_where_wilsons_does_not(prompts, seeds, rate):
    """400 times with .3 between the pictures of a prompt; percentiles of a bootstrap over prompts cover no more."""
    draws, numbers, covered, plain = np.random.default_rng(0), np.tile(np.arange(prompts), seeds).tolist(), 0, 0
    for _ in range(400):
        answers = _drawn(draws, rate, 0.3, prompts, seeds)
        found = share(answers, numbers)
        low, high = wilson(found.value, len(answers))
        covered += found.interval[0] <= rate <= found.interval[1]
        plain += low <= rate <= high
    assert covered / 400 >= 0.92
    assert plain < covered


def test_independent_pictures_are_covered_as_often_and_hardly_wider():
    draws, numbers, covered, wider = np.random.default_rng(0), np.tile(np.arange(36), 2).tolist(), 0, []
    for _ in range(400):
        answers = _drawn(draws, 0.3, 0.0, 36, 2)
        found = share(answers, numbers)
        low, high = wilson(found.value, len(answers))
        covered += found.interval[0] <= 0.3 <= found.interval[1]
        wider.append((found.interval[1] - found.interval[0]) / (high - low))
    assert 0.93 <= covered / 400 <= 0.98
    assert 1 <= np.mean(wider) < 1.06


def test_a_difference_of_pairs_is_as_near_as_their_correlation():
    """Newcombe's interval for pairs (1998, 2635), by hand: 36 both, 12 one alone, 2 other alone, phi -24 / 209."""
    one, other = [1.0] * 48 + [0.0] * 2, [1.0] * 36 + [0.0] * 12 + [1.0] * 2
    pairs = difference(share(one, range(50)), share(other, range(50)))
    assert pairs.value == pytest.approx(0.2)
    assert pairs.interval == pytest.approx((0.0569, 0.3404), abs=2e-4)
    same = difference(share(other, range(50)), share(other, range(50)))
    assert same.interval == pytest.approx((-0.0370, 0.0370), abs=2e-4)  # the limits' distances alone: .1341 - .0970


def test_two_figures_of_the_same_prompts_go_together_and_of_other_prompts_do_not():
    one, like = share([1.0, 0.0, 1.0, 0.0], range(4)), share([1.0, 0.0, 0.0, 0.0], range(4))
    assert correlation(one, like) == pytest.approx(0.5 / 0.75**0.5)
    assert correlation(one, share([1.0, 0.0, 1.0, 0.0], range(4, 8))) == 0
    assert correlation(one, share([1.0] * 4, range(4))) == 0
    assert correlation(one, one) == 1
    none = Measure(0.5, (0.4, 0.6))
    assert correlation(one, none) == 0
    assert correlation(none, none) == 1


def test_a_sum_with_weights_has_the_sum_of_their_deviations():
    one, other = share([1.0, 0.0, 1.0, 0.0], range(4)), share([1.0, 1.0, 1.0, 0.0], range(4))
    found = weighted([(0.5, one), (-0.5, other)])
    assert found.value == -0.125
    assert found.deviations == {i: 0.5 * (one.deviations[i] - other.deviations[i]) for i in range(4)}


def test_one_picture_of_many_is_no_loss():
    """251 of 252 is below all of 252, and within the interval of the difference."""
    few, erased, original = (share([1.0] * right + [0.0] * (252 - right), range(252)) for right in (230, 251, 252))
    low, high = difference(erased, original).interval
    assert low < -1 / 252 < 0 < high
    assert difference(few, original).interval[1] < 0


def test_a_bootstrapped_mean_has_the_interval_of_the_central_limit():
    values = torch.randn(400, generator=torch.Generator().manual_seed(3))
    low, high = bootstrap(values, range(400))
    middle, half = values.mean().item(), 1.96 * values.std().item() / 20
    assert (low, high) == (pytest.approx(middle - half, abs=0.01), pytest.approx(middle + half, abs=0.01))
    assert bootstrap(values, range(400)) == (low, high)
    assert mean(values[:0], []) is None


def test_a_bootstrapped_mean_of_prompts_whose_seeds_agree_is_that_of_the_prompts():
    values = torch.randn(40, generator=torch.Generator().manual_seed(3))
    assert bootstrap(values.repeat(3), [*range(40)] * 3) == pytest.approx(bootstrap(values, range(40)))


def test_the_mean_of_one_prompts_values_varies_with_its_seeds():
    values = torch.randn(48, generator=torch.Generator().manual_seed(0))
    low, high = mean(values, [0] * 48).interval
    assert low < values.mean().item() - 0.1 < values.mean().item() + 0.1 < high
    assert (low, high) == mean(values, range(48)).interval
