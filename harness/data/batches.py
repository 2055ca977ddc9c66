"""The batches of a training, drawn from latents that were kept."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.config import Config
from harness.data.kept import OF_RETAINED
from harness.data.latents import Sampled
from harness.models.family import Conditioning
from harness.models.path import GaussianPath
from harness.runs import processes

FINISHED = 0.2
"""Of the schedule: below, a picture of the target is finished whatever a model is told, so it is noised beyond. There
the noise that leads elsewhere grows without bound, and single rows would have the whole gradient."""

SEEN = 0.75
"""Of the schedule: above, a picture of the target looks like any other, and what a model predicts that is told neither
the target nor what an adversary found is said by the retained pictures alone."""

REPLACED = OF_RETAINED.index("replaced")
"""The kind that the trained model alone is told; the frozen one is told the first."""


@dataclass(frozen=True)
class Batch:
    """One step's x_t, time steps and conditionings; the first n rows erase, the others retain."""

    noisy: Tensor
    """(n + m, c, h, w)"""
    noise: Tensor
    """What is in it of noise, of the same shape."""
    timesteps: Tensor
    """(n + m,)"""
    trained: Conditioning
    frozen: Conditioning
    concept: Tensor
    """Which concept each row erases, (n,)."""
    unconditional: Conditioning
    guidance: float = 1.0
    """On the anchor."""
    within: bool = False
    """Whether it leads from what the frozen model predicts when it is told what the trained one is, not nothing."""
    counterparts: Tensor | None = None
    """What x_0 may be on the rows that erase, (n, k, c, h, w), in place of a frozen prediction."""
    weight: Tensor | None = None
    """Of each row, (n + m,), where time steps are not drawn with equal chances."""
    adversary: Tensor | None = None
    """On which of these rows an adversary may change the prompt, (n,)."""
    named: Conditioning | None = None
    """What names the target on each of these rows, (n, ...)."""

    @property
    def targets(self) -> int:
        """How many rows erase."""
        return len(self.concept)

    @property
    def erasing(self) -> "Batch":
        """The rows that erase, alone."""
        n = self.targets
        return replace(
            self, noisy=self.noisy[:n], noise=self.noise[:n], timesteps=self.timesteps[:n],
            trained=self.trained[:n], frozen=self.frozen[:n],
            weight=None if self.weight is None else self.weight[:n],
        )  # fmt: skip

    @property
    def retaining(self) -> "Batch":
        """The rows that retain, alone."""
        n = self.targets
        return Batch(
            noisy=self.noisy[n:], noise=self.noise[n:], timesteps=self.timesteps[n:], trained=self.trained[n:],
            frozen=self.frozen[n:], concept=self.concept[:0], unconditional=self.unconditional,
            weight=None if self.weight is None else self.weight[n:],
        )  # fmt: skip


def batches(sampled: Sampled, path: GaussianPath, options: Config, generator: torch.Generator) -> Iterator[Batch]:
    """Endless batches; noise and time steps are drawn afresh on the CPU, so that every device sees the same.

    Each of several processes draws the whole batch too, and gets its share of the rows that erase and that retain.
    Time steps are those whose reverse step has a variance, so an s; where a family trains some more often than others,
    so they are drawn here, and their rows weigh less.
    """
    device = sampled.origin_latents.device
    n, count, kept_count = options.batch_size, len(sampled.origin_latents), len(sampled.retain_latents)
    retains = n if kept_count else 0
    shape = sampled.origin_latents.shape[1:]
    lowest, last, until = path.first, path.timesteps, int(SEEN * path.timesteps)
    first = lowest if sampled.counterparts is None else max(lowest, int(FINISHED * last))
    while True:
        # Every process draws all of this in this order, whatever it keeps of it.
        erased = torch.randint(count, (n,), generator=generator)
        retained = torch.randint(max(kept_count, 1), (n,), generator=generator)[:retains]
        noise = torch.randn(n + retains, *shape, generator=generator)
        times = [path.draw(low, last, rows, generator) for low, rows in ((first, n), (lowest, retains)) if rows]
        weights = [path.weight(drawn, low, last) for drawn, low in zip(times, (first, lowest), strict=False)]
        kinds = torch.randint(sampled.kinds, (n + retains,), generator=generator)
        if sampled.counterparts is not None:
            seen = path.draw(first, until, n, generator)
            opposed = (kinds[:n] == sampled.kinds - 1) & (options.adversary_every + options.closed_form_every > 0)
            anywhere = (kinds[:n] == 0) | opposed
            times[0] = torch.where(anywhere, times[0], seen)
            if (own := weights[0]) is not None and (other := path.weight(seen, first, until)) is not None:
                weights[0] = torch.where(anywhere, own, other)
        told = [erased + kinds[:n] * count, retained + kinds[n:] * kept_count]
        told.append(torch.where(kinds[n:] == REPLACED, retained, told[1]))

        erased, retained, *told = (processes.share(part) for part in (erased, retained, *told))
        noise = torch.cat([processes.share(part) for part in noise.split([n, retains])]).to(device)
        timesteps = torch.cat([processes.share(part) for part in times]).to(device)
        clean = torch.cat([sampled.origin_latents[erased], sampled.retain_latents[retained]])
        batch = Batch(
            noisy=path.add_noise(clean, noise, timesteps),
            noise=noise,
            timesteps=timesteps,
            trained=Conditioning.cat([sampled.target[told[0]], sampled.retain[told[1]]]),
            frozen=Conditioning.cat([sampled.anchor[erased], sampled.retain[told[2]]]),
            concept=sampled.concept[erased.to(device)],
            named=sampled.target[erased],
            unconditional=sampled.unconditional,
            guidance=options.guidance,
            within=bool(options.within),
            weight=_shared(weights, device),
        )
        if sampled.counterparts is not None:
            batch = replace(batch, counterparts=sampled.counterparts[erased])
        if sampled.kinds > 1:
            batch = replace(batch, adversary=(told[0] // count == sampled.kinds - 1).to(device))
        yield batch


def _shared(weights: list[Tensor | None], device: torch.device) -> Tensor | None:
    """This process's share of each part's weights, joined; None where there are none."""
    present = [processes.share(part) for part in weights if part is not None]
    return torch.cat(present).to(device) if present else None
