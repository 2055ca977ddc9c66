"""The forms of latents: packed for a transformer, as the sampler has them, and as a decoder reads them."""

import math
from typing import Any

from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

PATCH = 2
"""Latents along a side of a position, where they are packed, and of a patch, where a batch norm scales those."""


def latent_channels(vae: Any) -> int:
    """Of an autoencoder; one of videos has another name for them."""
    return vae.config.get("latent_channels") or vae.config.z_dim


def packed(latents: Tensor) -> Tensor:
    """Latents (n, c, h, w) with those of a position in its channels, (n, 4c, h / 2, w / 2)."""
    return pixel_unshuffle(latents, PATCH)


def unpacked(latents: Tensor) -> Tensor:
    """Latents (n, positions, 4c) of square pictures as (n, c, h, w)."""
    side = math.isqrt(latents.shape[1])
    return pixel_shuffle(latents.mT.unflatten(2, (side, side)), PATCH)


def scaled(vae: Any, latents: Tensor) -> Tensor:
    """Latents as the decoder reads them, (n, c, h, w), as the sampler has them, where a batch norm scales them."""
    mean, deviation = _batch_norm(vae, latents)
    return pixel_shuffle((packed(latents) - mean) / deviation, PATCH)


def decoded(vae: Any, latents: Tensor) -> Tensor:
    """Latents (n, c, h, w) as the sampler has them as what the decoder makes of them, (n, 3, H, W), from -1 to 1."""
    if "z_dim" in vae.config:  # of an autoencoder of videos: each channel has its own scale, and frames an axis
        mean, deviation = (
            latents.new_tensor(vae.config[name]).view(-1, 1, 1) for name in ("latents_mean", "latents_std")
        )
        return vae.decode((deviation * latents + mean)[:, :, None]).sample[:, :, 0]
    if has_batch_norm(vae):
        mean, deviation = _batch_norm(vae, latents)
        return vae.decode(pixel_shuffle(packed(latents) * deviation + mean, PATCH)).sample
    return vae.decode(latents / vae.config.scaling_factor + (vae.config.get("shift_factor") or 0.0)).sample


def has_batch_norm(vae: Any) -> bool:
    """Whether latents are scaled by a batch norm's running mean and variance of each channel of a patch."""
    return "batch_norm_eps" in vae.config


def _batch_norm(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation, (4c, 1, 1) each."""
    mean, variance = (each.to(like).view(-1, 1, 1) for each in (vae.bn.running_mean, vae.bn.running_var))
    return mean, (variance + vae.config.batch_norm_eps).sqrt()
