"""Which time steps are drawn, and what each counts for."""

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.training_utils import compute_snr

from harness.config import UsageError
from harness.loss.timesteps import BINS, TimestepSampler, bins
from harness.models.path import NoiseSchedule
from tests import tiny

MASSES = {
    "none": None,
    "zero": torch.zeros(BINS),
    "equal": torch.full((BINS,), 3.0),
    "one bin": torch.eye(BINS)[4],
    "rising": torch.arange(BINS),
    "outside a window's": torch.eye(BINS)[9],
}
WINDOWS = [(0, 1), (0.2, 0.75), (0.33, 0.34)]


@pytest.fixture(scope="module")
def schedule():
    return NoiseSchedule(tiny.pipeline())


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _window(low, high, count=1000):
    """The time steps that fractions mean, in whole thousandths."""
    return torch.arange(max(1, round(low * count)), round(high * count))


@pytest.mark.parametrize("count", [10, 37, 999, 1000])
def test_bins_are_of_equal_width_and_in_order(count):
    result = bins(torch.arange(count), count)
    widths = result.bincount(minlength=BINS)
    assert len(widths) == BINS
    assert widths.max() - widths.min() <= 1
    assert (result.diff() >= 0).all()
    assert (result[0], result[-1]) == (0, BINS - 1)


def test_a_thousand_time_steps_are_binned_by_their_hundreds():
    assert bins(torch.tensor([0, 99, 100, 199, 450, 999]), 1000).tolist() == [0, 0, 1, 1, 4, 9]


@pytest.mark.parametrize("masses", MASSES)
@pytest.mark.parametrize("window", WINDOWS)
def test_the_expected_weighted_loss_is_that_of_uniform_time_steps(schedule, window, masses):
    sampler = TimestepSampler(schedule, window, "constant", MASSES[masses])
    inside = _window(*window)
    losses = torch.randn(1000, generator=_generator()).double().exp()
    assert sampler.frequencies.sum() == pytest.approx(len(inside))
    expected = (sampler.frequencies[inside] / len(inside) * sampler.weights(inside) * losses[inside]).sum()
    assert expected == pytest.approx(losses[inside].mean().item(), rel=1e-6)


@pytest.mark.parametrize("masses", MASSES)
@pytest.mark.parametrize("window", WINDOWS)
def test_every_time_step_of_the_window_and_no_other_is_drawn(schedule, window, masses):
    sampler = TimestepSampler(schedule, window, "constant", MASSES[masses])
    drawn = sampler.draw(50_000, _generator())
    assert drawn.dtype == torch.int64
    assert torch.equal(drawn.unique(), _window(*window))


@pytest.mark.parametrize("masses", MASSES)
def test_time_steps_are_drawn_as_often_as_their_frequencies_say(schedule, masses):
    n = 200_000
    sampler = TimestepSampler(schedule, (0.2, 0.75), "constant", MASSES[masses])
    seen = bins(sampler.draw(n, _generator()), 1000).bincount(minlength=BINS) / n
    frequencies = sampler.frequencies / sampler.frequencies.sum()
    expected = torch.stack([part.sum() for part in frequencies.view(BINS, -1)])
    torch.testing.assert_close(seen.double(), expected, atol=4 * (0.25 / n) ** 0.5, rtol=0)


def test_half_of_the_draws_go_where_the_mass_is(schedule):
    # Half of all draws uniformly, a tenth of them in bin 4; the other half in bin 4 alone.
    sampler = TimestepSampler(schedule, (0, 1), "constant", MASSES["one bin"])
    assert sampler.frequencies[400:500].sum() / sampler.frequencies.sum() == pytest.approx(0.55, abs=1e-3)
    torch.testing.assert_close(sampler.weights(torch.tensor([399, 500])), torch.tensor([2.0, 2.0]))


def test_masses_a_bin_are_those_of_its_time_steps_and_not_of_the_bin(schedule):
    # The window has 100 time steps of bin 4 and 20 of bin 5: with equal masses all are drawn alike.
    sampler = TimestepSampler(schedule, (0.4, 0.52), "constant", MASSES["equal"])
    assert torch.equal(sampler.weights(_window(0.4, 0.52)), torch.ones(120))


@pytest.mark.parametrize("masses", MASSES)
def test_no_weight_exceeds_two(schedule, masses):
    weights = TimestepSampler(schedule, (0.05, 1), "constant", MASSES[masses]).weights(torch.arange(50, 1000))
    assert weights.min() > 0
    assert weights.max() <= 2


