"""From predictions to s, and from s to losses, against diffusers' own schedulers."""

import math

import pytest
import torch
from diffusers import DDPMScheduler

import fdiv
from fdiv.losses import GaussianLoss
from harness.loss import objective
from harness.loss.gap import squared_distance
from harness.loss.objective import Losses
from harness.loss.scale import FALLBACK_S, NEAR_S, Scale, decisive_s, unit_constant
from harness.models.path import diffusion_path
from tests import tiny


def _predictions(n=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 4, 8, 8, generator=generator) for _ in range(3)]


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("timestep", [1, 2, 40, 500, 998, 999])
def test_posterior_s_is_the_distance_of_the_schedulers_own_reverse_steps(prediction_type, timestep):
    schedule = diffusion_path(tiny.pipeline(prediction_type))
    scheduler = DDPMScheduler.from_config(tiny.pipeline(prediction_type).scheduler.config)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    noisy, a, b = _predictions()
    timesteps = torch.full((4,), timestep)
    noise_p, noise_q = (schedule.noise_prediction(each, noisy, timesteps) for each in (a, b))
    ours = squared_distance(Scale("posterior", schedule).difference(noise_p, noise_q, timesteps))
    # One seed for both: the noise that a DDPM step adds cancels in the difference of the two results.
    after = [
        scheduler.step(each.double(), timestep, noisy.double(), generator=torch.Generator().manual_seed(7)).prev_sample
        for each in (a, b)
    ]
    theirs = (after[0] - after[1]).square().flatten(1).sum(1) / scheduler._get_variance(timestep)
    torch.testing.assert_close(ours.double(), theirs, rtol=2e-3, atol=0)


def test_unit_s_is_the_official_recipes_channel_sum_and_mean_over_positions():
    schedule = diffusion_path(tiny.pipeline())
    noisy, a, b = _predictions()
    scale = Scale("unit", schedule, unit_constant(noisy))
    s = squared_distance(scale.difference(a, b, torch.tensor([1, 10, 100, 999])))
    torch.testing.assert_close(s, (a - b).square().sum(1).mean((1, 2)))
    torch.testing.assert_close(s, 4 * (a - b).square().mean((1, 2, 3)))


def test_s_does_not_depend_on_which_of_the_two_is_which_and_is_zero_for_equals():
    scale = Scale("auto", diffusion_path(tiny.pipeline()), 0.3)
    _, a, b = _predictions()
    timesteps = torch.tensor([1, 10, 100, 999])
    forth, back = (squared_distance(scale.difference(*pair, timesteps)) for pair in [(a, b), (b, a)])
    assert torch.equal(forth, back)
    assert torch.equal(squared_distance(scale.difference(a, a, timesteps)), torch.zeros(4))


@pytest.mark.parametrize(("spec", "expected"), [("squared_hellinger", 8.0), ("pearson", 1.0), ("neyman", 1.0)])
def test_the_decisive_s_is_where_the_weight_has_changed_by_a_factor_e(spec, expected):
    assert decisive_s(GaussianLoss(fdiv.divergence(spec))) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("spec", ["kl", "reverse_kl", "jeffreys"])
def test_a_divergence_without_a_decisive_s_gets_the_fallback(spec):
    assert decisive_s(GaussianLoss(fdiv.divergence(spec))) == FALLBACK_S
    assert decisive_s(None) == FALLBACK_S


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("total_variation", NEAR_S),
        ("max_ratio", NEAR_S),
        ("vajda:k=3", FALLBACK_S),
        ("hockey_stick:gamma=1.5", FALLBACK_S),
    ],
)
def test_a_weight_of_infinity_or_0_at_0_is_counted_as_1_where_the_median_s_starts(spec, expected):
    loss = GaussianLoss(fdiv.divergence(spec))
    start = torch.tensor([decisive_s(loss)], dtype=torch.float64)
    assert start.item() == expected
    assert loss.gradient_weight(start).item() == objective.reference_weight(loss)


@pytest.mark.parametrize("spec", [*fdiv.names()[:4], "jensen_shannon", "triangular"])
def test_the_reference_weight_is_the_slope_of_d_at_zero(spec):
    loss = GaussianLoss(fdiv.divergence(spec))
    h = torch.tensor(1e-7, dtype=torch.float64)
    assert objective.reference_weight(loss) == pytest.approx((loss(h) / h).item(), rel=1e-5)


def test_the_reference_weight_of_total_variation_is_that_where_it_is_a_norm():
    expected = math.exp(-0.2 / 8) / math.sqrt(8 * math.pi * 0.2)
    assert objective.reference_weight(GaussianLoss(fdiv.divergence("total_variation"))) == pytest.approx(expected)
    assert objective.reference_weight(None) == 1.0


def test_kl_at_any_scale_is_half_the_mean_squared_error_in_units_of_sigma():
    scale = Scale("auto", diffusion_path(tiny.pipeline()), 0.3)
    _, a, b = _predictions()
    gap = scale.difference(a, b, torch.tensor([1, 10, 100, 999]))
    losses, concept = Losses.of([fdiv.divergence("kl")], [1.0], "closed_form"), torch.zeros(4, dtype=torch.long)
    values = losses.divergence(squared_distance(gap), concept)
    torch.testing.assert_close(values, 0.3 * (a - b).square().sum((1, 2, 3)) / 2)
    # over w(0) = 1/2, so that a weight of 1 is that of the retained prompts' mean s
    loss = objective.erasure_loss(values, concept, losses)
    torch.testing.assert_close(loss, 0.3 * (a - b).square().sum((1, 2, 3)).mean())


def test_each_row_has_its_own_concepts_divergence_and_weight():
    specs = ("pearson", "kl", "pearson")
    losses = Losses.of([fdiv.divergence(spec) for spec in specs], [2.0, 3.0, 0.5], "closed_form")
    s, concept = torch.tensor([0.1, 0.2, 0.3, 0.4], requires_grad=True), torch.tensor([0, 1, 2, 1])
    values = losses.divergence(s, concept)
    torch.testing.assert_close(values, torch.stack([s[0].expm1(), s[1] / 2, s[2].expm1(), s[3] / 2]))
    (gradient,) = torch.autograd.grad(objective.erasure_loss(values, concept, losses), s)
    expected = torch.stack([2 * s[0].exp(), torch.tensor(3.0), 0.5 * s[2].exp(), torch.tensor(3.0)]) / 4
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(losses.relative_weight(s, concept)[1::2], torch.ones(2))


def test_a_divergence_changes_the_gradients_length_a_sample_and_never_its_direction():
    scale = Scale("auto", diffusion_path(tiny.pipeline()), 0.05)
    _, a, b = _predictions()
    b.requires_grad_(True)
    timesteps = torch.tensor([1, 10, 100, 999])
    gradients = {}
    for spec in ("kl", "squared_hellinger", "pearson"):
        loss = GaussianLoss(fdiv.divergence(spec))
        s = squared_distance(scale.difference(a, b, timesteps))
        (gradient,) = torch.autograd.grad(loss(s).mean(), b)
        gradients[spec] = gradient / loss.gradient_weight(s.detach()).view(-1, 1, 1, 1)
    torch.testing.assert_close(gradients["squared_hellinger"], gradients["kl"])
    torch.testing.assert_close(gradients["pearson"], gradients["kl"])


def test_retention_is_the_mean_s():
    assert objective.retain_loss(torch.tensor([1.0, 3.0])) == 2.0
