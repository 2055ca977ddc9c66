"""A model fine-tuned for a while on a few pictures with captions, and put back as it was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.models.denoiser import Denoiser
from harness.models.family import Conditioning, Family


@dataclass(frozen=True)
class Captioned:
    """Pictures, and what they are called."""

    latents: Tensor
    """(n, c, h, w)"""
    conditioning: Conditioning
    """Of n captions."""


@dataclass(frozen=True)
class Tuning:
    """What trains, and how fast."""

    parameter_group: str
    """Of the family."""
    learning_rate: float
    """AdamW's."""
    rank: int = 8
    """Of adapters."""


@contextmanager
def fine_tuned(
    model: Family, tuning: Tuning, given: Captioned, precision: str, seed: int
) -> Iterator[Callable[[int], list[float]]]:
    """Within this, fine-tune; before and after it, the model has the same weights, bit for bit.

    A step minimises the mean of |epsilon - epsilon_theta(x_t, t, caption)|^2 over all the pictures given, each with
    fresh noise and at a fresh time step.

    Args:
        model: trained in place.
        tuning: what trains.
        given: to train on.
        precision: of the forward pass.
        seed: of noise, time steps and adapters, so that every model learns from the same.

    Yields:
        A function that takes so many steps more, and gives the loss of each.

    Raises:
        UsageError: the parameter group selects no weight.
    """
    flags = {name: parameter.requires_grad for name, parameter in model.network.named_parameters()}
    device = model.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # not all GPUs, of which it would warn
        torch.manual_seed(seed)
        denoiser = Denoiser(model, tuning.parameter_group, precision, tuning.rank)
    optimizer = torch.optim.AdamW(denoiser.trained.values(), lr=tuning.learning_rate, weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    try:
        yield lambda steps: [_step(denoiser, optimizer, given, generator) for _ in range(steps)]
    finally:
        denoiser.restore()
        for name, parameter in model.network.named_parameters():
            parameter.requires_grad_(flags[name]).grad = None


def _step(denoiser: Denoiser, optimizer: torch.optim.Optimizer, given: Captioned, generator: torch.Generator) -> float:
    clean, path = given.latents, denoiser.model.path()
    noise = torch.randn(clean.shape, generator=generator).to(clean)
    timesteps = torch.randint(path.timesteps, (len(clean),), generator=generator).to(clean.device)
    noisy = path.add_noise(clean, noise, timesteps)
    output = denoiser(noisy, timesteps, given.conditioning)
    loss = (path.noise_prediction(output, noisy, timesteps) - noise).square().mean()
    trained = list(denoiser.trained.values())
    for parameter, gradient in zip(trained, torch.autograd.grad(loss, trained), strict=True):
        parameter.grad = gradient
    optimizer.step()
    return loss.item()
