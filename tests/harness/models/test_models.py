"""Loading, parameter groups, and the frozen prediction without a second network."""

import copy
import json
from pathlib import Path

import huggingface_hub
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, EDMEulerScheduler

from harness import unlearn
from harness.config import Config, UsageError
from harness.data import latents
from harness.loss import objective
from harness.models import load as models
from harness.models.denoiser import Denoiser
from harness.models.families.stable_diffusion import UNET_GROUPS
from harness.models.family import Conditioning, families
from harness.models.path import diffusion_path
from tests import tiny

FAMILIES = list(tiny.PIPELINES)


@pytest.fixture(scope="module")
def pipeline():
    return tiny.pipeline()


@pytest.fixture(params=FAMILIES)
def model(request):
    return tiny.model(request.param)


@torch.no_grad()
def _inputs(model=None, n=3):
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(n, 4, 8, 8, generator=generator)
    conditioning = (model or tiny.model()).encode(["a star", "a red circle", "a moon"])
    return noisy, torch.tensor([1, 500, 999]), conditioning


def _disturb(denoiser):
    with torch.no_grad():
        for parameter in denoiser.trained.values():
            parameter.add_(torch.randn_like(parameter))


@pytest.mark.parametrize("group", UNET_GROUPS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_frozen_prediction_equals_a_second_networks_to_the_last_bit(model, group, precision):
    second = copy.deepcopy(model.network).eval().requires_grad_(False)  # torch picks CPU kernels by it
    denoiser = Denoiser(model, group, precision)
    inputs = _inputs(model)
    _disturb(denoiser)
    frozen = denoiser.frozen_denoiser(*inputs)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        expected = model.predict(second, *inputs).float()
        assert torch.equal(frozen, expected)
        assert not torch.equal(denoiser(*inputs), expected)
    denoiser.restore()
    restored, original = model.network.state_dict(), second.state_dict()
    assert restored.keys() == original.keys()
    assert all(torch.equal(restored[name], original[name]) for name in original)


@pytest.mark.parametrize("group", UNET_GROUPS)
def test_a_parameter_group_trains_its_own_weights_alone(model, group):
    denoiser = Denoiser(model, group)
    denoiser.frozen_denoiser(*_inputs(model))
    denoiser(*_inputs(model)).square().mean().backward()
    with_gradient = {name for name, parameter in model.network.named_parameters() if parameter.grad is not None}
    assert with_gradient == set(denoiser.trained)
    if group == "cross-attention-kv":
        assert all(".attn2.to_k." in name or ".attn2.to_v." in name for name in with_gradient)
        assert len(with_gradient) == 2 * sum(name.endswith("attn2") for name, _ in model.network.named_modules())
    if group == "attention":
        assert len(with_gradient) == sum(".attn" in name for name, _ in model.network.named_parameters())
    if group == "full":
        assert len(with_gradient) == len(list(model.network.parameters()))
    if group == "lora":
        layers = [n for n, m in model.network.named_modules() if n.endswith(("to_q", "to_k", "to_v", "to_out.0"))]
        assert len(with_gradient) == 2 * len(layers)


def test_the_groups_grow_from_keys_and_values_to_everything():
    sizes = [
        len(models.select(tiny.model(), group))
        for group in ("cross-attention-kv", "cross-attention", "attention", "full")
    ]
    assert sizes == sorted(set(sizes))


def test_adapters_have_the_rank_asked_for_and_start_as_no_change():
    model = tiny.model()
    before = model.predict(model.network, *_inputs(model))
    denoiser = Denoiser(model, "lora", rank=3)
    assert {min(parameter.shape) for parameter in denoiser.trained.values()} == {3}
    assert torch.equal(denoiser(*_inputs(model)), before)


@pytest.mark.parametrize("group", ["cross-attention-kv", "lora"])
def test_in_bf16_what_does_not_train_is_stored_in_it_and_its_fp32_values_wait_on_the_cpu(group):
    model = tiny.model()
    layers = (torch.nn.Linear, torch.nn.Conv2d)
    before = {name: each.clone() for name, each in model.network.state_dict().items()}
    denoiser = Denoiser(model, group, "bf16")
    read = {p for each in model.network.modules() if isinstance(each, layers) for p in each.parameters(recurse=False)}
    trained = set(denoiser.trained.values())
    assert {p.dtype for p in model.network.parameters()} == {torch.float32, torch.bfloat16}
    assert {p for p in model.network.parameters() if p.dtype == torch.bfloat16} == read - trained
    assert denoiser.wide.keys() == before.keys() - _unread(model, denoiser)
    assert all(torch.equal(each, before[name]) for name, each in denoiser.wide.items())
    assert all(torch.equal(each, before[name]) for name, each in denoiser.frozen.items())


def _unread(model, denoiser):
    """Names of what no layer reads in bf16: norms, and what trains."""
    norms = {
        f"{place}.{name}"
        for place, module in model.network.named_modules()
        if isinstance(module, torch.nn.LayerNorm | torch.nn.GroupNorm)
        for name, _ in module.named_parameters(recurse=False)
    }
    return norms | denoiser.trained.keys()


def test_large_pictures_are_decoded_one_at_a_time_whatever_the_vae_says_of_its_size():
    pipeline = tiny.pipeline()
    for size, sliced in ((16, False), (512, True), ([512, 512], False)):
        pipeline.vae.register_to_config(sample_size=size)
        pipeline.vae.disable_slicing()
        assert families()["StableDiffusionPipeline"](pipeline).pipeline.vae.use_slicing == sliced


def test_only_the_groups_own_tensors_are_kept_twice():
    model = tiny.model()
    own = {parameter.data_ptr() for parameter in model.network.parameters()}
    assert {tensor.data_ptr() for tensor in Denoiser(model, "lora").frozen.values()} <= own
    denoiser = Denoiser(tiny.model(), "cross-attention-kv")
    assert denoiser.frozen.keys() == denoiser.trained.keys()


def test_a_group_that_selects_nothing_lists_the_groups_with_their_sizes():
    model = tiny.model()
    down, up = ("DownBlock2D",) * 2, ("UpBlock2D",) * 2
    blocks = {"down_block_types": down, "up_block_types": up, "mid_block_type": None}
    model.pipeline.register_modules(unet=tiny._unet(**blocks))
    everything = sum(parameter.numel() for parameter in model.network.parameters())
    for group in ("cross-attention-kv", "lora"):
        with pytest.raises(
            UsageError, match=rf"{group}: selects no weight .* attention 0, full {everything:,}, lora 0"
        ):
            Denoiser(model, group)


def test_conditionings_are_stacked_joined_and_indexed_tensor_by_tensor(model):
    both = model.encode(["a star", "a circle"])
    rows = list(both)
    assert len(both) == 2
    for again in (Conditioning.stack(rows), Conditioning.cat([both[:1], both[1:]]), both.to("cpu")):
        for name, tensor in vars(both).items():
            other = getattr(again, name)
            assert (tensor is None and other is None) or torch.equal(tensor, other)
    assert torch.equal(both[torch.tensor([1, 1])].prompt_embeds[0], rows[1].prompt_embeds)


def test_a_prediction_is_what_the_pipeline_itself_asks_its_denoiser_for(model):
    """One sampling step without guidance, with the pipeline's call to its UNet recorded."""
    seen = {}

    def record(module, arguments, options, output):
        seen.update(noisy=arguments[0], timestep=arguments[1], output=output[0])

    handle = model.network.register_forward_hook(record, with_kwargs=True)
    model.pipeline("a star", num_inference_steps=1, guidance_scale=1.0, output_type="latent")
    handle.remove()
    timesteps = torch.as_tensor(seen["timestep"]).reshape(1)
    with torch.no_grad():
        ours = model.predict(model.network, seen["noisy"], timesteps, model.encode(["a star"]))
    assert torch.equal(ours, seen["output"])


def test_guided_samples_are_those_of_the_pipelines_own_call(model):
    """Also for SDXL, whose empty prompt is all zeros."""
    options = Config(sampling_steps=2, guidance_scale=3.0)
    embeddings = latents.encode(model, ["a star", ""])
    ours = latents.sample(model, ["a star"], embeddings, options, seed=7)
    own_seed = torch.randint(2**62, (1,), generator=torch.Generator().manual_seed(7)).item()
    theirs = model.pipeline(
        "a star", num_inference_steps=2, guidance_scale=3.0, output_type="latent",
        generator=torch.Generator().manual_seed(own_seed),
    )  # fmt: skip
    torch.testing.assert_close(ours, theirs.images, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_every_prediction_type_becomes_the_noise_that_diffusers_reads_out_of_it(prediction_type):
    schedule = diffusion_path(tiny.pipeline(prediction_type))
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
    schedule = diffusion_path(pipeline)
    clean, timesteps, _ = _inputs()
    noise = torch.randn(clean.shape)
    expected = DDPMScheduler.from_config(pipeline.scheduler.config).add_noise(clean, noise, timesteps)
    assert torch.equal(schedule.add_noise(clean, noise, timesteps), expected)


def test_a_missing_folder_a_file_and_a_folder_without_a_pipeline_are_told_apart(tmp_path):
    with pytest.raises(
        UsageError, match=r"no such folder; choices: a pipeline folder, a \.safetensors checkpoint, a hub id"
    ):
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
    with pytest.raises(UsageError, match="a None; choices: StableDiffusionPipeline, StableDiffusionXLPipeline"):
        models.load(tmp_path, torch.device("cpu"))


def test_an_inpainting_unet_and_an_unknown_prediction_type_are_refused(tmp_path):
    other = tiny.pipeline()
    other.unet.register_to_config(in_channels=9)
    other.unet.conv_in = torch.nn.Conv2d(9, 8, 3, padding=1)
    other.save_pretrained(tmp_path / "inpainting")
    with pytest.raises(UsageError, match="takes 9 channels where the VAE's latents have 4"):
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


def test_a_prompt_longer_than_the_tokenizers_limit_is_refused_with_its_length(model):
    models.check_prompts(model, ["a red star", ""])
    with pytest.raises(UsageError, match=r"\d\d\d? tokens, more than the tokenizer's limit of 77"):
        models.check_prompts(model, ["a star " * 40])


def test_loading_gives_fp32_whatever_the_folder_holds(tmp_path):
    tiny.pipeline().to(torch.float16).save_pretrained(tmp_path)
    loaded = models.load(Path(tmp_path), torch.device("cpu")).pipeline
    for part in (loaded.unet, loaded.vae, loaded.text_encoder):
        assert {parameter.dtype for parameter in part.parameters()} == {torch.float32}


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A hub cache that holds the tiny SD 1.x under a name and a revision, as an earlier download would have left it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))

    def put(name, revision="main"):
        held = tmp_path / f"models--{name.replace('/', '--')}"
        (held / "refs").mkdir(parents=True, exist_ok=True)
        (held / "refs" / revision).write_text("0" * 40)
        tiny.folder(held / "snapshots" / ("0" * 40))

    return put


