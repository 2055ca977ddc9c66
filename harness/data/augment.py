"""Concept ablation's augmentation (Kumari et al., 2303.13516) in latent space: see a concept from afar and from near.

Their pictures are resized before the VAE; here its latents are, which needs no VAE during training.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SUFFIXES = ("", ", far away", ", zoomed in")
"""What each kind of view adds to its prompt; the first leaves the latent as it is."""
FAR, NEAR = 1, 2
SHRUNK = (0.4, 0.9)
"""The side of a latent that is zoomed out, in parts of the whole."""
ENLARGED = (1.1, 1.4)
"""The whole, in sides of the crop that is zoomed in on."""


def draw_kinds(n: int, generator: torch.Generator) -> Tensor:
    """Indices into `SUFFIXES`, all alike likely, (n,) int64 on the CPU."""
    return torch.randint(len(SUFFIXES), (n,), generator=generator)


def augment(clean: Tensor, kinds: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Zoom each row of x_0 out or in by a random amount at a random place.

    Args:
        clean: latents (n, c, h, w), of any size from 2x2 and on any device.
        kinds: indices into `SUFFIXES`, (n,), on the CPU.
        generator: on the CPU, so that every device sees the same; gives three numbers a row of any kind.

    Returns:
        The augmented latents, (n, c, h, w), and the mask of what is picture in them, (n, 1, h, w), 1 or 0 in their
        dtype: around a latent that was zoomed out lie zeros, which no loss should count.
    """
    result, mask = clean.clone(), torch.ones_like(clean[:, :1])
    draws = torch.rand(len(clean), 3, generator=generator, dtype=torch.float64).tolist()
    for row, (kind, (size, *place)) in enumerate(zip(kinds.tolist(), draws, strict=True)):
        if kind == FAR:
            box = _box(clean, _between(SHRUNK, size), place)
            result[row], mask[row] = 0, 0
            result[row][box] = _resize(clean[row], result[row][box])
            mask[row][box] = 1
        elif kind == NEAR:
            box = _box(clean, 1 / _between(ENLARGED, size), place)
            result[row] = _resize(clean[row][box], clean[row])
    return result, mask


def _between(ends: tuple[float, float], draw: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * draw


def _box(clean: Tensor, part: float, place: list[float]) -> tuple[slice, ...]:
    """Of the last two axes, a window of a part of each side, less than all of it, at a place drawn from [0, 1)."""
    window = [slice(None)]
    for side, draw in zip(clean.shape[-2:], place, strict=True):
        length = min(max(round(part * side), 1), side - 1)
        start = int(draw * (side - length + 1))
        window.append(slice(start, start + length))
    return tuple(window)


def _resize(latent: Tensor, like: Tensor) -> Tensor:
    """A latent (c, h, w) in fp32 at the size of another; antialiasing tells only where it shrinks."""
    return F.interpolate(latent[None].float(), like.shape[-2:], mode="bilinear", antialias=True)[0]
