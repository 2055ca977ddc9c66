"""The closed-form start against its own optimality: nothing nearby is better, and what is retained hardly moves."""

import pytest
import torch

from harness.config import Config, UsageError
from harness.loss.closed_form import RIDGE, moved_weight


def _tokens(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _objective(moved, weight, target, anchor, kept):
    """Written down as the paper has it, token by token."""
    erase = sum((moved @ e - weight @ a).square().sum() for e, a in zip(target, anchor, strict=True))
    hold = sum((moved @ p - weight @ p).square().sum() for p in kept)
    return erase + hold + RIDGE * (moved - weight).square().sum()


def test_it_is_the_minimiser_of_what_is_stated():
    weight, target, anchor, kept = _tokens(5, 0), _tokens(7, 1), _tokens(7, 2), _tokens(9, 3)
    moved = moved_weight(weight, target, anchor, kept).requires_grad_(True)
    (gradient,) = torch.autograd.grad(_objective(moved, weight, target, anchor, kept), [moved])
    assert gradient.abs().max() < 1e-9
    assert _objective(moved, weight, target, anchor, kept) < _objective(weight, weight, target, anchor, kept)


def test_with_room_it_reads_the_target_as_the_anchor_and_holds_the_rest():
    """Two tokens to move and three to hold in twelve dimensions: both can be had but for the ridge."""
    weight, target, anchor, kept = _tokens(5, 0), 30 * _tokens(2, 1), 30 * _tokens(2, 2), 30 * _tokens(3, 3)
    moved = moved_weight(weight, target, anchor, kept)
    size = (weight @ anchor.T).norm()
    assert (moved @ target.T - weight @ anchor.T).norm() < 1e-3 * size
    assert ((moved - weight) @ kept.T).norm() < 1e-3 * size


def test_equal_prompts_move_nothing():
    weight, target, kept = _tokens(5, 0), _tokens(7, 1), _tokens(9, 3)
    assert torch.allclose(moved_weight(weight, target, target, kept), weight, atol=1e-9)


def test_adapters_hold_no_keys_and_values_to_move():
    from harness.config import check

    with pytest.raises(UsageError, match="--start closed-form: changes weights, where --parameter-group lora"):
        check(Config(start="closed-form", parameter_group="lora"))


def test_guidance_on_an_anchor_that_nothing_asks_for_is_refused():
    from harness.config import check

    with pytest.raises(UsageError, match="--anchor-guidance 3: guides the anchor's frozen prediction, which --origin"):
        check(Config(anchor_guidance=3.0))
    check(Config(anchor_guidance=3.0, origin="anchor"))
    check(Config(anchor_guidance=-1.0))


def test_no_steps_are_for_the_closed_form_alone():
    from harness.config import check

    check(Config(steps=0, start="closed-form"))
    with pytest.raises(UsageError, match="--steps 0: must be a count from 1, or 0 with --start closed-form"):
        check(Config(steps=0))
