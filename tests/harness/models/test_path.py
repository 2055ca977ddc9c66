"""The path to noise, against diffusers' own schedulers."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from harness.loss.gap import squared_distance
from harness.loss.scale import Scale
from harness.models.path import diffusion_path
from tests import tiny


def _inputs():
    """Two latents at each of three time steps, one of them for the raw output."""
    generator = torch.Generator().manual_seed(0)
    return *torch.randn(2, 3, 4, 8, 8, generator=generator), torch.tensor([1, 500, 999])


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_every_prediction_type_becomes_the_noise_and_the_picture_that_diffusers_reads_out_of_it(prediction_type):
    pipeline = tiny.pipeline(prediction_type)
    path, scheduler = diffusion_path(pipeline), DDIMScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(1000)
    noisy, output, timesteps = _inputs()
    ours = path.noise_prediction(output, noisy, timesteps), path.clean_prediction(output, noisy, timesteps)
    for i, timestep in enumerate(timesteps.tolist()):
        clean = scheduler.step(output[i], timestep, noisy[i]).pred_original_sample
        alpha_bar = scheduler.alphas_cumprod[timestep]
        theirs = (noisy[i] - alpha_bar.sqrt() * clean) / (1 - alpha_bar).sqrt()
        torch.testing.assert_close(ours[0][i], theirs, rtol=2e-3, atol=2e-3)
        torch.testing.assert_close(ours[1][i], clean)


def test_the_forward_process_is_that_of_the_pipelines_scheduler_for_latents_of_any_shape():
    pipeline = tiny.pipeline()
    path, scheduler = diffusion_path(pipeline), DDPMScheduler.from_config(pipeline.scheduler.config)
    clean, noise, timesteps = _inputs()
    for shape in ((3, 4, 8, 8), (3, 16, 16)):
        expected = scheduler.add_noise(clean.view(shape), noise.view(shape), timesteps)
        assert torch.equal(path.add_noise(clean.view(shape), noise.view(shape), timesteps), expected)


@pytest.mark.parametrize("kind", [kind for kind in tiny.PIPELINES if tiny.model(kind).path().log_shift is None])
@pytest.mark.parametrize("timestep", [1, 40, 500, 999])
def test_posterior_s_is_the_gain_in_signal_to_noise_times_the_error_of_the_predicted_image(kind, timestep):
    """Of every family, whatever it predicts; the images are read out of the predictions by diffusers' own scheduler."""
    model = tiny.model(kind)
    path, scheduler = model.path(), DDIMScheduler.from_config(model.pipeline.scheduler.config, clip_sample=False)
    scheduler.set_timesteps(1000)
    generator = torch.Generator().manual_seed(timestep)
    noisy, *outputs = (torch.randn(1, 4, 8, 8, generator=generator) for _ in range(3))
    images = [scheduler.step(output, timestep, noisy).pred_original_sample.double() for output in outputs]
    now, before = scheduler.alphas_cumprod.double()[[timestep, timestep - 1]]
    expected = (before / (1 - before) - now / (1 - now)) * (images[0] - images[1]).square().sum()
    at = torch.tensor([timestep])
    noises = [path.noise_prediction(output, noisy, at) for output in outputs]
    gap = Scale("posterior", path).difference(*noises, at)
    torch.testing.assert_close(squared_distance(gap).double()[0], expected, rtol=5e-3, atol=0)
    own = [path.clean_prediction(output, noisy, at).double() for output in outputs]
    gain = path.signal_to_noise(at - 1) - path.signal_to_noise(at)
    torch.testing.assert_close(gain[0] * (own[0] - own[1]).square().sum(), expected, rtol=5e-3, atol=0)


def test_time_steps_without_signal_are_never_drawn():
    pipeline = tiny.pipeline("v_prediction")
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, rescale_betas_zero_snr=True)
    path = diffusion_path(pipeline)
    assert path.signal[-1] == path.signal_to_noise(torch.tensor([999])) == 0
    assert path.timesteps == 999
    assert diffusion_path(tiny.pipeline()).timesteps == 1000
