"""Flow matching: its path and its s against theory's reverse step, diffusers' scheduler and a step that is sampled."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from harness.attacking.null_text import StraightSteps
from harness.config import UsageError
from harness.loss.gap import squared_distance
from harness.loss.scale import SDE_NOISE, Scale
from harness.models.path import FLOW, diffusion_path, flow_path, time_shift
from tests import tiny, tiny_transformers
from theory.training.reverse_step import Step, measured, posterior_gain, stated


def _path():
    return flow_path(tiny_transformers.sana(), "cpu", 64)


def _given():
    """x_t and two velocities, 3 of each, and their time steps."""
    generator = torch.Generator().manual_seed(0)
    return *torch.randn(3, 3, 4, 8, 8, generator=generator), torch.tensor([2, 400, 999])


def test_noise_and_picture_read_out_of_a_velocity_lead_where_diffusers_step_leads():
    path, scheduler = _path(), FlowMatchEulerDiscreteScheduler()
    noisy, velocity, _, timesteps = _given()
    assert path.prediction_type == FLOW
    clean, noise = (read(velocity, noisy, timesteps) for read in (path.clean_prediction, path.noise_prediction))
    torch.testing.assert_close(path.add_noise(clean, noise, timesteps), noisy)
    for i, timestep in enumerate(timesteps.tolist()):
        scheduler.set_timesteps(sigmas=[timestep / 1000, timestep / 2000])
        theirs = scheduler.step(velocity[i], scheduler.timesteps[0], noisy[i]).prev_sample
        ours = (1 - timestep / 2000) * clean[i] + timestep / 2000 * noise[i]
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            path.add_noise(clean[i : i + 1], noise[i : i + 1], timesteps[i : i + 1]),
            scheduler.scale_noise(clean[i : i + 1], scheduler.timesteps[:1], noise[i : i + 1]),
        )


def test_posterior_s_is_theorys_gain_times_the_error_of_the_predicted_picture():
    path, (noisy, *velocities, timesteps) = _path(), _given()
    noises = [path.noise_prediction(each, noisy, timesteps) for each in velocities]
    s = squared_distance(Scale("posterior", path).difference(*noises, timesteps))
    for i, timestep in enumerate(timesteps.tolist()):
        gain = posterior_gain(timestep / 1000, (timestep - 1) / 1000)
        error = (timestep / 1000) ** 2 * (velocities[0][i] - velocities[1][i]).square().sum()
        torch.testing.assert_close(s[i], gain * error, rtol=1e-3, atol=0)
        step = Step("FlowMatchEulerDiscrete", "velocity")  # deterministic: theory names the same path for it
        torch.testing.assert_close(
            s[i] / error * (timestep / 1000) ** 2, s.new_tensor(stated(step, timestep, timestep - 1))
        )
    assert measured(step, 50, 25)[1] == 0  # diffusers' step has no variance of its own


def test_sde_s_is_that_of_steps_of_flow_grpo_that_are_sampled():
    """Euler and Maruyama's step of its equation 9, drawn many times from one x_t for either velocity."""
    path, generator = _path(), torch.Generator().manual_seed(1)
    for timestep in (100, 500, 900):
        t, dt = timestep / 1000, 1 / 1000
        sigma = SDE_NOISE * (t / (1 - t)) ** 0.5
        x, *velocities = torch.randn(3, 1, 4, 2, 2, generator=generator, dtype=torch.float64)
        draws = []
        for velocity in velocities:
            drift = velocity + sigma**2 / (2 * t) * (x + (1 - t) * velocity)
            fresh = torch.randn(100_000, *x.shape[1:], generator=generator, dtype=torch.float64)
            draws.append(x - drift * dt + sigma * dt**0.5 * fresh)
        moved = (draws[0].mean(0) - draws[1].mean(0)).square().sum()
        variance = (draws[0].var(0).mean() + draws[1].var(0).mean()) / 2
        at = torch.tensor([timestep])
        noises = [path.noise_prediction(each.float(), x.float(), at) for each in velocities]
        s = squared_distance(Scale("sde", path).difference(*noises, at))[0]
        noise_of_means = 2 * x.numel() / 100_000  # what the means' own error adds to |mu_P - mu_Q|^2 / sigma^2
        torch.testing.assert_close(s.double(), moved / variance, rtol=0.1, atol=5 * noise_of_means)


def test_no_time_step_is_drawn_from_which_the_step_has_no_variance():
    path = _path()
    assert (path.first, path.timesteps) == (2, 1000)
    assert diffusion_path(tiny.pipeline()).first == 1
    for kind in ("posterior", "sde"):
        precision = Scale(kind, path).precision(torch.arange(path.first, path.timesteps))
        assert precision.isfinite().all()
        assert (precision > 0).all()


@pytest.mark.parametrize(("low", "high"), [(2, 1000), (200, 750)])
def test_weights_bring_the_times_that_a_family_trains_at_back_to_equal_chances(low, high):
    path, generator = _path(), torch.Generator().manual_seed(0)
    drawn = path.draw(low, high, 200_000, generator)
    weights = path.weight(drawn, low, high)
    assert weights.max() <= 2
    assert weights.mean() == pytest.approx(1, abs=0.01)
    assert (weights * drawn).mean() == pytest.approx((low + high - 1) / 2, rel=0.01)
    assert drawn.min() >= low
    assert drawn.max() < high
    assert diffusion_path(tiny.pipeline()).weight(drawn, low, high) is None


def test_half_of_the_time_steps_have_normal_log_odds_around_the_log_of_the_shift():
    path = _path()
    chances = 2 * path._chances(1, 1000) - 1 / 999
    odds = (torch.arange(1, 1000, dtype=torch.float64) / 1000).logit()
    mean = (chances * odds).sum()
    assert mean == pytest.approx(torch.tensor(3.0).log().item(), abs=0.01)
    assert (chances * (odds - mean) ** 2).sum() == pytest.approx(1, abs=0.02)


def test_time_is_shifted_as_diffusers_scheduler_shifts_its_sigmas():
    for options, positions, arguments in (
        ({"shift": 3.0}, 64, {}),
        ({"use_dynamic_shifting": True}, 256, {"mu": 0.5}),
        ({"use_dynamic_shifting": True}, 4096, {"mu": 1.15}),
        ({"use_dynamic_shifting": True, "time_shift_type": "linear"}, 4096, {"mu": 1.15}),
    ):
        scheduler = FlowMatchEulerDiscreteScheduler(**options)
        scheduler.set_timesteps(sigmas=[0.5], **arguments)
        shift = time_shift(scheduler.config, positions)
        assert scheduler.sigmas[0].item() == pytest.approx(shift / (1 + shift), rel=1e-5)


def test_straight_steps_back_undo_those_forth_where_the_velocity_is_one():
    path, (start, velocity, *_) = _path(), _given()
    for back in (True, False):
        steps, latents = StraightSteps(path, back), start
        steps.set_timesteps(4, torch.device("cpu"))
        assert steps.timesteps.tolist() == ([250, 500, 750, 1000] if back else [1000, 750, 500, 250])
        for timestep in steps.timesteps:
            latents = steps.step(velocity, timestep, latents).prev_sample
        torch.testing.assert_close(latents, start + velocity if back else start - velocity)


def test_a_flow_without_its_schedule_is_refused():
    pipeline = tiny_transformers.sana()
    pipeline.scheduler = tiny.pipeline().scheduler
    with pytest.raises(UsageError, match="DDIMScheduler is no schedule of flow matching; needed is one"):
        flow_path(pipeline, "cpu", 64)
