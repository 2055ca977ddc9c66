"""The adversary in closed form, against least squares of a library and against what it is for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.config import Config, UsageError, check
from harness.data.batches import batches
from harness.loss.closed_form_prompts import RIDGE, ClosedFormPrompts
from harness.models.denoiser import Denoiser
from tests import tiny


def _made(kind="sd1", moved=0.0, seed=0):
    """The adversary of a tiny model whose keys and values were moved at random."""
    model = tiny.model(kind)
    denoiser = Denoiser(model, "cross-attention-kv")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in denoiser.trained.values():
            weight.add_(moved * torch.randn(weight.shape, generator=generator))
    return ClosedFormPrompts(denoiser, torch.Generator().manual_seed(seed))


def _batch(made, rows=64):
    model = made.denoiser.model
    drawn = batches(tiny.sampled(model), model.path(), Config(batch_size=rows), torch.Generator().manual_seed(0))
    return next(drawn).erasing


@pytest.mark.parametrize("kind", tiny.UNETS)
def test_each_token_is_what_least_squares_finds(kind):
    made = _made(kind, moved=0.3)
    made.solve()
    tokens = made.denoiser.model.encode(["a star"]).prompt_embeds[0].detach()
    now, before = (
        np.concatenate([each.detach().double().numpy() for each in weights.values()])
        for weights in (made.denoiser.trained, made.denoiser.frozen)
    )
    width = now.shape[1]
    rows = np.concatenate([now, RIDGE**0.5 * np.eye(width)])
    for token in tokens[:9]:
        wanted = np.concatenate([before @ token.double().numpy(), np.zeros(width)])
        expected = np.linalg.lstsq(rows, wanted, rcond=None)[0]
        assert (token @ made.map).tolist() == pytest.approx(expected.tolist(), abs=1e-4)
        assert np.abs(expected - token.numpy()).max() > 1e-2


def test_keys_and_values_read_it_nearer_to_what_they_read_in_the_target_than_they_read_the_target():
    made = _made(moved=0.3)
    made.solve()
    tokens = made.denoiser.model.encode(["a star"]).prompt_embeds[0].detach()
    left = [0.0, 0.0]
    for name, weight in made.denoiser.trained.items():
        wanted = tokens @ made.denoiser.frozen[name].T
        for i, told in enumerate((tokens @ made.map, tokens)):
            left[i] += (told @ weight.detach().T - wanted).square().sum().item()
    assert left[0] < 0.8 * left[1]


def test_it_is_on_half_of_the_adversarys_rows_and_told_of_each_rows_own_target():
    made = _made(moved=0.1)
    batch = _batch(made)
    named = torch.randn(batch.named.prompt_embeds.shape, generator=torch.Generator().manual_seed(3))
    batch = replace(batch, named=replace(batch.named, prompt_embeds=named))
    made.solve()
    moved = made.over(batch)
    ours = (moved.trained.prompt_embeds != batch.trained.prompt_embeds).any(2).any(1)
    assert 0.2 < ours.sum() / batch.adversary.sum() < 0.8
    assert not (ours & ~batch.adversary).any()
    torch.testing.assert_close(moved.trained.prompt_embeds[ours], named[ours] @ made.map)
    assert torch.equal(moved.trained.prompt_embeds[~ours], batch.trained.prompt_embeds[~ours])
    for name in ("noisy", "timesteps", "concept", "counterparts", "frozen"):
        assert getattr(moved, name) is getattr(batch, name)


def test_where_no_row_is_an_adversarys_it_is_on_half_of_all():
    made = _made(moved=0.1)
    batch = replace(_batch(made), adversary=None)
    made.solve()
    ours = (made.over(batch).trained.prompt_embeds != batch.trained.prompt_embeds).any(2).any(1)
    assert 0.25 < ours.float().mean() < 0.75


def test_before_it_is_solved_for_nothing_changes_and_a_generator_decides_the_rows():
    made, again, other = (_made(moved=0.1, seed=seed) for seed in (0, 0, 1))
    batch = _batch(made)
    assert made.over(batch) is batch
    for each in (made, again, other):
        each.solve()
    first, second, third = (each.over(batch).trained.prompt_embeds for each in (made, again, other))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_weights_as_they_were_leave_nothing_to_find():
    made = _made()
    made.solve()
    tokens = made.denoiser.model.encode(["a star"]).prompt_embeds[0].detach()
    for weight in made.denoiser.frozen.values():
        read, before = tokens @ made.map @ weight.T, tokens @ weight.T
        assert (read - before).norm() < 0.5 * before.norm()


@pytest.mark.parametrize("group", ["full", "cross-attention", "lora"])
def test_other_groups_train_what_it_does_not_know(group):
    with pytest.raises(UsageError, match=f"--closed-form-every 5: .*--parameter-group {group}"):
        check(Config(closed_form_every=5, parameter_group=group))
    check(Config(closed_form_every=5, parameter_group="cross-attention-kv"))


def test_a_concept_that_is_kept_is_not_looked_for():
    with pytest.raises(UsageError, match="--within 'cowboy': keeps the concept that its prompts name"):
        check(Config(closed_form_every=5, parameter_group="cross-attention-kv", target="cowboy hat", within="cowboy"))