def test_a_hub_model_is_read_offline_from_the_cache_at_its_revision(cached):
    cached("someone/tiny", "v2")
    loaded = models.load("someone/tiny", torch.device("cpu"), revision="v2", offline=True)
    assert _same_weights(loaded.network, tiny.pipeline().unet)
    with pytest.raises(UsageError, match="cannot load it"):
        models.load("someone/tiny", torch.device("cpu"), revision="v3", offline=True)


def test_a_variant_is_read_from_its_own_files(tmp_path):
    tiny.pipeline().save_pretrained(tmp_path, variant="fp16")
    assert list((tmp_path / "unet").glob("*.fp16.safetensors"))
    loaded = models.load(tmp_path, torch.device("cpu"), variant="fp16")
    assert _same_weights(loaded.network, tiny.pipeline().unet)
    with pytest.raises(UsageError, match="cannot load it"):
        models.load(tmp_path, torch.device("cpu"))


def test_a_single_file_checkpoint_is_the_pipeline_it_was_written_from(cached, tmp_path):
    cached(families()["StableDiffusionPipeline"].single_file_parts)
    source = models.resolve(str(tiny.single_file(tmp_path / "model.safetensors")))
    loaded, expected = models.load(source, torch.device("cpu"), offline=True).pipeline, tiny.pipeline()
    for part in ("unet", "vae", "text_encoder"):
        assert _same_weights(getattr(loaded, part), getattr(expected, part)), part


