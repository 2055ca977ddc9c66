"""What is measured before training."""

import pytest
import torch

from harness.config import Config
from harness.data import latents
from harness.loss.calibration import calibrate
from harness.loss.objective import Losses, reference_weight
from harness.loss.timesteps import TimestepSampler
from harness.models.denoiser import Denoiser
from tests import tiny


@pytest.mark.parametrize("scale", ["unit", "posterior", "auto", "binned"])
def test_importance_masses_are_the_mean_lengths_of_the_gradients_in_the_noise_prediction(scale):
    """Apart from the trainer: autograd through D(s), each sample alone, at the very batches of the calibration."""
    model, options = tiny.model(), Config(scale=scale, timestep_sampling="importance", batch_size=8, latents=4)
    with torch.no_grad():
        target, anchor = (model.encode([prompt] * 4) for prompt in ("a star", "a circle"))
    kept = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    sampled = latents.Sampled(kept, anchor, target, torch.tensor([0, 1, 0, 1]), kept[:0], anchor[:0], anchor[:1])
    losses, schedule = Losses.of(["squared_hellinger", "kl"], [1.0, 3.0], "closed_form"), model.noise_schedule()
    denoiser = Denoiser(model, "cross-attention-kv")
    objective = calibrate(denoiser, sampled, losses, schedule, options, torch.Generator().manual_seed(7))
    uniform = TimestepSampler(schedule, (0, 1), "constant")
    drawn = latents.batches(sampled, schedule, uniform, options, torch.Generator().manual_seed(7))
    lengths: list[list[float]] = [[] for _ in range(10)]
    for batch in (next(drawn) for _ in range(32)):
        with torch.no_grad():
            p = denoiser.frozen_denoiser(batch.noisy, batch.timesteps, batch.frozen)
            q = denoiser(batch.noisy, batch.timesteps, batch.trained)
        q.requires_grad_()
        s = objective.scale.difference(p, q, batch.timesteps).square().flatten(1).sum(1)
        for i, (k, t) in enumerate(zip(batch.concept.tolist(), batch.timesteps.tolist(), strict=True)):
            value = losses.weights[k] / reference_weight(losses.gaussian[k]) * losses.gaussian[k](s[i])
            (gradient,) = torch.autograd.grad(value, q, retain_graph=True)
            lengths[t * 10 // 1000].append(gradient.norm().item())
    expected = torch.tensor([sum(each) / len(each) for each in lengths])
    masses = objective.sampler.masses
    torch.testing.assert_close(masses / masses.sum(), expected / expected.sum(), rtol=1e-4, atol=1e-6)
