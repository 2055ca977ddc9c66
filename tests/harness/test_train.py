"""One step of the trainer, taken apart."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

import fdiv
from harness.config import Config
from harness.loss import soft_prompts
from harness.loss.gap import difference, squared_distance
from harness.loss.objective import Losses
from harness.models.weights import fingerprint
from harness.runs.checkpoint import Saved
from harness.train import Trainer, learning_rate_left
from tests import tiny

RECIPE = {"origin": "anchor", "parameter_group": "cross-attention-kv"}
INPUTS = ("noisy", "timesteps", "frozen")
OPPOSED = {"adversary_every": 3, "relearning_steps": 5}


@pytest.fixture(autouse=True)
def _short_searches(monkeypatch):
    """For soft prompts, which take most of a step's seconds, and need not be good ones here."""
    monkeypatch.setattr(soft_prompts, "STEPS", 2)


def _trainer(saved=None, retains=True, **options):
    """On latents of the origin that the options name, of which four are retained, or none."""
    model = tiny.model()
    sampled = tiny.sampled(model)
    if options.get("origin") == "anchor":
        told = {name: getattr(sampled, name)[:4] for name in ("target", "retain")}
        sampled = replace(sampled, **told, counterparts=None)
    if not retains:
        nothing = {name: getattr(sampled, name)[:0] for name in ("retain_latents", "retain")}
        sampled = replace(sampled, **nothing)
    losses = Losses.of([fdiv.divergence("squared_hellinger")], [2.0], "closed_form")
    options = {"batch_size": 4, "scale": "unit", "learning_rate": 0.01, "steps": 20} | options
    return Trainer(model, sampled, losses, Config(**options), saved)


def _erase(trainer, batch):
    """Squared Hellinger's D(s) over its w(0), weighted by 2."""
    s = squared_distance(difference(trainer.denoiser, trainer.scale, batch))
    return 2.0 * 8 * (1 - (-s / 8).exp()).mean()


def _retain(trainer, batch):
    """How far predictions have drifted, each as a share of the frozen one's own error."""
    frozen = trainer.denoiser.frozen_denoiser(batch.noisy, batch.timesteps, batch.frozen)
    trained = trainer.denoiser(batch.noisy, batch.timesteps, batch.trained)
    drift, own = ((each**2).sum((1, 2, 3)) for each in (trained - frozen, frozen - batch.noise))
    return (drift / (own * trainer.measured.error).sqrt()).mean()


def _gradients(loss, trainer):
    return torch.autograd.grad(loss, list(trainer.denoiser.trained.values()), allow_unused=True)


def _sum(*parts):
    return [sum(each for each in column if each is not None) for column in zip(*parts, strict=True)]


def _assert_close(gradients, expected):
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def _copy(saved):
    return Saved(saved.values, {name: tensor.clone() for name, tensor in saved.tensors.items()})


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("origin", [RECIPE, {"adversary_every": 0, "relearning_steps": 0}], ids=["anchor", "target"])
def test_the_gradient_is_that_of_the_erasure_and_so_much_of_retentions(weight, origin):
    trainer = _trainer(retain_weight=weight, **origin)
    trainer.take_step()  # before it the retained predictions are the frozen ones, and retention has no gradient
    batch = next(trainer.batches)
    seen, gradients = trainer.backward(batch)
    erase, retain = _erase(trainer, batch.erasing), _retain(trainer, batch.retaining)
    assert retain > 0
    torch.testing.assert_close((seen.erase, seen.retain), (erase.detach(), retain.detach()))
    _assert_close(gradients, _gradients(erase + weight * trainer.measured.s * retain, trainer))


@pytest.mark.parametrize("scale", ["unit", "posterior", "auto"])
def test_retention_counts_in_units_of_the_median_s_and_the_mean_error_before_training(scale):
    trainer, again = (_trainer(scale=scale, **RECIPE) for _ in range(2))
    again.noise.manual_seed(3)  # as before any batch was drawn
    s, errors = [], []
    for _ in range(8):
        batch = next(again.batches)
        s.append(squared_distance(difference(again.denoiser, trainer.scale, batch.erasing)))
        frozen = again.denoiser.frozen_denoiser(*(getattr(batch.retaining, each) for each in INPUTS))
        errors.append(squared_distance(frozen - batch.retaining.noise))
    expected = (trainer.scale.constant, torch.cat(s).median().item(), torch.cat(errors).mean().item())
    assert trainer.measured == pytest.approx(expected, rel=1e-5)
    assert (scale == "auto") == (trainer.scale.constant != 1 / 64)
    trainer.take_step()
    assert _trainer(_copy(trainer.saved()), scale=scale, **RECIPE).measured == trainer.measured