def test_a_single_file_without_its_configurations_in_the_cache_stays_offline(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="cannot load it"):
        models.load(tiny.single_file(tmp_path / "model.safetensors"), torch.device("cpu"), offline=True)


def _same_weights(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("name", ["model.ckpt", "model.bin", "folder"])
def test_pickled_weights_are_refused_unread_with_the_way_out(tmp_path, name):
    file, trace = tmp_path / name, tmp_path / "trace"
    if name == "folder":
        tiny.folder(file)
        (next((file / "unet").glob("*.safetensors"))).unlink()
        torch.save(Bomb(str(trace)), file / "unet" / "diffusion_pytorch_model.bin")
    else:
        torch.save(Bomb(str(trace)), file)
    with pytest.raises(UsageError, match=r"only safetensors are.*use_safetensors=False"):
        models.load(models.resolve(str(file)), torch.device("cpu"))
    assert not trace.exists()


def test_code_that_comes_with_a_model_never_runs(tmp_path):
    folder, trace = tiny.folder(tmp_path / "model"), tmp_path / "trace"
    index = json.loads((folder / "model_index.json").read_text())
    index["unet"] = ["mine", "Mine"]
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "unet" / "mine.py").write_text(f"open({str(trace)!r}, 'w')\nclass Mine: pass\n")
    with pytest.raises(UsageError, match="cannot load it"):
        models.load(folder, torch.device("cpu"))
    index["_class_name"] = ["mine", "Mine"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UsageError, match="choices: StableDiffusionPipeline, StableDiffusionXLPipeline"):
        models.load(folder, torch.device("cpu"))
    assert not trace.exists()


