"""Tokens before a prompt are found where they count, every one of the vocabulary, and no success is lost."""

from dataclasses import replace

import pytest
import torch

from harness.attacking.denoising import noised
from harness.attacking.words import vocabularies
from harness.judging.attacks import prefix_tokens
from harness.models.layouts.narrow import is_narrow, narrow


@pytest.fixture
def attacked(reading):
    """Shows of an erased model what the prefix says, of the oracle nothing, and of the original the target."""

    def prefix(embeds):
        return embeds[:, 1 : 1 + prefix_tokens.TOKENS, 0].mean(1) / 2

    return reading(
        original=lambda embeds: 1 + 0 * prefix(embeds), erased=prefix, oracle=lambda embeds: 0 * prefix(embeds)
    )


def test_it_breaks_a_model_whose_prefix_counts_and_no_other(attacked):
    outcome = prefix_tokens.run(attacked)
    rates = [{name: rate.successes for name, rate in point.rates.items()} for point in outcome.curve]
    assert [(each["original"], each["oracle"]) for each in rates] == [(attacked.pictures, 0)] * len(rates)
    erased = [each["erased"] for each in rates]
    assert erased == sorted(erased)
    assert erased[0] == 0
    assert erased[-1] >= attacked.pictures - 1
    assert outcome.headline is outcome.curve[-1]


def test_the_error_on_the_same_noise_is_lower_after_the_search_and_every_token_is_of_the_vocabulary(attacked):
    search, every = prefix_tokens.search_of(attacked), list(range(attacked.pictures))
    given = noised(search.path, attacked.drawn[1], torch.Generator().manual_seed(9))
    with attacked.subjects["erased"]():
        before = search.error(given, search.read(), every)
        search.go_on(every, 30)
        after = search.error(given, search.read(), every)
    assert after < before / 2
    (vocabulary,), (read,) = vocabularies(attacked.model), search.read()
    assert (read[..., None, :] == vocabulary).all(-1).any(-1).all()


def test_pictures_that_were_not_to_be_attacked_keep_their_tokens_but_for_the_decay(attacked):
    search = prefix_tokens.search_of(attacked)
    before = search.vectors[0].detach().clone()
    with attacked.subjects["erased"]():
        search.go_on([0, 2], 3)
    decay = (1 - prefix_tokens.LEARNING_RATE * prefix_tokens.WEIGHT_DECAY) ** 3
    torch.testing.assert_close(search.vectors[0][[1]].detach(), before[[1]] * decay)
    assert not torch.allclose(search.vectors[0][[0, 2]], before[[0, 2]] * decay, atol=1e-4)


def test_a_prompt_that_succeeds_with_no_prefix_is_a_success_ever_after(reading, monkeypatch):
    """As published; with any prefix at all this model shows nothing."""
    monkeypatch.setattr(prefix_tokens, "STEPS", (0, 1))

    def first_prompt_alone(embeds):
        plain = attacked.embeddings[attacked.prompts[0]].prompt_embeds
        return torch.exp(-1e4 * (embeds - plain).square().sum((1, 2)))

    attacked = reading(original=first_prompt_alone)
    monkeypatch.setattr(prefix_tokens, "HEADLINE", 1)
    assert [point.rates["original"].successes for point in prefix_tokens.run(attacked).curve] == [1, 1]


def test_a_denoiser_in_bf16_stays_where_it_is_beside_the_text_encoders_that_the_search_reads(lit, monkeypatch):
    """Both work in one step. A CPU stands for the device too, so what is asked to leave it is looked at."""
    attacked, left, cpu = lit("flux"), [], torch.Tensor.cpu
    _ = attacked.drawn
    narrow(attacked.model.network)
    layers = {weight.data_ptr() for weight in attacked.model.network.parameters() if is_narrow(weight)}
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: left.append(tensor.data_ptr()) or cpu(tensor))
    search = prefix_tokens.search_of(replace(attacked, options=replace(attacked.options, precision="bf16")))
    search.go_on([0], 1)
    search.found()
    assert len(layers) > 10
    assert not layers & set(left)
