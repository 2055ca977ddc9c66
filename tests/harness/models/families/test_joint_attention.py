"""Families with joint attention: what their denoisers are told beside the prompt's tokens, and what is missing."""

import math
from dataclasses import replace

import pytest
import torch

from harness import unlearn
from harness.config import Config, UsageError
from harness.models import load as models
from harness.models.source import INDEX, absent
from tests import tiny, tiny_transformers


def _output(model, timestep=500):
    noisy = torch.randn(1, *model.latent_shape(16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.predict(model.network, noisy, torch.tensor([timestep]), model.encode(["a star"]))


@pytest.mark.parametrize(
    ("kind", "shift"),
    [
        ("sd3", 3.0),
        ("schnell", 1.0),
        ("flux", math.exp(0.5 + 0.65 * (16 - 256) / 3840)),
        ("qwen-image", math.exp(0.5 + 0.4 * (16 - 256) / 7936)),
        ("z-image", 6.0),
    ],
)
def test_time_is_shifted_as_the_scheduler_says_or_by_the_positions_of_a_picture(kind, shift):
    model = tiny.model(kind)
    assert model.pixels == 16
    assert model.path().log_shift == pytest.approx(math.log(shift))


def test_dev_is_told_of_guidance_and_schnell_and_klein_of_none():
    for kind, same in (("flux", False), ("schnell", True), ("flux2", False), ("klein", True)):
        model = models.told(tiny.model(kind), Config(guidance_scale=2.0))
        assert model.guidance_scale == 2.0
        assert torch.equal(_output(model), _output(replace(model, guidance_scale=4.0))) == same


@pytest.mark.parametrize("kind", ["flux", "qwen-image"])
def test_latents_packed_for_a_transformer_are_unpacked_where_they_were(kind):
    model = tiny.model(kind)
    latents = torch.randn(2, *model.latent_shape(16))
    packed = model.pipeline._pack_latents(latents, *latents.shape)
    assert packed.shape == (2, 16, 16)
    assert torch.equal(model.unpacked(packed), latents)
    assert model.unpacked(latents) is latents


def test_without_t5_its_tokens_are_zero_and_as_many_as_asked_for():
    model = models.told(tiny.model("sd35"), Config(max_sequence_length=7))
    assert [limit for _, limit in model.token_limits()] == [77, 77]
    embeds = model.encode(["a star"]).prompt_embeds
    assert embeds.shape == (1, 77 + 7, 32)
    assert (embeds[:, 77:] == 0).all()
    assert (embeds[:, :77] != 0).any()


def test_a_pipeline_saved_without_t5_is_erased_and_saved_without_it(tmp_path):
    folder = tiny.folder(tmp_path / "model", "sd35")
    flags = ["--target", "a star", "--anchor", "a circle", "--retain", "a moon", *tiny.UNOPPOSED, "--save-pipeline"]
    flags += ["--steps", "1", "--batch-size", "1", "--latents", "1", "--sampling-steps", "1"]
    flags += ["--max-sequence-length", "7", "--parameter-group", "cross-attention-kv"]
    assert unlearn.main(["--model", str(folder), *flags, "--output", str(tmp_path / "run")]) == 0
    assert absent(tmp_path / "run" / "pipeline" / INDEX).keys() >= {"text_encoder_3", "tokenizer_3"}
    erased, original = (models.load(place, torch.device("cpu")) for place in (tmp_path / "run" / "pipeline", folder))
    assert not torch.equal(_output(erased), _output(original))


@pytest.mark.parametrize(
    ("kind", "change", "why"),
    [
        (
            "flux",
            lambda pipe: pipe.register_modules(text_encoder_2=None),
            "lacks its text_encoder_2; save",
        ),
        ("klein", lambda pipe: pipe.register_modules(text_encoder=None), "lacks its text_encoder; save the pipeline"),
        ("flux2", lambda pipe: pipe.vae.register_to_config(latent_channels=8), "takes 16 channels where .* have 32"),
        (
            "klein",
            lambda pipe: pipe.transformer.register_to_config(guidance_embeds=True),
            "takes the guidance scale as an input, of which this pipeline tells it nothing",
        ),
        ("sd3", lambda pipe: pipe.register_modules(text_encoder=None), "lacks its text_encoder; save the pipeline"),
        ("sd3", lambda pipe: pipe.vae.register_to_config(latent_channels=2), "takes 4 channels where .* have 2"),
        (
            "flux",
            lambda pipe: pipe.transformer.register_to_config(in_channels=96),
            "takes 96 channels .* have 16",
        ),
        (
            "z-image",
            lambda pipe: pipe.transformer.register_to_config(siglip_feat_dim=8),
            "takes pictures besides the prompt: an editing model",
        ),
        (
            "z-image",
            lambda pipe: pipe.transformer.register_to_config(in_channels=8),
            "takes 8 channels .* have 4",
        ),
        (
            "qwen-image",
            lambda pipe: pipe.register_modules(text_encoder=None),
            "lacks its text_encoder; save",
        ),
        (
            "qwen-image",
            lambda pipe: pipe.transformer.register_to_config(in_channels=32),
            "takes 32 channels .* have 16",
        ),
        (
            "qwen-image",
            lambda pipe: pipe.transformer.register_to_config(out_channels=16),
            "gives 64 channels .* have 16",
        ),
        (
            "qwen-image",
            lambda pipe: pipe.transformer.register_to_config(guidance_embeds=True),
            "takes the guidance scale as an input: a distilled model",
        ),
        (
            "qwen-image",
            lambda pipe: pipe.transformer.register_to_config(zero_cond_t=True),
            "has zero_cond_t, for pictures besides the prompt: an editing or layering model",
        ),
        (
            "qwen-image",
            lambda pipe: pipe.register_modules(transformer=tiny_transformers.flux().transformer),
            "its denoiser is a FluxTransformer2DModel, not a QwenImageTransformer2DModel",
        ),
    ],
)
def test_a_model_for_other_inputs_is_refused(kind, change, why):
    pipeline = tiny_transformers.PIPELINES[kind]()
    change(pipeline)
    with pytest.raises(UsageError, match=rf"no \w+ text-to-image model: .*{why}"):
        models.placed(tiny.family(pipeline), "it", torch.device("cpu"))
