"""What an attacker moves of what a denoiser is told of a prompt: tokens' embeddings, and a pooled vector where there is
one, by which transformers of text and picture, and UNets like XL's, hear a name as well as by its tokens.

Masks, sizes and times say nothing of a prompt's words.
"""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from harness.models.family import Conditioning

NAMES = ("prompt_embeds", "pooled")


def movable(told: Conditioning) -> list[Tensor]:
    """The embeddings (n, tokens, width) and, where there is one, the pooled vector (n, width)."""
    return [tensor for name in NAMES if (tensor := getattr(told, name)) is not None]


def put(told: Conditioning, tensors: Sequence[Tensor]) -> Conditioning:
    """The conditioning with these tensors in the place of what is movable."""
    return replace(told, **dict(zip(NAMES, tensors, strict=False)))  # pooled comes last, and may be missing


def moved(told: Conditioning, by: Sequence[Tensor]) -> Conditioning:
    """The conditioning with a tensor added to each that is movable, of its own shape or of one row's."""
    return put(told, [each + block for each, block in zip(movable(told), by, strict=True)])
