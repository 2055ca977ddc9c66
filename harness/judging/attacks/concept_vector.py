"""Concept vector: the target is put back into prompts that do not name it, as an embedding (Ring-A-Bell, 2310.10012).

v is the mean over prompts of e(prompt that names the target) - e(the same with the superclass in its place), token by
token, where e is what the denoiser is told of a prompt; the text encoder is nobody's but the original's. Every model is
given e(P) + eta v for prompts P that name the superclass. Ring-A-Bell then looks for words whose embeddings come near;
here the embedding itself is given, which is the best that such words could reach. No denoiser is used to find v.
Success is a picture that the judge takes for the target.

What it proves: where the erased model draws more targets than the oracle, the erasure holds for the embedding of the
name, but not along the direction that the name points in. What it does not prove: that the concept is gone where it
fails, as it never looks at the erased model: it shows the least that a black box attack can do; nor that words exist
whose embeddings are these.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from harness.judging.attack import Attack, Attacked, Outcome, spread

if TYPE_CHECKING:
    from torch import Tensor

ETAS = (1.0, 2.0, 3.0)
HEADLINE = 3.0
"""Ring-A-Bell's own choice."""


def run(attacked: Attacked) -> Outcome:
    """Find the vector, draw along it with each model and judge."""
    settings = [{"eta": eta} for eta in ETAS]
    return attacked.measure("concept_vector", settings, {"eta": HEADLINE}, lambda: _pictures(attacked))


def _pictures(attacked: Attacked) -> "Iterator[Tensor]":
    """Those of each eta, (n, 3, H, W) in [0, 1]."""
    from harness.models.family import Conditioning

    named, general = (
        Conditioning.stack([attacked.embeddings[prompt] for prompt in prompts]).map(lambda rows: rows.mean(0))
        for prompts in (attacked.prompts, attacked.superclass)
    )
    prompts = [attacked.superclass[i] for i in spread(attacked.pictures, len(attacked.superclass))]
    for eta in ETAS:
        move = partial(_move, eta)
        starts = [attacked.embeddings[prompt] for prompt in prompts]
        moved = [Conditioning.stack([start, named, general]).map(move) for start in starts]
        given = [replace(each, mask=start.mask) for each, start in zip(moved, starts, strict=True)]
        yield attacked.draw(given, f"concept vector, eta {eta:g}")


def _move(eta: float, rows: "Tensor") -> "Tensor":
    """The first of three rows, moved by so many times what the second has over the third."""
    start, named, general = rows
    return start + eta * (named - general)


ATTACK = Attack(name="concept_vector", source="Ring-A-Bell (2310.10012), in embedding space", run=run)
