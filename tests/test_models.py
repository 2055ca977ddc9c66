"""Loading, parameter groups, and the frozen prediction without a second network."""

import copy
from pathlib import Path

import pytest
import tiny
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from harness import models
from harness.config import UsageError
from harness.models import PARAMETER_GROUPS, Denoiser, NoiseSchedule


@pytest.fixture(scope="module")
def pipeline():
    return tiny.pipeline()


def _inputs(n=3):
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(n, 4, 8, 8, generator=generator)
    return noisy, torch.tensor([1, 500, 999]), torch.randn(n, 32, 16, generator=generator)


def _disturb(denoiser):
    with torch.no_grad():
        for parameter in denoiser.trained.values():
            parameter.add_(torch.randn_like(parameter))


@pytest.mark.parametrize("group", PARAMETER_GROUPS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_frozen_prediction_equals_a_second_networks_to_the_last_bit(pipeline, group, precision):
    second = copy.deepcopy(pipeline.unet)
    denoiser = Denoiser(copy.deepcopy(pipeline.unet), group, precision)
    inputs = _inputs()
    _disturb(denoiser)
    frozen = denoiser.frozen_denoiser(*inputs)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        expected = second(*inputs).sample.float()
        assert torch.equal(frozen, expected)
        assert not torch.equal(denoiser(*inputs), expected)


@pytest.mark.parametrize("group", PARAMETER_GROUPS)
def test_a_parameter_group_trains_its_own_weights_alone(pipeline, group):
    denoiser = Denoiser(copy.deepcopy(pipeline.unet), group)
    denoiser(*_inputs()).square().mean().backward()
    with_gradient = {name for name, parameter in denoiser.unet.named_parameters() if parameter.grad is not None}
    assert with_gradient == set(denoiser.trained)
    if group == "cross-attention-kv":
        assert all(".attn2.to_k." in name or ".attn2.to_v." in name for name in with_gradient)
        assert len(with_gradient) == 2 * sum(name.endswith("attn2") for name, _ in denoiser.unet.named_modules())
    if group == "full":
        assert len(with_gradient) == len(list(denoiser.unet.parameters()))


def test_the_groups_grow_from_keys_and_values_to_everything(pipeline):
    sizes = [len(Denoiser(copy.deepcopy(pipeline.unet), group).trained) for group in PARAMETER_GROUPS]
    assert sizes == sorted(set(sizes))


def test_a_group_that_selects_nothing_is_an_error():
    with pytest.raises(UsageError, match="cross-attention-kv: selects no weight"):
        Denoiser(torch.nn.Linear(2, 2), "cross-attention-kv")


def test_the_delta_added_to_the_original_gives_the_trained_weights(pipeline):
    denoiser = Denoiser(copy.deepcopy(pipeline.unet), "cross-attention-kv")
    original = {name: parameter.detach().clone() for name, parameter in denoiser.trained.items()}
    _disturb(denoiser)
    for name, change in denoiser.delta().items():
        torch.testing.assert_close(original[name] + change, denoiser.trained[name].detach())
        assert change.abs().max() > 0


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_every_prediction_type_becomes_the_noise_that_diffusers_reads_out_of_it(prediction_type):
    schedule = NoiseSchedule(tiny.pipeline(prediction_type))
    scheduler = DDIMScheduler.from_config(schedule.noise_scheduler.config, prediction_type=prediction_type)
    scheduler.set_timesteps(1000)
    noisy, timesteps, _ = _inputs()
    output = torch.randn(noisy.shape, generator=torch.Generator().manual_seed(1))
    ours = schedule.noise_prediction(output, noisy, timesteps)
    for i, timestep in enumerate(timesteps.tolist()):
        clean = scheduler.step(output[i], timestep, noisy[i]).pred_original_sample
        alpha_bar = scheduler.alphas_cumprod[timestep]
        theirs = (noisy[i] - alpha_bar.sqrt() * clean) / (1 - alpha_bar).sqrt()
        torch.testing.assert_close(ours[i], theirs, rtol=2e-3, atol=2e-3)


def test_the_forward_process_is_that_of_the_pipelines_scheduler(pipeline):
    schedule = NoiseSchedule(pipeline)
    clean, timesteps, _ = _inputs()
    noise = torch.randn(clean.shape)
    expected = DDPMScheduler.from_config(pipeline.scheduler.config).add_noise(clean, noise, timesteps)
    assert torch.equal(schedule.add_noise(clean, noise, timesteps), expected)


def test_a_missing_folder_a_file_and_a_folder_without_a_pipeline_are_told_apart(tmp_path):
    with pytest.raises(UsageError, match="no such folder; choices: a pipeline folder, a hub id"):
        models.resolve(str(tmp_path / "missing"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="a file; needed is a pipeline folder"):
        models.resolve(str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"no model_index\.json"):
        models.resolve(str(tmp_path))


def test_a_hub_id_is_passed_on_and_a_missing_one_is_one_line():
    assert models.resolve("someone/some-model") == "someone/some-model"
    with pytest.raises(UsageError, match="diffusers cannot load it") as caught:
        models.load("someone/some-model", torch.device("cpu"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_folder_with_broken_weights_is_one_line(tmp_path, part):
    folder = tiny.folder(tmp_path / "model")
    weights = next((folder / part).glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UsageError, match="diffusers cannot load it") as caught:
        models.load(folder, torch.device("cpu"))
    assert "\n" not in str(caught.value)


def test_an_empty_index_is_no_pipeline(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(UsageError, match="diffusers cannot load it"):
        models.load(tmp_path, torch.device("cpu"))


def test_an_inpainting_unet_and_an_unknown_prediction_type_are_refused(tmp_path):
    other = tiny.pipeline()
    other.unet.register_to_config(in_channels=9)
    other.unet.conv_in = torch.nn.Conv2d(9, 8, 3, padding=1)
    other.save_pretrained(tmp_path / "inpainting")
    with pytest.raises(UsageError, match=r"no Stable Diffusion 1\.x or 2\.x text-to-image pipeline"):
        models.load(tmp_path / "inpainting", torch.device("cpu"))
    tiny.pipeline("flow").save_pretrained(tmp_path / "flow")
    with pytest.raises(UsageError, match="prediction type 'flow'; choices: epsilon, v_prediction, sample"):
        models.load(tmp_path / "flow", torch.device("cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_cuda_without_a_gpu_is_refused():
    with pytest.raises(UsageError, match="--device cuda: torch sees 0 GPUs here; choices: auto, cpu"):
        models.resolve_device("cuda")


def test_an_unknown_device_is_refused():
    with pytest.raises(UsageError, match="--device abacus: no such device"):
        models.resolve_device("abacus")


def test_a_prompt_longer_than_the_tokenizers_limit_is_refused_with_its_length(pipeline):
    models.check_prompts(pipeline, ["a red star", ""])
    with pytest.raises(UsageError, match=r"\d\d\d? tokens, more than the tokenizer's limit of 32"):
        models.check_prompts(pipeline, ["a star " * 40])


def test_loading_gives_fp32_whatever_the_folder_holds(tmp_path):
    tiny.pipeline().to(torch.float16).save_pretrained(tmp_path)
    loaded = models.load(Path(tmp_path), torch.device("cpu"))
    for part in (loaded.unet, loaded.vae, loaded.text_encoder):
        assert {parameter.dtype for parameter in part.parameters()} == {torch.float32}
