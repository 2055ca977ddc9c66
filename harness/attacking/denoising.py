"""How well a model denoises given pictures under a conditioning that is being learned; its weights stay as they are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.models.family import Conditioning, Family
from harness.models.path import GaussianPath


@contextmanager
def still(model: Family) -> Iterator[None]:
    """Within this, no weight of the pipeline takes a gradient; after it, those do that did before."""
    parts = [part for part in model.pipeline.components.values() if isinstance(part, torch.nn.Module)]
    weights = [weight for part in parts for weight in part.parameters() if weight.requires_grad]
    try:
        for weight in weights:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


@dataclass(frozen=True)
class Noised:
    """Latents with the noise that was put on them."""

    noisy: Tensor
    """(n, c, h, w)"""
    noise: Tensor
    """(n, c, h, w)"""
    timesteps: Tensor
    """(n,)"""

    def __getitem__(self, rows: Sequence[int]) -> "Noised":
        """Some of them."""
        return Noised(self.noisy[rows], self.noise[rows], self.timesteps[rows])


def noised(path: GaussianPath, clean: Tensor, generator: torch.Generator) -> Noised:
    """Latents (n, c, h, w), each at a time step of its own; all is drawn on the CPU, so every device sees the same."""
    noise = torch.randn(clean.shape, generator=generator).to(clean)
    timesteps = torch.randint(path.timesteps, (len(clean),), generator=generator).to(clean.device)
    return Noised(path.add_noise(clean, noise, timesteps), noise, timesteps)


def denoising_error(
    model: Family, path: GaussianPath, given: Noised, conditioning: Conditioning, precision: str
) -> Tensor:
    """The mean square of epsilon - epsilon_theta(x_t, t, c) of each latent, (n,), with the conditioning's graph."""
    with model.arithmetic(precision):
        output = model.predict(model.network, given.noisy, given.timesteps, conditioning).float()
    return (path.noise_prediction(output, given.noisy, given.timesteps) - given.noise).square().flatten(1).mean(1)
