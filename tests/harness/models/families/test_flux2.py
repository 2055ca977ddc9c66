"""FLUX.2: latents that a batch norm scales, times that the number of steps shifts, and prompts read whole."""

import math
from dataclasses import replace

import pytest
import torch

from harness.config import Config, UsageError
from harness.data import latents
from harness.models import load as models
from harness.models.sampler import with_steps
from tests import tiny

KINDS = ("flux2", "klein")


@pytest.fixture(params=KINDS)
def model(request):
    return tiny.model(request.param)


def test_latents_are_scaled_by_the_autoencoders_batch_norm_in_patches(model):
    """As torch's own batch norm scales them, from what its decoder reads, and as the pipeline packs them."""
    pipe, read = model.pipeline, torch.randn(2, *model.latent_shape(16))
    scaled = pipe.vae.bn(pipe._patchify_latents(read))
    assert not torch.allclose(scaled, pipe._patchify_latents(read), atol=0.1)
    for given in (read, pipe._pack_latents(scaled)):
        torch.testing.assert_close(model.unpacked(given), pipe._unpatchify_latents(scaled))
    with torch.no_grad():
        theirs = pipe.image_processor.postprocess(pipe.vae.decode(read).sample, output_type="pt")
        torch.testing.assert_close(model.decode(model.unpacked(read)), theirs)


def test_both_pipelines_draw_one_picture_from_one_transformer_whatever_form_their_calls_give_latents_in():
    """dev's give them packed and scaled, klein's as its decoder reads them."""
    dev, klein = (tiny.model(kind) for kind in KINDS)
    dev.pipeline.register_modules(transformer=klein.network)
    embeddings, options = latents.encode(klein, ["a star", ""]), Config(sampling_steps=2, guidance_scale=1.0)
    drawn = [latents.sample(each, ["a star"], embeddings, options, seed=7) for each in (klein, dev)]
    torch.testing.assert_close(*drawn, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("steps", "log_shift"), [(200, 0.5 + 0.65 * (16 - 256) / 3840), (10, 8.73809524e-05 * 16 + 1.89833333)]
)
def test_times_are_shifted_by_the_number_of_steps_to_flux_1s_at_200_of_them(model, steps, log_shift):
    told = models.told(model, Config(sampling_steps=steps))
    assert told.path().log_shift == pytest.approx(log_shift, rel=1e-4)
    few, many = (replace(model, sampling_steps=each).path().log_shift for each in (10, 200))
    assert replace(model, sampling_steps=105).path().log_shift == pytest.approx((few + many) / 2)
    assert model.path().log_shift == replace(model, sampling_steps=50).path().log_shift  # of the call


def test_the_sampler_shifts_by_its_own_number_of_steps_whatever_the_model_was_told(model):
    for told in (0, 8, 200):
        timesteps = with_steps(replace(model, sampling_steps=told), 4).timesteps
        mu = replace(model, sampling_steps=4).path().log_shift
        odds = [math.exp(mu) * share / (1 - share) for share in (0.75, 0.5, 0.25)]
        assert timesteps.tolist() == pytest.approx([1000, *(1000 * each / (1 + each) for each in odds)], rel=1e-4)


def test_a_prompt_reads_alike_beside_others_and_one_at_the_limit_leaves_the_template_whole(model):
    seen = []
    hook = model.pipeline.text_encoder.register_forward_pre_hook(
        lambda _, __, told: seen.append(told["attention_mask"].sum(1).tolist()), with_kwargs=True
    )
    ((_, limit),) = model.token_limits()
    longest = "a" + " star" * (limit - 1)
    with torch.no_grad():
        together, alone = model.encode(["", "a star", longest]), model.encode(["a star"])
    hook.remove()
    torch.testing.assert_close(together.prompt_embeds[1], alone.prompt_embeds[0])
    assert together.prompt_embeds.shape == (3, tiny.SHORT, 3 * 16)
    assert seen == [[tiny.SHORT - limit, tiny.SHORT - limit + 2, tiny.SHORT], [tiny.SHORT - limit + 2]]
    models.check_prompts(model, [longest])
    with pytest.raises(UsageError, match=f"{limit + 1} tokens, more than the tokenizer's limit of {limit}"):
        models.check_prompts(model, [longest + " star"])


def test_what_dev_is_told_before_a_prompt_is_known():
    model = tiny.model("flux2")
    assert model.pipeline.system_message in model.instructions
    assert model.pipeline.tokenizer.chat_template in model.instructions


def test_keys_and_values_are_every_way_from_a_prompt_to_the_picture_and_those_of_joint_blocks_alone_are_not(model):
    noisy = torch.randn(1, *model.latent_shape(16), generator=torch.Generator().manual_seed(0))
    given, group = model.encode(["a star", "a moon"]), model.parameters_of("cross-attention-kv")
    left = []
    with torch.no_grad():
        for part in ("add_", "to_qkv_mlp_proj"):
            for parameter in (each for name, each in group.items() if part in name):
                parameter.zero_()
            star, moon = (model.predict(model.network, noisy, torch.tensor([500]), each[None]) for each in given)
            left.append((star - moon).abs().max().item())
    assert left[0] > 1e-4
    assert left[1] == 0
