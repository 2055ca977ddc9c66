"""What is measured before training."""

import pytest
import torch

import fdiv
from harness.config import Config, UsageError
from harness.data import latents
from harness.data.batches import batches
from harness.loss.calibration import CALIBRATION_BATCHES, measured
from harness.loss.objective import Losses
from harness.loss.scale import Scale, decisive_s
from harness.models.denoiser import Denoiser
from tests import tiny


def _calibrated(target_prompt, specs):
    """The median s, and s over each concept's decisive one, computed apart from the trainer at the scale found."""
    model, options = tiny.model(), Config(batch_size=8)
    with torch.no_grad():
        target, anchor = (model.encode([prompt] * 4) for prompt in (target_prompt, "a circle"))
    kept = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    concept = torch.arange(4) % len(specs)
    sampled = latents.Sampled(kept, anchor, target, concept, kept[:0], anchor[:0], anchor[:1])
    losses = Losses.of([fdiv.resolve(spec) for spec in specs], [1.0] * len(specs), "closed_form")
    path, denoiser = model.path(), Denoiser(model, "cross-attention-kv")
    drawn = [batches(sampled, path, options, torch.Generator().manual_seed(7)) for _ in range(2)]
    constant, median, error = measured(Scale("auto", path, 1 / 64), denoiser, losses, drawn[0], options.batch_size)
    ratios, every = [], []
    for batch in (next(drawn[1]) for _ in range(CALIBRATION_BATCHES)):
        with torch.no_grad():
            p = denoiser.frozen_denoiser(batch.noisy, batch.timesteps, batch.frozen)
            q = denoiser(batch.noisy, batch.timesteps, batch.trained)
        decisive = torch.tensor([decisive_s(loss) for loss in losses.gaussian])[batch.concept]
        every.append(constant * (p - q).square().sum((1, 2, 3)))
        ratios.append(every[-1] / decisive)
    assert error == 0.0  # nothing is retained
    assert median == pytest.approx(torch.cat(every).median().item(), rel=1e-5)
    return torch.cat(ratios)


def test_the_median_s_starts_where_each_concepts_divergence_matters():
    ratios = _calibrated("a star", ["squared_hellinger", "pearson"])
    assert ratios.median() == pytest.approx(1.0, rel=1e-5)
    assert len(ratios) == 64


def test_prompts_without_a_difference_are_refused():
    with pytest.raises(UsageError, match=r"target and anchor prompts differ by s = 0\.0: nothing can be learnt"):
        _calibrated("a circle", ["kl"])
