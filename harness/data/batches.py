"""The batches of a training, drawn from latents that were kept."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.config import Config
from harness.data.latents import Sampled
from harness.models.family import Conditioning
from harness.models.path import GaussianPath
from harness.runs import processes


@dataclass(frozen=True)
class Batch:
    """One step's x_t, time steps and conditionings; the first n rows erase, the others retain."""

    noisy: Tensor
    """(n + m, c, h, w)"""
    timesteps: Tensor
    """(n + m,)"""
    trained: Conditioning
    frozen: Conditioning
    concept: Tensor
    """Which concept each row erases, (n,)."""
    unconditional: Conditioning
    guidance: float = 1.0
    """On the anchor."""

    @property
    def targets(self) -> int:
        """How many rows erase."""
        return len(self.concept)

    @property
    def erasing(self) -> "Batch":
        """The rows that erase, alone."""
        n = self.targets
        return replace(
            self, noisy=self.noisy[:n], timesteps=self.timesteps[:n], trained=self.trained[:n], frozen=self.frozen[:n]
        )


def batches(sampled: Sampled, path: GaussianPath, options: Config, generator: torch.Generator) -> Iterator[Batch]:
    """Endless batches; noise and time steps are drawn afresh on the CPU, so that every device sees the same.

    Each of several processes draws the whole batch too, and gets its share of the rows that erase and that retain.
    Time steps are never 0: there the reverse step has no variance, so no s.
    """
    device = sampled.anchor_latents.device
    n = options.batch_size
    retains = n if len(sampled.retain_latents) else 0
    shape = sampled.anchor_latents.shape[1:]
    while True:
        # Every process draws all of this in this order, whatever it keeps of it.
        erased = torch.randint(len(sampled.anchor_latents), (n,), generator=generator)
        retained = torch.randint(max(len(sampled.retain_latents), 1), (n,), generator=generator)[:retains]
        noise = torch.randn(n + retains, *shape, generator=generator)
        times = [torch.randint(1, path.timesteps, (count,), generator=generator) for count in (n, retains)]

        erased, retained = processes.share(erased), processes.share(retained)
        noise = torch.cat([processes.share(part) for part in noise.split([n, retains])]).to(device)
        timesteps = torch.cat([processes.share(part) for part in times]).to(device)
        clean = torch.cat([sampled.anchor_latents[erased], sampled.retain_latents[retained]])
        kept = sampled.retain[retained]
        yield Batch(
            noisy=path.add_noise(clean, noise, timesteps),
            timesteps=timesteps,
            trained=Conditioning.cat([sampled.target[erased], kept]),
            frozen=Conditioning.cat([sampled.anchor[erased], kept]),
            concept=sampled.concept[erased.to(device)],
            unconditional=sampled.unconditional,
            guidance=options.anchor_guidance,
        )
