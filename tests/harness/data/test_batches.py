"""What a step is given."""

import pytest
import torch
from diffusers import DDIMScheduler

from harness.config import Config
from harness.data.batches import batches
from harness.data.latents import Sampled
from harness.models.family import Conditioning
from harness.models.path import diffusion_path
from tests import tiny


def _drawn(path, count, seed=0, retained=3, **options):
    """Batches from five latents whose every number, and whose prompt's embedding, says which they are."""
    latents = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 4, 2, 2)
    rows = Conditioning(torch.arange(5.0).view(5, 1, 1))
    concept = torch.tensor([0, 0, 0, 1, 1])
    sampled = Sampled(latents, rows, rows, concept, latents[:retained] + 100, rows[:retained], rows[:1])
    drawn = batches(sampled, path, Config(**options), torch.Generator().manual_seed(seed))
    return [next(drawn) for _ in range(count)]


def _told(path, count, counterparts=True, retained=3, **options):
    """Batches from five latents of a target, told in four ways, and of those retained, with counterparts or without.

    A latent is its number, its counterparts 50 and 60 more; what is told of it is its number and 10 for each way;
    all that is retained is 100 more.
    """
    latents = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 4, 2, 2)
    own, others = torch.arange(5.0).view(5, 1, 1), torch.stack([latents + 50, latents + 60], 1)
    told = [Conditioning(torch.cat([part + 10 * way for way in range(4)])) for part in (own, own[:retained] + 100)]
    sampled = Sampled(
        latents, Conditioning(own), told[0], torch.zeros(5, dtype=torch.long), latents[:retained] + 100,
        told[1], Conditioning(own[:1]), others if counterparts else None,
    )  # fmt: skip
    drawn = batches(sampled, path, Config(**options), torch.Generator().manual_seed(0))
    return [next(drawn) for _ in range(count)]


def _fifty_steps():
    pipeline = tiny.pipeline()
    pipeline.scheduler = DDIMScheduler(**tiny.BETAS, num_train_timesteps=50)
    return diffusion_path(pipeline)


@pytest.mark.parametrize("counterparts", [True, False])
def test_pictures_with_counterparts_are_noised_beyond_a_fifth_and_come_with_them(counterparts):
    drawn = _told(_fifty_steps(), 60, counterparts, batch_size=16)
    for part, first in (("erasing", 10 if counterparts else 1), ("retaining", 1)):
        times = torch.cat([getattr(batch, part).timesteps for batch in drawn])
        assert times.unique().tolist() == list(range(first, 50))
    for batch in drawn:
        assert batch.retaining.counterparts is None
        which = batch.erasing.frozen.prompt_embeds.flatten()
        expected = torch.stack([which + 50, which + 60], 1).view(-1, 2, 1, 1, 1).expand(-1, 2, 4, 2, 2)
        assert torch.equal(batch.erasing.counterparts, expected) if counterparts else batch.counterparts is None