@pytest.mark.parametrize("masses", MASSES)
def test_a_generator_decides_the_draws(schedule, masses):
    sampler = TimestepSampler(schedule, (0, 1), "constant", MASSES[masses])
    assert torch.equal(sampler.draw(64, _generator(1)), sampler.draw(64, _generator(1)))
    assert not torch.equal(sampler.draw(64, _generator(1)), sampler.draw(64, _generator(2)))


@pytest.mark.parametrize("masses", ["zero", "outside a window's"])
def test_without_mass_in_the_window_all_are_drawn_alike(schedule, masses):
    sampler = TimestepSampler(schedule, (0, 0.5), "constant", MASSES[masses])
    assert torch.equal(sampler.weights(torch.arange(1, 500)), torch.ones(499))


def test_min_snr_is_diffusers_own_clipped_at_five(schedule):
    timesteps = torch.arange(1, 1000)
    snr = compute_snr(schedule.noise_scheduler, timesteps)
    assert snr.min() < 5 < snr.max()
    weights = TimestepSampler(schedule, (0, 1), "min_snr").weights(timesteps)
    torch.testing.assert_close(weights, snr.clamp(max=5) / snr, rtol=1e-4, atol=0)


def test_min_snr_and_importance_multiply(schedule):
    timesteps = torch.tensor([1, 150, 450, 999])
    plain, weighted, both = (
        TimestepSampler(schedule, (0, 1), weighting, MASSES[masses]).weights(timesteps)
        for weighting, masses in [("constant", "rising"), ("min_snr", "none"), ("min_snr", "rising")]
    )
    assert both.dtype == torch.float32
    torch.testing.assert_close(both, plain * weighted)


@pytest.mark.parametrize(("low", "first"), [(0.07, 70), (0.0, 1), (0.0011, 2), (0.57, 570)])
@pytest.mark.parametrize(("high", "last"), [(0.58, 579), (1.0, 999), (0.5801, 580)])
def test_a_window_holds_its_lower_end_and_not_its_upper(schedule, low, first, high, last):
    drawn = TimestepSampler(schedule, (low, high), "constant").draw(20_000, _generator())
    assert (drawn.min(), drawn.max()) == (first, last)


def test_a_fraction_with_no_exact_product_means_its_own_time_step():
    assert 0.07 * 100 > 7
    pipeline = tiny.pipeline()
    pipeline.scheduler = DDIMScheduler(**tiny.BETAS, num_train_timesteps=100)
    drawn = TimestepSampler(NoiseSchedule(pipeline), (0.07, 0.14), "constant").draw(1_000, _generator())
    assert drawn.unique().tolist() == list(range(7, 14))


def test_time_steps_without_signal_are_never_drawn():
    pipeline = tiny.pipeline("v_prediction")
    pipeline.scheduler = DDIMScheduler(**tiny.BETAS, rescale_betas_zero_snr=True, prediction_type="v_prediction")
    schedule = NoiseSchedule(pipeline)
    assert schedule.timesteps == 999
    assert TimestepSampler(schedule, (0, 1), "constant").draw(20_000, _generator()).max() == 998


@pytest.mark.parametrize(
    "window", [(0.5, 0.5), (0.7, 0.2), (0.0, 0.001), (0.0001, 0.0009), (-0.5, 0.5), (0.5, 1.5), (float("nan"), 1)]
)
def test_a_window_that_holds_no_time_step_is_refused_with_the_reason(schedule, window):
    low, high = window
    reason = "fractions 0 <= LOW < HIGH <= 1 with a time step from 1 on in .* at 0 the reverse step has no variance"
    with pytest.raises(UsageError, match=f"^--timestep-window {low} {high}: needed are {reason}"):
        TimestepSampler(schedule, window, "constant")


def test_another_weighting_is_refused_with_the_choices(schedule):
    with pytest.raises(ValueError, match="'snr'; choices: constant, min_snr"):
        TimestepSampler(schedule, (0, 1), "snr")


@pytest.mark.gpu
def test_weights_are_where_the_time_steps_are():
    schedule = NoiseSchedule(tiny.pipeline(), "cuda")
    sampler = TimestepSampler(schedule, (0, 1), "min_snr", MASSES["rising"])
    timesteps = sampler.draw(32, _generator())
    assert timesteps.device.type == "cpu"
    there = sampler.weights(timesteps.cuda())
    assert there.device.type == "cuda"
    here = TimestepSampler(NoiseSchedule(tiny.pipeline()), (0, 1), "min_snr", MASSES["rising"]).weights(timesteps)
    torch.testing.assert_close(there.cpu(), here)
