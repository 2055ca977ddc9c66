"""What a family of models does with its pipeline, against the pipeline's own call."""

import re
from dataclasses import replace

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from harness import unlearn
from harness.config import Config, UsageError
from harness.data import latents
from harness.data.finish import guided
from harness.models import load as models
from harness.models.denoiser import Denoiser
from harness.models.family import Conditioning, families
from harness.models.sampler import few_steps
from harness.runs.folder import DELTA
from tests import tiny, tiny_transformers
from tests.drop_in import dropped_in


@pytest.fixture(params=[kind for kind in tiny.EVERY if kind != "pixart-sigma"])
def model(request):
    return tiny.model(request.param)


def test_conditionings_are_stacked_joined_and_indexed_tensor_by_tensor(model):
    both = model.encode(["a star", "a circle"])
    rows = list(both)
    assert len(both) == 2
    for again in (Conditioning.stack(rows), Conditioning.cat([both[:1], both[1:]]), both.to("cpu")):
        for name, tensor in vars(both).items():
            other = getattr(again, name)
            assert (tensor is None and other is None) or torch.equal(tensor, other)
    assert torch.equal(both[torch.tensor([1, 1])].prompt_embeds[0], rows[1].prompt_embeds)


def test_a_prediction_is_what_the_pipeline_itself_makes_of_its_denoiser(model, monkeypatch):
    """The first step of a sampling without guidance, with what the pipeline's call gives its scheduler recorded."""
    noisy, timestep, output = _first_step(model, monkeypatch, guidance_scale=1.0)
    with torch.no_grad():
        ours = model.predict(model.network, noisy, timestep.reshape(1), model.encode(["a star"]))
    assert torch.equal(ours, output[:, : ours.shape[1]])  # without a variance that is predicted too


def test_predictions_are_guided_as_the_pipelines_own_call_guides_them(model, monkeypatch):
    """By whatever name, from whatever number on, and brought back to whatever length."""
    noisy, timestep, output = _first_step(model, monkeypatch, guidance_scale=3.0)
    told = replace(model, guidance_scale=3.0)
    with torch.no_grad():
        both = told.encode(["a star"]), told.encode([""])
        ours = guided(told, noisy, timestep.reshape(1), both, 3.0)
    torch.testing.assert_close(ours, output[:, : ours.shape[1]], rtol=1e-4, atol=1e-4)


def test_latents_are_decoded_as_the_pipelines_own_call_decodes_them(model):
    embeddings, options = latents.encode(model, ["a star", ""]), Config(sampling_steps=2)
    drawn, pictures = (
        latents.sample(model, ["a star"], embeddings, options, seed=7, output=output) for output in ("latent", "pt")
    )
    with torch.no_grad(), model.drawing():
        torch.testing.assert_close(model.decode(drawn).cpu(), pictures)


def _first_step(model, monkeypatch, **options):
    """What a scheduler is given in the first of two steps: x_t as the denoiser sees it, t and the raw output."""
    scheduler, seen = model.pipeline.scheduler, []
    step = scheduler.step

    def record(output, timestep, noisy, *rest, **named):
        scaled = hasattr(scheduler, "scale_model_input")
        seen.append((scheduler.scale_model_input(noisy, timestep) if scaled else noisy, timestep, output))
        return step(output, timestep, noisy, *rest, **named)

    monkeypatch.setattr(scheduler, "step", record)
    tiny.call(model, "a star", num_inference_steps=2, **options)
    monkeypatch.undo()
    noisy, timestep, output = seen[0]
    return model.unpacked(noisy), timestep, model.unpacked(output)


def test_guided_samples_are_those_of_the_pipelines_own_call(model):
    """Also for SDXL, whose empty prompt is all zeros, and FLUX, which is told of guidance and gets no empty prompt."""
    options = Config(sampling_steps=2, guidance_scale=3.0)
    embeddings = latents.encode(model, ["a star", ""])
    ours = latents.sample(model, ["a star"], embeddings, options, seed=7)
    own_seed = torch.randint(2**62, (1,), generator=torch.Generator().manual_seed(7)).item()
    with few_steps(model.pipeline):
        generator = torch.Generator().manual_seed(own_seed)
        theirs = tiny.call(model, "a star", num_inference_steps=2, guidance_scale=3.0, generator=generator)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_parts_are_on_the_device_while_they_work_and_nothing_is_left_behind(model, monkeypatch):
    """Text encoders where prompts are read, the VAE where pictures are drawn, and there no encoder is to be seen."""
    moves, own = [], model.pipeline.components
    monkeypatch.setattr(type(model), "device", "meta")
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, place: moves.append((module, str(place))))
    index, named = dict(model.pipeline.config), {name for name in own if name.startswith("text_encoder")}
    encoders = [own[name] for name in own if name in named and own[name] is not None]
    for phase, parts in ((model.encoding, encoders), (model.drawing, [own["vae"]])):
        moves.clear()
        with phase():
            seen = {model.pipeline.components[name] for name in named}
            assert (seen == {None}) == (phase == model.drawing)
        with pytest.raises(KeyError), phase():
            raise KeyError
        assert moves == 2 * ([(part, "meta") for part in parts] + [(part, "cpu") for part in parts])
        assert all(part is own[name] for name, part in model.pipeline.components.items())
        assert dict(model.pipeline.config) == index


def test_large_pictures_are_decoded_one_at_a_time_whatever_the_vae_says_of_its_size():
    pipeline = tiny.pipeline()
    for size, sliced in ((16, False), (512, True), ([512, 512], False)):
        pipeline.vae.register_to_config(sample_size=size)
        pipeline.vae.disable_slicing()
        assert families()["StableDiffusionPipeline"](pipeline).pipeline.vae.use_slicing == sliced


