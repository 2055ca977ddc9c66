"""Qwen-Image and Z-Image: prompts within a template, read to any length, and what a denoiser makes of them."""

from dataclasses import replace

import pytest
import torch

from harness.config import UsageError
from harness.models import load as models
from tests import tiny, tiny_transformers

KINDS = ("qwen-image", "z-image")


@pytest.fixture(params=KINDS)
def model(request):
    return tiny.model(request.param)


@torch.no_grad()
def _output(model, noisy, conditioning):
    return model.predict(model.network, noisy, torch.full((len(noisy),), 500), conditioning)


def test_a_prompt_reads_alike_alone_and_beside_a_longer_one(model):
    prompts = ["a star", "a red star and a moon and a tree", ""]
    together, alone = model.encode(prompts), [model.encode([prompt]) for prompt in prompts]
    assert together.prompt_embeds.shape[:2] == together.mask.shape == (3, tiny.SHORT)
    noisy = torch.randn(1, *model.latent_shape(16), generator=torch.Generator().manual_seed(0))
    outputs = _output(model, noisy.expand(3, -1, -1, -1), together)
    for row, each in enumerate(alone):
        assert torch.equal(together.mask[row], each.mask[0])
        torch.testing.assert_close(together.prompt_embeds[row], each.prompt_embeds[0])
        torch.testing.assert_close(outputs[row : row + 1], _output(model, noisy, each), rtol=1e-4, atol=1e-5)
    assert together.mask.sum(1).diff().tolist() == [7, -9]  # a word is a token, with what the template has after it


def test_what_is_padding_reaches_no_prediction(model):
    given = model.encode(["a star", "a red star and a moon"])
    noisy = torch.randn(2, *model.latent_shape(16), generator=torch.Generator().manual_seed(0))
    filled = given.prompt_embeds + 9 * (1 - given.mask)[..., None]
    outputs = [_output(model, noisy, each) for each in (given, replace(given, prompt_embeds=filled))]
    torch.testing.assert_close(*outputs)


def test_a_prompt_at_the_limit_leaves_the_template_whole_and_one_token_more_is_refused(model):
    ((_, limit),) = model.token_limits()
    nothing = int(model.encode([""]).mask.sum())
    assert limit == tiny.SHORT - nothing
    longest = "a" + " star" * (limit - 1)
    assert model.encode([longest]).mask.all()
    models.check_prompts(model, [longest])
    with pytest.raises(UsageError, match=f"{limit + 1} tokens, more than the tokenizer's limit of {limit}"):
        models.check_prompts(model, [longest + " star"])
    assert replace(model, max_sequence_length=1).token_limits()[0][1] == 0


def test_qwen_image_draws_what_its_call_draws_where_nothing_else_says_a_size():
    pipeline = tiny_transformers.qwen_image()
    model = replace(tiny.family(pipeline), resolution=0)
    assert model.pixels == pipeline.default_sample_size * pipeline.vae_scale_factor == 256
    assert model.text_length == tiny.SHORT
    assert replace(model, max_sequence_length=0).text_length == 512  # of the call, where encode_prompt has 1024


def test_what_the_last_block_of_qwen_image_makes_of_the_text_is_in_no_group():
    model = tiny.model("qwen-image")
    named, trained = dict(model.network.named_parameters()), model.parameters_of("full")
    assert {name.split(".")[2] for name in named.keys() - trained.keys()} == {"attn", "txt_mlp"}
    assert all(name.startswith("transformer_blocks.1.") for name in named.keys() - trained.keys())
