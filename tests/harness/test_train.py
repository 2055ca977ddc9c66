"""One step of the trainer, taken apart."""

import pytest
import torch

import fdiv
from harness.config import Config
from harness.data.latents import Sampled
from harness.loss.gap import difference, squared_distance
from harness.loss.objective import Losses
from harness.runs.checkpoint import Saved
from harness.train import Trainer
from tests import tiny


def _trainer(saved=None, **options):
    model = tiny.model()
    with torch.no_grad():
        target, anchor, kept = (model.encode([prompt] * 4) for prompt in ("a star", "a circle", "a moon"))
    latents = torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    sampled = Sampled(
        latents[:4], anchor, target, torch.zeros(4, dtype=torch.long), latents[4:], kept, kept, anchor[:1]
    )
    losses = Losses.of([fdiv.divergence("squared_hellinger")], [2.0], "closed_form")
    return Trainer(model, sampled, losses, Config(batch_size=4, scale="unit", learning_rate=0.01, **options), saved)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_gradient_is_that_of_the_erasure_and_so_much_of_retentions(weight):
    trainer = _trainer(retain_weight=weight)
    trainer.take_step()  # before it the retained predictions are the frozen ones, and retention has no gradient
    batch = next(trainer.batches)
    seen, gradients = trainer.backward(batch)
    s = squared_distance(difference(trainer.denoiser, trainer.scale, batch))
    erase = 2.0 * 8 * (1 - (-s[:4] / 8).exp()).mean()  # squared Hellinger's D(s) over its w(0), weighted by 2
    retain = s[4:].mean()
    assert retain > 0
    expected = torch.autograd.grad(erase + weight * retain, list(trainer.denoiser.trained.values()))
    torch.testing.assert_close((seen.erase, seen.retain), (erase.detach(), retain.detach()))
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("parameter_group", ["cross-attention-kv", "lora"])
def test_a_trainer_made_from_a_checkpoint_takes_the_very_same_steps(parameter_group):
    whole = _trainer(parameter_group=parameter_group)
    whole.take_step()
    values, tensors = whole.saved()
    saved = Saved(values, {name: tensor.clone() for name, tensor in tensors.items()})
    later = [whole.take_step().s for _ in range(2)]
    again = _trainer(saved, parameter_group=parameter_group)
    assert (again.step, len(again.seen)) == (1, 1)
    assert all(torch.equal(again.take_step().s, s) for s in later)