def test_a_schedule_without_betas_and_a_distilled_or_editing_unet_are_refused(tmp_path):
    edm = tiny.pipeline_xl()
    edm.register_modules(scheduler=EDMEulerScheduler())
    edm.save_pretrained(tmp_path / "edm")
    with pytest.raises(UsageError, match="EDMEulerScheduler has no beta_schedule"):
        models.load(tmp_path / "edm", torch.device("cpu"))
    distilled = tiny.pipeline()
    distilled.register_modules(unet=tiny._unet(time_cond_proj_dim=8))
    assert "a distilled model" in tiny.family(distilled).problem()
    distilled.register_modules(unet=tiny.pipeline_xl().unet)
    assert "additional embeddings of type 'text_time'" in tiny.family(distilled).problem()


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("timestep", [1, 40, 500, 999])
def test_posterior_s_is_the_gain_in_signal_to_noise_times_the_error_of_the_predicted_image(kind, timestep):
    """Of every family, whatever it predicts; the images are read out of the predictions by diffusers' own scheduler."""
    schedule = tiny.model(kind).path()
    scheduler = DDIMScheduler.from_config(schedule.noise_scheduler.config, clip_sample=False)
    scheduler.set_timesteps(1000)
    generator = torch.Generator().manual_seed(timestep)
    noisy, *outputs = (torch.randn(1, 4, 8, 8, generator=generator) for _ in range(3))
    images = [scheduler.step(output, timestep, noisy).pred_original_sample.double() for output in outputs]
    now, before = scheduler.alphas_cumprod.double()[[timestep, timestep - 1]]
    expected = (before / (1 - before) - now / (1 - now)) * (images[0] - images[1]).square().sum()
    at = torch.tensor([timestep])
    noises = [schedule.noise_prediction(output, noisy, at) for output in outputs]
    gap = objective.Scale("posterior", schedule).difference(*noises, at)
    torch.testing.assert_close(objective.squared_distance(gap).double()[0], expected, rtol=5e-3, atol=0)


def test_the_command_line_hands_on_where_a_model_is_read_from(monkeypatch, capsys):
    seen = []

    def load(*arguments):
        seen.append(arguments)
        raise UsageError("enough")

    monkeypatch.setattr(models, "load", load)
    flags = ["--variant", "fp16", "--revision", "v2", "--offline", "--device", "cpu"]
    assert unlearn.main(["--model", "someone/tiny", "--target", "a", "--anchor", "b", *flags]) == 2
    assert seen == [("someone/tiny", torch.device("cpu"), "fp16", "v2", True)]
    assert "enough" in capsys.readouterr().err


def test_time_steps_without_signal_are_never_drawn():
    pipeline = tiny.pipeline("v_prediction")
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, rescale_betas_zero_snr=True)
    schedule = diffusion_path(pipeline)
    assert schedule.alpha_bar[-1] == 0
    assert schedule.timesteps == 999
    assert diffusion_path(tiny.pipeline()).timesteps == 1000
