"""Both predictions of a step: how far the trained model's reverse step is from the one it is led to.

P is the frozen model on the anchor. At x_t made of pictures of the target that holds only where x_t still leaves open
what it shows: there the frozen prediction, with an anchor drawn from what is retained, is one draw of the mean that a
model without the target would predict (theory's `retraining`). Where x_t shows the target a frozen network finishes it
whatever it is told, far from anything that the anchor's pictures taught it. There P leads to the picture's counterpart,
the same picture with the anchor in its place: the best prediction where x_0 is known (theory's `finite_pictures`).
"""

import torch
from torch import Tensor

from harness.data.batches import Batch
from harness.loss.scale import Scale
from harness.models.denoiser import Denoiser
from harness.models.family import Conditioning
from harness.models.path import GaussianPath


def difference(denoiser: Denoiser, scale: Scale, batch: Batch) -> Tensor:
    """(mu_Q - mu_P) / sigma of a batch, (n, c, h, w), with the trained prediction's graph."""
    noise_p = _anchor_noise(denoiser, scale.path, batch)
    trained = denoiser(batch.noisy, batch.timesteps, batch.trained)
    noise_q = scale.path.noise_prediction(trained, batch.noisy, batch.timesteps)
    return scale.difference(noise_p, noise_q, batch.timesteps)


def _anchor_noise(denoiser: Denoiser, path: GaussianPath, batch: Batch) -> Tensor:
    """P's prediction of epsilon, (n, c, h, w)."""
    output = _frozen_prediction(denoiser, batch)
    noise = path.noise_prediction(output, batch.noisy, batch.timesteps)
    if batch.counterparts is None or batch.known is None:
        return noise
    n = batch.targets
    known = path.noise_between(batch.counterparts, batch.noisy[:n], batch.timesteps[:n])
    return torch.cat([torch.where(batch.known.view(-1, 1, 1, 1), known, noise[:n]), noise[n:]])


def _frozen_prediction(denoiser: Denoiser, batch: Batch) -> Tensor:
    """The frozen model's raw output, (n, c, h, w), on the rows that erase with guidance on the anchor."""
    frozen = denoiser.frozen_denoiser(batch.noisy, batch.timesteps, batch.frozen)
    if batch.guidance == 1 or not batch.targets:
        return frozen
    n, erasing = batch.targets, batch.erasing
    nothing = Conditioning.cat([batch.unconditional] * n)
    base = denoiser.frozen_denoiser(erasing.noisy, erasing.timesteps, nothing)
    return torch.cat([base + batch.guidance * (frozen[:n] - base), frozen[n:]])


def squared_distance(difference: Tensor) -> Tensor:
    """The s of each sample, (n,), from differences (n, c, h, w) in units of sigma."""
    return difference.float().square().flatten(1).sum(1)
