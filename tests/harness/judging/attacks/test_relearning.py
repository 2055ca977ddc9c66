"""Relearning: it lowers its loss, counts what comes back, and leaves the model as it was, whatever happens."""

import copy
from contextlib import nullcontext

import pytest
import torch

from harness.attacking.fine_tuning import Captioned, Tuning, fine_tuned
from harness.config import Config
from harness.data.latents import encode
from harness.judging.attack import Attacked
from harness.judging.attacks import relearning
from harness.models.family import Conditioning
from harness.prompts.ladder import Ladder
from tests import tiny

GROUPS = [group for group, _ in relearning.LEARNING_RATES.values()]


def _given(model, n=2):
    generator = torch.Generator().manual_seed(1)
    clean = torch.randn(n, *model.latent_shape(16), generator=generator)
    return Captioned(clean, Conditioning.stack([encode(model, ["a star"])["a star"]] * n))


def _state(model):
    return {name: each.clone() for name, each in model.network.state_dict().items()}


def _same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("kind", "group"), [(kind, g) for kind in tiny.PIPELINES for g in GROUPS if g in tiny.model(kind).parameter_groups]
)
def test_fine_tuning_lowers_its_loss_and_is_undone(kind, group):
    model = tiny.model(kind)
    before, flags = _state(model), [parameter.requires_grad for parameter in model.network.parameters()]
    losses = {}
    for rate in (1e-9, 0.02):  # from the same noise at the same time steps
        with fine_tuned(model, Tuning(group, rate), _given(model), "fp32", seed=0) as train:
            losses[rate] = train(20)
            assert not _same(_state(model), before)
    assert len(losses[0.02]) == 20
    assert losses[0.02][0] == losses[1e-9][0]
    assert sum(losses[0.02][5:]) < 0.99 * sum(losses[1e-9][5:])
    assert _same(_state(model), before)
    assert [parameter.requires_grad for parameter in model.network.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.network.parameters())


@pytest.mark.parametrize("group", GROUPS)
def test_an_exception_undoes_it_too_and_nothing_random_moves(group):
    model = tiny.model()
    before, random = _state(model), torch.get_rng_state()

    def interrupted():
        with fine_tuned(model, Tuning(group, 0.1), _given(model), "fp32", 0) as train:
            train(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert _same(_state(model), before)
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("group", GROUPS)
def test_two_models_of_the_same_weights_learn_the_same(group):
    """Also where torch's own generator stands elsewhere."""
    losses = []
    for start in (0, 1):
        model = tiny.model()
        torch.manual_seed(start)
        with fine_tuned(model, Tuning(group, 0.02), _given(model), "fp32", seed=0) as train:
            losses.append([*train(2), *train(1)])
    assert losses[0] == losses[1]


class _Moved:
    """Sees a star in every picture that is not one the untrained model draws."""

    def __init__(self):
        self.known = []

    def values(self, pictures):
        if not self.known:
            self.known = list(pictures)
        new = [min((picture - each).abs().max() for each in self.known) > 1e-3 for picture in pictures]
        return {"shape": ["star" if each else "moon" for each in new]}


def _attacked(judge):
    model = tiny.model()
    prompts, moons, hearts = ("a star", "a red star"), ("a moon", "a red moon"), ("a heart", "a red heart")
    embeddings = encode(model, [*prompts, *moons, *hearts, ""])
    subjects = {"original": nullcontext, "erased": nullcontext}
    options, others = Config(sampling_steps=1, cache=False), {"moon": moons, "heart": hearts}
    return Attacked(
        model, subjects, "star", "shape", Ladder({"name": prompts}), embeddings, judge, options, 4, 0, others
    )


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Few steps."""
    monkeypatch.setattr(relearning, "STEPS", (0, 2))
    monkeypatch.setattr(relearning, "HEADLINE", {"on": "target", "weights": "all", "steps": 2})
    monkeypatch.setattr(relearning, "LEARNING_RATES", {"all": ("full", 0.05), "adapters": ("lora", 0.5)})


def test_it_counts_what_comes_back_by_steps_and_repeats():
    attacked = _attacked(_Moved())
    before = copy.deepcopy(_state(attacked.model))
    outcome = relearning.run(attacked)
    assert _same(_state(attacked.model), before)
    assert len(outcome.curve) == 3 * 2 * 2
    assert outcome.headline.setting == {"on": "target", "weights": "all", "steps": 2}
    for point in outcome.curve:
        wanted = 0 if point.setting["steps"] == 0 else 2
        assert {rate.successes for rate in point.rates.values()} == {wanted}, point.setting
        assert {rate.count for rate in point.rates.values()} == {2}
    assert len(outcome.figures) == 6
    assert all(figure == {"original": 1, "erased": 1} for figure in outcome.figures.values())
    assert relearning.run(attacked).to_json() == outcome.to_json()


class _Blind:
    def values(self, pictures):
        return {"shape": ["moon"] * len(pictures)}


def test_nothing_comes_back_where_the_judge_sees_none_and_a_lone_value_has_no_neighbours():
    attacked = _attacked(_Blind())
    attacked.others.clear()
    outcome = relearning.run(attacked)
    assert {point.setting["on"] for point in outcome.curve} == {"target"}
    assert all(rate.successes == 0 for point in outcome.curve for rate in point.rates.values())
    assert all(set(figure.values()) == {None} for figure in outcome.figures.values())


@pytest.mark.parametrize(
    ("curve", "steps"), [((0.5, 0, 0), 0), ((0, 0.5, 1), 1), ((0, 0.25, 0.75), 2), ((0.1, 0.4, 0.45), None)]
)
def test_steps_to_half_are_read_off_the_curve(curve, steps, monkeypatch):
    monkeypatch.setattr(relearning, "STEPS", (0, 1, 3))
    assert relearning.steps_to(0.5, curve) == steps
