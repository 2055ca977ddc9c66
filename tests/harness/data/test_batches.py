"""What a step is given."""

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
    sampled = Sampled(
        latents, rows, rows, concept, latents[:retained] + 100, rows[:retained], rows[:retained], rows[:1]
    )
    drawn = batches(sampled, path, Config(**options), torch.Generator().manual_seed(seed))
    return [next(drawn) for _ in range(count)]


def test_every_time_step_but_the_first_is_drawn_for_both_kinds_of_rows():
    pipeline = tiny.pipeline()
    pipeline.scheduler = DDIMScheduler(**tiny.BETAS, num_train_timesteps=50)
    drawn = _drawn(diffusion_path(pipeline), 40, batch_size=16)
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
    assert noise.abs().max() < 5
    assert 0.7 < noise.std() < 1.3
    assert batch.erasing.noisy.shape == (4, 4, 2, 2)


def test_a_generator_decides_the_draws_and_nothing_retained_draws_no_row():
    path = diffusion_path(tiny.pipeline())
    ours, again, other = (_drawn(path, 2, seed)[1].noisy for seed in (0, 0, 1))
    assert torch.equal(ours, again)
    assert not torch.equal(ours, other)
    (alone,) = _drawn(path, 1, retained=0, batch_size=3)
    assert len(alone.noisy) == len(alone.timesteps) == alone.targets == 3
