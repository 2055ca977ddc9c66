"""A training on a GPU that is not there: no operation mixes devices, which on a CPU alone nothing would show."""

from contextlib import nullcontext
from dataclasses import fields

import pytest

import fdiv
from harness.config import Config
from harness.data.latents import Sampled
from harness.loss import calibration, soft_prompts
from harness.loss.objective import Losses
from harness.models.family import Family
from harness.models.path import GaussianPath
from harness.runs.checkpoint import Saved
from harness.show.steps import Seen
from harness.train import Trainer
from tests import tiny
from tests.devices import GPU, Devices

MADE_UP = 4
"""Every number that is asked for: how many tokens a prompt has, too, of which there are no fewer."""
CONCEPTS = 1 + MADE_UP


@pytest.fixture(autouse=True)
def _short_and_known(monkeypatch):
    """Made-up numbers will not do for a schedule, nor for whether a step is left out; and bf16 is not there."""
    monkeypatch.setattr(GaussianPath, "timesteps", 1000)
    monkeypatch.setattr(GaussianPath, "first", 1)
    monkeypatch.setattr(Seen, "skipped", False)
    monkeypatch.setattr(Family, "arithmetic", lambda *_: nullcontext())
    monkeypatch.setattr(soft_prompts, "STEPS", 1)
    monkeypatch.setattr(calibration, "CALIBRATION_BATCHES", 1)


@pytest.mark.parametrize("kind", tiny.PIPELINES)
def test_no_operation_of_a_training_that_is_resumed_mixes_devices(kind):
    model = tiny.model(kind)
    given = tiny.sampled(model)
    sampled = Sampled(**{field.name: getattr(given, field.name).to(GPU) for field in fields(Sampled)})
    group = "lora" if kind != "sd1" and "lora" in model.parameter_groups else "cross-attention-kv"
    losses = Losses.of([fdiv.divergence("kl")] * CONCEPTS, [1.0] * CONCEPTS, "closed_form")
    options = Config(
        steps=2, batch_size=1, parameter_group=group, gradient_checkpointing=True, relearning_steps=1, adversary_every=1
    )
    model.network.to(GPU)
    with Devices(MADE_UP):
        trainer = Trainer(model, sampled, losses, options)
        trainer.take_step()
        values, tensors = trainer.saved()
        trainer.denoiser.restore()
        saved = Saved(values, {name: each.cpu() for name, each in tensors.items()})
        trainer = Trainer(model, sampled, losses, options, saved)
        trainer.train()
    assert trainer.step == 2
