"""Words that every text encoder reads as vectors of our own, whatever its vocabulary says: what an attack learns."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from harness.config import UsageError
from harness.models.family import Family


def vocabularies(model: Family) -> list[Tensor]:
    """What each text encoder reads of every token that a prompt can have, (tokens, width)."""
    result = []
    for tokenizer, encoder in _encoders(model):
        words = [token for token in range(len(tokenizer)) if token not in tokenizer.all_special_ids]
        result.append(encoder.get_input_embeddings().weight.detach()[words])
    return result


def nearest_tokens(vectors: Tensor, vocabulary: Tensor) -> Tensor:
    """Of each vector (..., width) the nearest in a vocabulary (tokens, width), shaped like `vectors`."""
    return vocabulary[torch.cdist(vectors.flatten(0, -2), vocabulary).argmin(1)].view_as(vectors)


def spare_words(model: Family, count: int, prompts: Iterable[str]) -> list[str]:
    """Words of one token in every tokenizer, which none of the prompts has, nor what is put before them.

    Raises:
        UsageError: the vocabularies have too few of them.
    """
    tokenizers = [tokenizer for tokenizer, _ in _encoders(model)]
    given = ["\n".join(model.instructions), *prompts]
    taken = [{token for prompt in given for token in _tokens(each, prompt)} for each in tokenizers]

    def spare(word: str) -> bool:
        read = [_readings(tokenizer, word) for tokenizer in tokenizers]
        return all(tokens and not tokens & used for tokens, used in zip(read, taken, strict=True))

    words = (tokenizers[0].decode([token]).strip() for token in range(len(tokenizers[0])))
    # in small letters, as some pipelines make all letters small before their tokenizer sees them
    plain = (word for word in words if word.isascii() and word.isalpha() and word.islower())
    found = list(islice(dict.fromkeys(filter(spare, plain)), count))
    if len(found) < count:
        raise UsageError(f"--attacks: the tokenizer has {len(found)} words of one token to spare; needed are {count}")
    return found


@contextmanager
def standing_for(model: Family, words: Sequence[str], vectors: Sequence[Tensor]) -> Iterator[None]:
    """Within this, `model.encode` reads words as other vectors, and gradients reach these.

    Args:
        model: whose text encoders read.
        words: of one token each.
        vectors: for each text encoder (n, words, width), of the n prompts encoded at a time; or n = 1, of any.
    """
    hooks = []
    try:
        for (tokenizer, encoder), own in zip(_encoders(model), vectors, strict=True):
            tokens, table = [_readings(tokenizer, word) for word in words], encoder.get_input_embeddings().weight
            # T5 has a second module for the one table, and reads through that
            modules = [each for each in encoder.modules() if isinstance(each, torch.nn.Embedding)]
            tables = [each for each in modules if each.weight is table]
            hooks += [each.register_forward_hook(partial(_put, tokens, own)) for each in tables]
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _put(
    words: Sequence[set[int]], vectors: Tensor, table: torch.nn.Module, inputs: tuple[Tensor], embedded: Tensor
) -> Tensor:
    scaled = vectors * getattr(table, "embed_scale", 1.0)  # Gemma multiplies what it reads from its table
    for place, tokens in enumerate(words):
        for token in tokens:
            embedded = torch.where((inputs[0] == token)[..., None], scaled[:, place, None].to(embedded), embedded)
    return embedded


def _encoders(model: Family) -> list[tuple[Any, Any]]:
    """Each tokenizer, or a processor's, with its text encoder, where that is there; diffusers numbers both alike."""
    parts = model.pipeline.components
    present = [name for name, part in parts.items() if name.startswith("text_encoder") and part is not None]
    numbers = [name.removeprefix("text_encoder") for name in present]
    pairs = [(parts["tokenizer" + number], parts["text_encoder" + number]) for number in numbers]
    return [(getattr(tokenizer, "tokenizer", tokenizer), encoder) for tokenizer, encoder in pairs]


def _readings(tokenizer: Any, word: str) -> set[int]:
    """The tokens that a word can be read as, at the start of a text and after a space; none if it is split at either.

    A tokenizer of bytes has two tokens for most words.
    """
    alone, after = _tokens(tokenizer, word), _tokens(tokenizer, f" {word}")
    whole = len(alone) == 1 and (len(after) == 1 or after[1:] == alone)
    return {alone[0], after[-1]} if whole else set()


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False).input_ids
