"""Sampling with noise: DDIM's own where that can, and a greater spread beyond."""

import pytest
import torch
from diffusers import DDIMScheduler

from harness.attacking.noisy_steps import StepNoise, sample_noisily
from harness.config import Config
from harness.data.latents import encode
from harness.models.family import Conditioning
from tests import tiny

OPTIONS = Config(sampling_steps=4, guidance_scale=3.0, batch_size=1)


def _given(model, count):
    embeddings = encode(model, ["a star", ""])
    start = torch.randn(count, *model.latent_shape(16), generator=torch.Generator().manual_seed(1))
    return start, tuple(Conditioning.stack([embeddings[prompt]] * count) for prompt in ("a star", ""))


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_with_ddpms_noise_it_is_the_pipelines_own_sampling(kind):
    """Of three pictures, two in a batch, each from the same latents and the same stream of noise."""
    model = tiny.model(kind)
    start, both = _given(model, 3)
    ours = sample_noisily(model, start, both, StepNoise(1.0, 1.0, 5), OPTIONS)
    seeds = torch.randint(2**62, (3,), generator=torch.Generator().manual_seed(5)).tolist()
    theirs = model.pipeline(
        ["a star"] * 3, num_inference_steps=4, guidance_scale=3.0, eta=1.0, latents=start, output_type="pt",
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
    )  # fmt: skip
    torch.testing.assert_close(ours, theirs.images, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", tiny.PIPELINES)
def test_more_eta_and_a_greater_scale_change_the_picture_and_nothing_of_it_is_lost(kind):
    """Above 1 DDIM's own formula takes the root of a negative number."""
    model = tiny.model(kind)
    start, both = _given(model, 1)
    exact, wide, scaled = (
        sample_noisily(model, start, both, StepNoise(*noise, 5), OPTIONS)
        for noise in ((1.0, 1.0), (1.85, 1.0), (1.85, 1.04))
    )
    assert torch.isfinite(torch.stack([exact, wide, scaled])).all()
    assert not torch.allclose(exact, wide, atol=1e-3)
    assert not torch.allclose(wide, scaled, atol=1e-4)


def test_the_variance_that_ddims_formula_cannot_have_is_met():
    """So that the test above is of what it says: at eta 1.85 one of these steps has too much."""
    scheduler = DDIMScheduler.from_config(tiny.pipeline().scheduler.config)
    scheduler.set_timesteps(OPTIONS.sampling_steps)
    timestep = int(scheduler.timesteps[0])
    before = timestep - 1000 // OPTIONS.sampling_steps
    left = 1 - scheduler.alphas_cumprod[before] - 1.85**2 * scheduler._get_variance(timestep, before)
    assert left < 0