@pytest.mark.parametrize(("kind", "pixels", "sliced"), [("qwen-image", 256, True), ("sana", 32, False)])
def test_where_an_autoencoder_says_no_size_that_of_the_pictures_decides(kind, pixels, sliced):
    pipeline = tiny.EVERY[kind]()
    model = families()[type(pipeline).__name__](pipeline)
    assert model.pixels == pixels
    assert pipeline.vae.use_slicing == sliced
    decoded, noise = [], torch.randn(2, *model.latent_shape(pixels // 2))
    for enabled in (True, False):
        pipeline.vae.use_slicing = enabled
        with torch.no_grad():
            decoded.append(model.decode(noise))
    torch.testing.assert_close(*decoded)


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


def _without(conditioning, other):
    """Whether two conditionings differ in each tensor that a prompt decides."""
    return {
        name: not torch.equal(tensor, getattr(other, name))
        for name, tensor in vars(conditioning).items()
        if tensor is not None and name not in ("time_ids", "mask")
    }


def test_an_edit_of_the_text_reaches_the_output_through_no_path_that_text_paths_leaves_out(model):
    """With all weights of the group at 0 nothing of a prompt is left; with those of its keys and values alone more."""
    noisy = torch.randn(1, *model.latent_shape(16), generator=torch.Generator().manual_seed(0))
    star, moon = model.encode(["a star"]), model.encode(["a moon"])
    star, moon = (replace(each, mask=star.mask) for each in (star, moon))  # a mask is no weight's to hide
    assert all(_without(star, moon).values())
    with torch.no_grad():
        differ = [(_output(model, noisy, star) - _output(model, noisy, moon)).abs().max().item()]
        for parameter in model.parameters_of("text-paths").values():
            parameter.zero_()
        differ.append((_output(model, noisy, star) - _output(model, noisy, moon)).abs().max().item())
    assert differ[0] > 1e-4
    assert differ[1] == 0


def _output(model, noisy, conditioning):
    return model.predict(model.network, noisy, torch.tensor([500]), conditioning)


def test_a_prompt_longer_than_the_tokenizers_limit_is_refused_with_its_length(model):
    models.check_prompts(model, ["a red star", ""])
    first = next(limit for _, limit in model.token_limits())
    with pytest.raises(UsageError, match=rf"\d\d\d? tokens, more than the tokenizer's limit of {first}"):
        models.check_prompts(model, ["a star " * 160])


def test_a_pixart_for_large_pictures_is_told_their_size_as_its_pipeline_tells_it():
    """At 128x128 latents the pipeline says the size, and the network wants it."""
    pipeline = tiny_transformers.pixart(
        sample_size=128, use_additional_conditions=True, num_attention_heads=3, cross_attention_dim=24
    )
    pipeline.register_modules(vae=tiny._vae(levels=1))
    pipeline.vae_scale_factor = 1
    model, seen = tiny.family(pipeline), []
    hook = pipeline.transformer.register_forward_hook(lambda *call: seen.append(call), with_kwargs=True)
    tiny.call(model, "a star", num_inference_steps=2, guidance_scale=1.0)
    hook.remove()
    (_, (noisy,), options, (output,)), *_ = seen
    with torch.no_grad():
        ours = model.predict(model.network, noisy, options["timestep"], model.encode(["a star"]))
    assert torch.equal(ours, output[:, :4])


FAMILY = """
import re
from dataclasses import dataclass

from diffusers import StableDiffusionPipeline

from harness.models.families.stable_diffusion import StableDiffusion


class OtherPipeline(StableDiffusionPipeline):
    @property
    def backbone(self):
        return self.unet


@dataclass(frozen=True)
class Other(StableDiffusion):
    pipeline_class = OtherPipeline
    component = "backbone"
    parameter_groups = {"cross-attention-kv": re.compile(r"attn1.to_v")}
"""


def test_a_family_is_one_new_file_with_its_own_denoiser_groups_and_latents(tmp_path, capsys):
    """Found by the class in a model's index, and trained from the command line."""
    torch.manual_seed(0)
    parts = tiny.pipeline().components
    parts |= {"unet": tiny._unet(in_channels=3, out_channels=3), "vae": tiny._vae(latent_channels=3)}
    pipeline = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipeline.save_pretrained(tmp_path / "model")
    index = tmp_path / "model" / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "OtherPipeline"))
    flags = ["--steps", "1", "--batch-size", "1", "--latents", "1", "--sampling-steps", "1"]
    flags += ["--target", "a", "--anchor", "b", "--retain", "c", "--adversary-every", "0"]
    arguments = ["--model", str(tmp_path / "model"), "--output", str(tmp_path / "run"), *flags]
    assert unlearn.main(arguments) == 2
    assert f"a OtherPipeline; choices: {', '.join(families())}" in capsys.readouterr().err
    with dropped_in("harness.models.families", "other", FAMILY, tmp_path):
        assert unlearn.main(arguments) == 2
        assert re.search(r"groups and their sizes: cross-attention-kv [\d,]+$", capsys.readouterr().err)
        assert unlearn.main([*arguments, "--parameter-group", "cross-attention-kv"]) == 0
    changed = load_file(tmp_path / "run" / DELTA)
    assert changed
    assert all("attn1.to_v" in name for name in changed)
    assert tiny.family(pipeline).latent_shape(16) == (3, 8, 8)