def test_each_row_is_told_in_each_way_as_often_and_the_last_of_a_target_is_the_adversarys():
    drawn = _told(_fifty_steps(), 60, batch_size=16)
    for part, rows in (("erasing", slice(0, 16)), ("retaining", slice(16, 32))):
        told = torch.cat([getattr(batch, part).trained.prompt_embeds.flatten() for batch in drawn])
        frozen = torch.cat([getattr(batch, part).frozen.prompt_embeds.flatten() for batch in drawn])
        ways = told % 100 // 10
        own = told - 10 * ways
        # of what is retained the frozen model is told the same, but in the second way's place the first
        assert torch.equal(frozen, own if part == "erasing" else torch.where(ways == 1, own, told))
        assert ways.unique(return_counts=True)[0].tolist() == [0, 1, 2, 3]
        assert ways.unique(return_counts=True)[1].min() > 0.18 * len(ways)  # a quarter, of 960
        assert {*own.tolist()} == ({*range(5)} if part == "erasing" else {100, 101, 102})
        adversary = torch.cat([batch.adversary for batch in drawn])
        assert part == "retaining" or torch.equal(adversary, ways == 3)
        clean = torch.cat([batch.noisy[rows].mean((1, 2, 3)) for batch in drawn])
        assert torch.corrcoef(torch.stack([clean, own]))[0, 1] > (0.5 if part == "erasing" else 0.0)
    assert not torch.equal(drawn[0].trained.prompt_embeds[:16] // 10, drawn[1].trained.prompt_embeds[:16] // 10)


@pytest.mark.parametrize("every", [25, 0])
def test_without_the_target_or_an_adversary_a_picture_is_noised_to_three_quarters_at_most(every):
    drawn = _told(_fifty_steps(), 60, batch_size=16, adversary_every=every)
    ways = torch.cat([batch.erasing.trained.prompt_embeds.flatten() for batch in drawn]) // 10
    times = torch.cat([batch.erasing.timesteps for batch in drawn])
    most = [times[ways == way].max().item() for way in range(4)]
    assert most == [49, 36, 36, 49 if every else 36]


def test_one_way_of_telling_has_no_adversary():
    (batch,) = _drawn(_fifty_steps(), 1)
    assert (batch.adversary, batch.counterparts) == (None, None)


def test_the_two_parts_of_a_batch_are_all_of_it():
    (batch,) = _told(_fifty_steps(), 1, batch_size=4)
    for name in ("noisy", "noise", "timesteps"):
        assert torch.equal(
            torch.cat([getattr(batch.erasing, name), getattr(batch.retaining, name)]), getattr(batch, name)
        )
    assert (batch.erasing.targets, batch.retaining.targets) == (4, 0)


def test_every_time_step_but_the_first_is_drawn_for_both_kinds_of_rows():
    drawn = _drawn(_fifty_steps(), 40, batch_size=16)
    for part in (slice(0, 16), slice(16, 32)):
        assert torch.cat([batch.timesteps[part] for batch in drawn]).unique().tolist() == list(range(1, 50))


def test_time_steps_without_signal_are_never_drawn():
    pipeline = tiny.pipeline("v_prediction")
    betas = tiny.BETAS | {"num_train_timesteps": 20}
    pipeline.scheduler = DDIMScheduler(**betas, rescale_betas_zero_snr=True, prediction_type="v_prediction")
    path = diffusion_path(pipeline)
    assert path.timesteps == 19
    assert torch.cat([batch.timesteps for batch in _drawn(path, 40, batch_size=16)]).max() == 18


def test_each_row_is_a_noised_latent_with_its_own_prompts_and_concept():
    path = diffusion_path(tiny.pipeline())
    (batch,) = _drawn(path, 1, batch_size=4)
    assert (batch.targets, len(batch.noisy)) == (4, 8)
    which = batch.trained.prompt_embeds.flatten()
    assert torch.equal(batch.frozen.prompt_embeds.flatten(), which)
    assert torch.equal(batch.concept, (which[:4] >= 3).long())
    signal, deviation = path.signal[batch.timesteps], path.deviation[batch.timesteps]
    clean = which + torch.tensor([0.0] * 4 + [100.0] * 4)
    noise = (batch.noisy - (signal * clean).view(-1, 1, 1, 1)) / deviation.view(-1, 1, 1, 1)
    torch.testing.assert_close(noise, batch.noise, rtol=0, atol=1e-2)
    assert 0.7 < noise.std() < 1.3
    assert batch.erasing.noisy.shape == (4, 4, 2, 2)


def test_a_generator_decides_the_draws_and_nothing_retained_draws_no_row():
    path = diffusion_path(tiny.pipeline())
    ours, again, other = (_drawn(path, 2, seed)[1].noisy for seed in (0, 0, 1))
    assert torch.equal(ours, again)
    assert not torch.equal(ours, other)
    (alone,) = _drawn(path, 1, retained=0, batch_size=3)
    assert len(alone.noisy) == len(alone.timesteps) == alone.targets == 3
