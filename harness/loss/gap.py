"""Both forward passes of a step: how far the trained model's reverse step is from the frozen one's."""

import torch
from torch import Tensor

from harness.data.batches import Batch
from harness.loss.scale import Scale
from harness.models.denoiser import Denoiser
from harness.models.family import Conditioning


def difference(denoiser: Denoiser, scale: Scale, batch: Batch) -> Tensor:
    """(mu_Q - mu_P) / sigma of a batch, (n, c, h, w), with the trained prediction's graph."""
    frozen = _frozen_prediction(denoiser, batch)
    trained = denoiser(batch.noisy, batch.timesteps, batch.trained)
    noise_p, noise_q = (
        scale.path.noise_prediction(output, batch.noisy, batch.timesteps) for output in (frozen, trained)
    )
    return scale.difference(noise_p, noise_q, batch.timesteps)


def _frozen_prediction(denoiser: Denoiser, batch: Batch) -> Tensor:
    """The frozen model's raw output, (n, c, h, w), on the rows that erase with guidance on the anchor."""
    frozen = denoiser.frozen_denoiser(batch.noisy, batch.timesteps, batch.frozen)
    if batch.guidance == 1:
        return frozen
    n, erasing = batch.targets, batch.erasing
    nothing = Conditioning.cat([batch.unconditional] * n)
    base = denoiser.frozen_denoiser(erasing.noisy, erasing.timesteps, nothing)
    return torch.cat([base + batch.guidance * (frozen[:n] - base), frozen[n:]])


def squared_distance(difference: Tensor) -> Tensor:
    """The s of each sample, (n,), from differences (n, c, h, w) in units of sigma."""
    return difference.float().square().flatten(1).sum(1)
