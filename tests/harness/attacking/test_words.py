"""Words that stand for learned vectors: read in their place alone, with gradients, and no longer than they should."""

import pytest
import torch

from harness.attacking.words import nearest_tokens, spare_words, standing_for, vocabularies
from harness.config import UsageError
from tests import tiny


def _own_vectors(model, word):
    """What each text encoder has for a word of one token after a space, (1, 1, width)."""
    parts = model.pipeline.components
    pairs = [(parts["tokenizer" + n], parts["text_encoder" + n]) for n in ("", "_2", "_3") if "tokenizer" + n in parts]
    tokenizers = [getattr(tokenizer, "tokenizer", tokenizer) for tokenizer, _ in pairs]  # a processor has one
    read = [tokenizer(f"a {word}", add_special_tokens=False).input_ids[-1:] for tokenizer in tokenizers]
    return [
        encoder.get_input_embeddings().weight.detach()[tokens][None]
        for (_, encoder), tokens in zip(pairs, read, strict=True)
    ]


@pytest.mark.parametrize("kind", tiny.PIPELINES)
def test_a_word_with_the_vector_of_another_is_read_as_that_one(kind):
    model = tiny.model(kind)
    (word,) = spare_words(model, 1, ["a star", "a moon"])
    with torch.no_grad():
        plain = model.encode([f"a {word}", "a star", "a moon"])
        with standing_for(model, [word], _own_vectors(model, "star")):
            stood = model.encode([f"a {word}", "a star", "a moon"])
        again = model.encode([f"a {word}", "a star", "a moon"])
    for part in ("prompt_embeds", "pooled", "time_ids"):
        before, within, after = (getattr(each, part) for each in (plain, stood, again))
        if before is not None:
            torch.testing.assert_close(within[0], before[1])
            assert torch.equal(within[1:], before[1:])
            assert torch.equal(after, before)
    assert not torch.allclose(plain.prompt_embeds[0], plain.prompt_embeds[1])


@pytest.mark.parametrize("kind", tiny.PIPELINES)
def test_gradients_reach_the_vectors_of_each_prompt_alone(kind):
    model = tiny.model(kind)
    words = spare_words(model, 2, [])
    vectors = [torch.randn(3, 2, each.shape[1], requires_grad=True) for each in vocabularies(model)]
    with standing_for(model, words, vectors):
        read = model.encode([f"{words[0]} a {words[1]}"] * 3)
        parts = [each[1] for each in (read.prompt_embeds, read.pooled) if each is not None]
        # a mere sum has no gradient behind CLIP's last normalisation but for what rounding leaves
        sum((each * torch.randn_like(each)).sum() for each in parts).backward()
    for each in vectors:
        assert (each.grad.abs().sum(2) > 0).tolist() == [[False, False], [True, True], [False, False]]


@pytest.mark.parametrize("place", [0, 1])
def test_the_hooks_are_gone_after_an_exception(place):
    model = tiny.model("sdxl")
    words, vectors = spare_words(model, 1, []), [torch.zeros(1, 1, each.shape[1]) for each in vocabularies(model)]
    before = model.encode([words[0]]).prompt_embeds
    if place == 0:
        with pytest.raises(KeyError), standing_for(model, words, vectors):
            raise KeyError
    else:
        with pytest.raises(ValueError, match="argument 2 is shorter"), standing_for(model, words, vectors[:1]):
            pass
    assert torch.equal(model.encode([words[0]]).prompt_embeds, before)


def test_spare_words_are_one_token_each_and_in_no_prompt():
    model = tiny.model()
    tokenizer = model.pipeline.tokenizer
    free = spare_words(model, 5, [])
    kept = spare_words(model, 5, [f"a {free[0]} and {free[2]}"])
    assert not {free[0], free[2], "a"} & set(kept)
    assert all(len(tokenizer(word, add_special_tokens=False).input_ids) == 1 for word in kept)
    assert len(set(kept)) == 5


def test_too_small_a_vocabulary_is_one_line():
    model = tiny.model()
    with pytest.raises(UsageError, match=r"words of one token to spare; needed are 10000"):
        spare_words(model, 10_000, [])


def test_the_nearest_token_is_the_one_at_the_least_distance():
    vocabulary = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    vectors = torch.tensor([[[0.9, 0.2], [0.1, 0.2]]])
    assert nearest_tokens(vectors, vocabulary).tolist() == [[[1.0, 0.0], [0.0, 0.0]]]


def test_what_a_prompt_cannot_have_is_not_in_the_vocabulary():
    model = tiny.model()
    (words,) = vocabularies(model)
    whole = model.pipeline.text_encoder.get_input_embeddings().weight
    ends = whole[[model.pipeline.tokenizer.bos_token_id, model.pipeline.tokenizer.eos_token_id]]
    assert len(words) == len(whole) - 2
    assert not (words[:, None] == ends).all(-1).any()