def test_without_retained_prompts_the_gradient_is_that_of_the_erasure_alone():
    trainer = _trainer(retains=False, **RECIPE)
    batch = next(trainer.batches)
    assert len(batch.retaining.noisy) == 0
    seen, gradients = trainer.backward(batch)
    assert seen.retain == 0.0
    _assert_close(gradients, _gradients(_erase(trainer, batch.erasing), trainer))


def test_the_erasure_is_asked_for_under_both_adversaries_and_retention_under_neither():
    """The other trainer, in the same state, is given to its adversaries by hand."""
    trainer = _trainer(retain_weight=0.5, **OPPOSED)
    for _ in range(3):
        trainer.take_step()
    again = _trainer(_copy(trainer.saved()), retain_weight=0.5, **OPPOSED)
    batch = replace(next(trainer.batches), adversary=torch.tensor([True, True, False, True]))
    next(again.batches)
    plain = _erase(again, batch.erasing).detach()
    seen, gradients = trainer.backward(batch)
    erasing = again.soft_prompts.over(batch.erasing)
    with again.relearner.relearnt():
        erase = _erase(again, erasing)
        of_erasure = _gradients(erase, again)
    retain = _retain(again, batch.retaining)
    torch.testing.assert_close((seen.erase, seen.retain), (erase.detach(), retain.detach()))
    assert abs(erase - plain) > 1e-4
    _assert_close(gradients, _sum(of_erasure, _gradients(0.5 * trainer.measured.s * retain, again)))


@pytest.mark.parametrize("without", ["adversary_every", "relearning_steps", "origin"])
def test_an_adversary_that_is_not_asked_for_is_none(without):
    trainer = _trainer(**(OPPOSED | {without: 0 if without in OPPOSED else "anchor"}))
    assert (trainer.soft_prompts is None) == (without != "relearning_steps")
    assert (trainer.relearner is None) == (without != "adversary_every")


def test_soft_prompts_are_searched_before_the_first_step_and_every_so_many(monkeypatch):
    trainer, searched = _trainer(adversary_every=3, relearning_steps=0), []
    monkeypatch.setattr(trainer.soft_prompts, "learn", lambda: searched.append(trainer.step))
    for _ in range(8):
        trainer.take_step()
    assert searched == [0, 3, 6]


@pytest.mark.parametrize("origin", [{}, {"origin": "anchor"}], ids=["target", "anchor"])
def test_the_closed_form_is_solved_for_every_so_many_steps_and_the_erasure_is_asked_for_under_it(origin):
    options = RECIPE | {"origin": "target", "adversary_every": 0, "relearning_steps": 0} | origin
    trainer, seen = _trainer(closed_form_every=3, **options), []
    for _ in range(7):
        trainer.take_step()
        seen.append(trainer.closed_form.map)
    assert [one is other for one, other in pairwise(seen)] == [True, True, False, True, True, False]
    again = _trainer(_copy(trainer.saved()), closed_form_every=3, **options)
    batch = next(trainer.batches)
    next(again.batches)
    erasing = again.closed_form.over(batch.erasing)
    assert not torch.equal(erasing.trained.prompt_embeds, batch.erasing.trained.prompt_embeds)
    torch.testing.assert_close(trainer.backward(batch)[0].erase, _erase(again, erasing).detach())
    assert _trainer(**options).closed_form is None


def test_the_learning_rate_falls_to_0_along_a_cosine():
    trainer, rates = _trainer(**RECIPE, steps=7), []
    for _ in range(7):
        trainer.take_step()
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.01)
    expected, schedule = [], torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7)
    for _ in range(7):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx(expected)
    left = [learning_rate_left(step, Config(steps=6)) for step in (0, 6, 3)]
    assert left == [1.0, 0.0, pytest.approx(0.5)]
    assert learning_rate_left(5, Config(steps=6, schedule="constant")) == 1.0
    assert math.isclose(rates[0], 0.01)


KINDS = {
    "recipe": RECIPE,
    "keys and values": OPPOSED | {"parameter_group": "cross-attention-kv", "closed_form_every": 4},
    "lora": OPPOSED | {"parameter_group": "lora"},
    "full": OPPOSED,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_trainer_made_from_a_checkpoint_takes_the_very_same_steps(kind):
    """After 7 of them it is one after a search for soft prompts, in the middle of the second fine-tuning."""
    whole = _trainer(**KINDS[kind])
    for _ in range(7):
        whole.take_step()
    saved = _copy(whole.saved())
    if kind != "recipe":
        assert "soft_prompts/prompt_embeds" in saved.tensors
        assert saved.tensors["relearner/taken"] == 2
    later = [whole.take_step().s for _ in range(4)]
    again = _trainer(saved, **KINDS[kind])
    assert (again.step, len(again.seen)) == (7, 7)
    assert all(torch.equal(again.take_step().s, s) for s in later)
    assert fingerprint(again.saved().tensors) == fingerprint(whole.saved().tensors)
