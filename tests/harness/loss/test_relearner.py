"""The adversary in the weights."""

import copy

import pytest
import torch

from harness.loss import relearner
from harness.loss.relearner import LEARNING_RATE, SHOTS, Relearner
from harness.models.denoiser import Denoiser
from tests import tiny

PICTURES = 6


def _made(parameter_group="full", episode=100, seed=5):
    model = tiny.model()
    denoiser = Denoiser(model, parameter_group)
    generator = torch.Generator().manual_seed(seed)
    return Relearner(denoiser, model.path(), tiny.sampled(model, PICTURES), generator, episode)


def _weights(made):
    return {name: each.detach().clone() for name, each in made.denoiser.trained.items()}


def _relearnt(made, times=1):
    """The weights within the last of so many steps of fine-tuning."""
    for _ in range(times):
        with made.relearnt():
            inside = _weights(made)
    return inside


def _fine_tuned(network, named, pictures, steps, seed=5):
    """By hand: AdamW on the noise's squared error of so many pictures, told what they show, and nothing else."""
    alpha_bar = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)
    generator = torch.Generator().manual_seed(seed)
    shots = torch.randperm(PICTURES, generator=generator)[:4]
    network.requires_grad_(True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-4, weight_decay=0.0)
    for _ in range(steps):
        noise = torch.randn(4, 4, 8, 8, generator=generator)
        times = torch.randint(1000, (4,), generator=generator)
        a = alpha_bar[times].view(4, 1, 1, 1)
        noisy = a.sqrt() * pictures[shots] + (1 - a).sqrt() * noise
        loss = (network(noisy, times, encoder_hidden_states=named).sample - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.state_dict()


def test_the_weights_are_where_adamw_alone_brings_a_copy_and_afterwards_where_they_were():
    made = _made()
    own = _weights(made)
    network = copy.deepcopy(made.denoiser.network)
    with torch.no_grad():
        named = made.denoiser.model.encode(["a star"] * 4).prompt_embeds
    expected = _fine_tuned(network, named, made.sampled.origin_latents, 3)
    inside = _relearnt(made, 3)
    moved = torch.cat([(expected[name] - own[name]).flatten() for name in own])
    away = torch.cat([(inside[name] - expected[name]).flatten() for name in own]).abs()
    assert moved.abs().quantile(0.5) > 1e-4
    # AdamW makes whole steps of gradients that are next to rounding: of a few in a thousand the sign is chance
    assert (away < 2e-6).float().mean() > 0.99
    assert away.mean() < 0.01 * moved.abs().mean()
    assert all(torch.equal(own[name], each) for name, each in _weights(made).items())


def _fail(made, moved):
    with made.relearnt():
        raise RuntimeError("within" if moved() else "before")


@pytest.mark.parametrize("parameter_group", ["full", "cross-attention-kv", "lora"])
def test_the_weights_are_the_same_to_the_last_bit_afterwards_also_after_an_exception(parameter_group):
    made = _made(parameter_group)
    own = {name: each.clone() for name, each in made.denoiser.network.state_dict().items()}
    trained = set(made.denoiser.trained)

    def moved():
        state = made.denoiser.network.state_dict()
        return {name for name in own if not torch.equal(own[name], state[name])}

    _relearnt(made)  # the second matrix of an adapter alone has a gradient at first
    with made.relearnt():
        inside = moved()
    assert inside
    assert inside <= trained
    assert moved() == set()
    with pytest.raises(RuntimeError, match="within"):
        _fail(made, moved)
    assert moved() == set()
    assert all(each.requires_grad and each.grad is None for each in made.denoiser.trained.values())


def test_the_erasure_moves_on_under_a_displacement_that_stays():
    made = _made()
    before = _weights(made)
    inside = _relearnt(made, 2)
    with torch.no_grad():
        for each in made.denoiser.trained.values():
            each.add_(0.5)
    after = _relearnt(made)
    # one more step of AdamW, which is at most about a learning rate, and no more than that
    for name in before:
        assert (after[name] - 0.5 - inside[name]).abs().max() < 2.5 * LEARNING_RATE
        assert torch.equal(made.denoiser.trained[name], before[name] + 0.5)
    assert max((inside[name] - before[name]).abs().max() for name in before) > 1.5 * LEARNING_RATE


def test_gradients_for_the_erasure_are_taken_at_the_displaced_weights():
    made = _made()
    weights = list(made.denoiser.trained.values())
    with made.relearnt():
        sums = sum((each**2).sum() for each in weights)
        gradients = torch.autograd.grad(sums, weights)
        inside = _weights(made)
    for gradient, (name, each) in zip(gradients, inside.items(), strict=True):
        torch.testing.assert_close(gradient, 2 * each, msg=name)


def test_it_begins_anew_after_an_episode_with_other_pictures():
    made = _made(episode=3)
    own, shots, seen = _weights(made), [], []
    for _ in range(9):
        with made.relearnt():
            shots.append(tuple(made.shots.tolist()))
            moved = max((each - own[name]).abs().max() for name, each in _weights(made).items())
            seen.append(round(float(moved) / LEARNING_RATE, 1))
    assert all(len(set(each)) == SHOTS for each in shots)
    assert shots == [shots[k - k % 3] for k in range(9)]
    assert len(set(shots)) > 1
    # the first step of AdamW is the learning rate in whatever has a gradient, and so is each after it at most
    assert [seen[k] for k in (0, 3, 6)] == [1.0] * 3
    assert all(seen[k] < seen[k + 1] < seen[k + 2] for k in (0, 3, 6))


def test_it_goes_on_from_what_was_saved_as_if_nothing_had_been():
    made = _made(episode=4)
    _relearnt(made, 2)
    saved = {name: each.clone() for name, each in made.saved().items()}
    noise = made.generator.get_state()
    wanted = [_relearnt(made) for _ in range(5)]
    again = _made(episode=4, seed=6)
    again.restore(saved)
    again.generator.set_state(noise)
    for inside in wanted:
        found = _relearnt(again)
        assert all(torch.equal(inside[name], found[name]) for name in inside)


def test_fewer_pictures_than_shots_are_all_taken():
    model = tiny.model()
    made = Relearner(Denoiser(model, "full"), model.path(), tiny.sampled(model, 2), torch.Generator().manual_seed(0), 5)
    assert sorted(made.shots.tolist()) == [0, 1]
    assert _relearnt(made)


def test_a_gradient_that_is_not_finite_moves_nothing_and_the_fine_tuning_goes_on(monkeypatch):
    made = _made()
    _relearnt(made, 2)
    before = {name: each.clone() for name, each in made.moved.items()}
    error = relearner.denoising_error
    monkeypatch.setattr(relearner, "denoising_error", lambda *given: error(*given) * torch.inf)
    _relearnt(made, 1)
    assert made.taken == 3
    assert all(torch.equal(before[name], each) for name, each in made.moved.items())
    monkeypatch.setattr(relearner, "denoising_error", error)
    _relearnt(made, 1)
    assert all(each.isfinite().all() for each in made.moved.values())
    assert any(not torch.equal(before[name], each) for name, each in made.moved.items())
