"""The shift of a distribution, what chance makes of it, and its interval."""

import numpy as np
import pytest

from harness.judging.intervals.shift import shift


def test_total_variation_of_a_hand_computed_case():
    found = shift(["a", "a", "b", "c"], ["a", "b", "b", "d"], range(4))
    assert found.value == pytest.approx((1 / 4 + 1 / 4 + 1 / 4 + 1 / 4) / 2)


def test_equal_models_shift_nothing_and_models_of_one_distribution_no_more_than_chance():
    values = list("aabbccdd") * 6
    same = shift(values, values, range(48))
    assert (same.value, same.chance, same.beyond_chance.value) == (0, 0, 0)
    draws = np.random.default_rng(0)
    pairs = [[draws.choice(list("abcd"), 48).tolist() for _ in range(2)] for _ in range(10)]
    beyond = [shift(*pair, range(48)) for pair in pairs]
    assert abs(np.mean([each.beyond_chance.value for each in beyond])) < 0.03


def test_a_real_shift_is_beyond_chance_with_its_interval():
    found = shift(["a"] * 40 + ["b"] * 8, ["a"] * 12 + ["b"] * 36, range(48))
    assert found.value == pytest.approx(28 / 48)
    assert found.beyond_chance.interval[0] > 0.1


def test_seeds_of_one_prompt_that_go_together_widen_the_interval():
    """Six prompts of eight seeds each, of which two moved: as much as 16 pictures of 48, and less is known of it."""
    oracle, erased = ["a"] * 48, ["b"] * 16 + ["a"] * 32
    apart, together = (shift(erased, oracle, prompts) for prompts in (range(48), [i // 8 for i in range(48)]))
    assert apart.value == together.value == pytest.approx(1 / 3)
    assert together.chance == apart.chance
    widths = [each.interval[1] - each.interval[0] for each in (apart, together)]
    assert widths[0] == pytest.approx(2 * 1.96 * (2 / 9 / 48) ** 0.5, rel=0.1)
    assert widths[1] > 2 * widths[0]


def test_of_a_single_prompt_the_seeds_are_drawn():
    one, every = (shift(["a", "b"] * 8, ["a"] * 16, prompts) for prompts in ([0] * 16, range(16)))
    assert one == every
