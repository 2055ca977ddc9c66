"""The variational route: clean gradients, and a bound that rises to D and stays below it."""

import pytest
import torch

import fdiv
from fdiv.losses import GaussianLoss, VariationalLoss
from harness.loss.critic import UPDATES, Context, CriticTrainer


def _example(spec, n=32, size=0.25):
    torch.manual_seed(0)
    noisy = torch.randn(n, 4, 4, 4)
    # One direction for all samples: the difference that a critic has to find.
    difference = (size * torch.randn(4, 4, 4) / 2).expand(n, -1, -1, -1)
    context = Context(noisy, torch.full((n,), 500), torch.randn(n, 3, 8))
    return CriticTrainer(VariationalLoss(fdiv.divergence(spec)), context), difference, context


def _erasure(trainer, difference, context):
    values, _ = trainer.erasure_values(difference, context)
    assert values.shape == (len(difference),)
    return values.mean()


def test_a_new_critic_says_zero_and_so_bounds_the_divergence_by_zero():
    trainer, difference, context = _example("squared_hellinger")
    assert trainer.critic(difference, context).abs().max() == 0


@pytest.mark.parametrize("spec", ["kl", "squared_hellinger", "jensen_shannon"])
def test_the_bound_rises_towards_the_exact_divergence_and_stays_below(spec):
    trainer, difference, context = _example(spec)
    loss = VariationalLoss(fdiv.divergence(spec))
    exact = GaussianLoss(fdiv.divergence(spec))(difference[0].square().sum()).item()
    trainer.update(difference, context, 100)
    with torch.no_grad():
        bounds = []
        for _ in range(20):
            v_p = trainer.critic(torch.randn_like(difference), context)
            v_q = trainer.critic(difference + torch.randn_like(difference), context)
            bounds.append(loss(v_p, v_q))
    bounds = torch.stack(bounds)
    error = bounds.std() / len(bounds) ** 0.5
    assert 0.5 * exact < bounds.mean() < exact + 3 * error


def test_the_estimate_that_is_logged_is_the_bound_and_stays_below_the_exact_divergence():
    trainer, difference, context = _example("squared_hellinger")
    exact = GaussianLoss(fdiv.divergence("squared_hellinger"))(difference[0].square().sum()).item()
    first = trainer.update(difference, context, 1)
    trainer.update(difference, context, 100)
    later = torch.stack([trainer.erasure_values(difference, context)[1] for _ in range(20)])
    assert first.abs() < 1e-6  # a new critic says zero
    assert 0.5 * exact < later.mean() < exact + 3 * later.std() / 20**0.5


def test_updating_the_critic_leaves_no_gradient_in_the_model():
    trainer, difference, context = _example("kl")
    weight = torch.nn.Parameter(torch.ones(()))
    _erasure(trainer, weight * difference, context)
    assert weight.grad is None


def test_the_critic_does_not_step_on_gradients_left_over_from_the_model():
    """The published leak: the critic's optimiser takes a step on what the model's backward left behind."""
    results = []
    for leftover in (False, True):
        trainer, difference, context = _example("kl")
        trainer.update(difference, context, 2)
        if leftover:
            for parameter in trainer.critic.parameters():
                parameter.grad = torch.full_like(parameter, 1e3)
        torch.manual_seed(1)
        trainer.update(difference, context, 2)
        results.append(torch.cat([parameter.detach().flatten() for parameter in trainer.critic.parameters()]))
    assert torch.equal(*results)


def test_the_models_gradient_does_not_move_the_critic():
    weights = []
    for with_model in (False, True):
        trainer, difference, context = _example("squared_hellinger")
        weight = torch.nn.Parameter(torch.ones(()))
        if with_model:
            torch.autograd.grad(_erasure(trainer, weight * difference, context), [weight])
        else:
            trainer.update(difference, context, UPDATES)
        weights.append(torch.cat([parameter.detach().flatten() for parameter in trainer.critic.parameters()]))
        assert all(
            parameter.grad is None or parameter.grad.isfinite().all() for parameter in trainer.critic.parameters()
        )
    assert torch.equal(*weights)


def test_a_step_that_is_not_finite_leaves_the_critic_as_it_was():
    trainer, difference, context = _example("kl")
    trainer.update(difference, context, 3)
    before = [parameter.detach().clone() for parameter in trainer.critic.parameters()]
    trainer.update(difference * torch.inf, context, 2)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.critic.parameters(), strict=True))
    trainer.update(difference, context, 1)
    assert all(parameter.isfinite().all() for parameter in trainer.critic.parameters())


@pytest.mark.parametrize("spec", ["kl", "squared_hellinger"])
def test_a_trained_critic_gives_the_model_about_the_exact_gradient(spec):
    trainer, difference, context = _example(spec, n=64)
    trainer.update(difference, context, 100)
    weight = torch.nn.Parameter(torch.ones(()))
    gradients = [torch.autograd.grad(_erasure(trainer, weight * difference, context), [weight])[0] for _ in range(20)]
    s = weight**2 * difference[0].square().sum()
    (exact,) = torch.autograd.grad(GaussianLoss(fdiv.divergence(spec))(s), [weight])
    assert torch.stack(gradients).mean() == pytest.approx(exact.item(), rel=0.35)
