"""Pictures noised up to some time step of the schedule, and finished from there by the sampler of all pictures."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harness.config import Config
from harness.models.family import Conditioning, Family
from harness.models.sampler import with_steps
from harness.runs import processes
from harness.runs.progress import bar


@torch.no_grad()
def finish(
    model: Family, clean: Tensor, fraction: float, prompts: Sequence[Conditioning], unconditional: Conditioning,
    options: Config, seed: int,
) -> Tensor:  # fmt: skip
    """Noise latents up to a part of the schedule and let the model denoise them (SDEdit, 2108.01073).

    Args:
        model: finishes them.
        clean: latents, (n, c, h, w).
        fraction: of the schedule, from 0, clean, to 1, noise; the sampler's time step nearest to it is taken.
        prompts: the conditioning of each, without a leading n.
        unconditional: that of the empty prompt, without a leading n.
        options: number of steps of a whole sampling, guidance, batch size and arithmetic.
        seed: of the noise, one for each picture in turn.

    Returns:
        Latents (n, c, h, w).
    """
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)).to(clean)
    ours = processes.share(list(range(len(clean))), padded=True)
    size = 2 * options.batch_size
    results = []
    with model.arithmetic(options.precision):
        for start in bar(range(0, len(ours), size), f"finish from {fraction:g} T"):
            rows = ours[start : start + size]
            given = Conditioning.stack([prompts[row] for row in rows])
            nothing = Conditioning.stack([unconditional] * len(rows))
            results.append(_denoise(model, clean[rows], noise[rows], fraction, (given, nothing), options).float())
    return processes.gather(torch.cat(results).contiguous(), len(clean))


@torch.no_grad()
def decode(model: Family, latents: Tensor, options: Config) -> Tensor:
    """Latents (n, c, h, w) as pictures (n, 3, H, W) in [0, 1], on the CPU."""
    ours = processes.share(list(range(len(latents))), padded=True)
    with model.drawing(), model.arithmetic(options.precision):
        parts = [model.decode(part).float().cpu() for part in latents[ours].split(2 * options.batch_size)]
    return processes.gather(torch.cat(parts), len(latents))


def _denoise(
    model: Family, clean: Tensor, noise: Tensor, fraction: float, both: tuple[Conditioning, Conditioning],
    options: Config,
) -> Tensor:  # fmt: skip
    """Latents (n, c, h, w) of one batch; `both` are the conditionings with and without the prompts."""
    scheduler = with_steps(model, options.sampling_steps, clean.device)
    wanted = fraction * scheduler.config.num_train_timesteps
    begin = int((scheduler.timesteps.float() - wanted).abs().argmin())
    timesteps = scheduler.timesteps[begin:]  # of which a solver of second order makes the first alone by first order
    latents = _noised(scheduler, clean, noise, timesteps[:1].expand(len(clean)))
    for timestep in timesteps:
        # a flow's schedulers do not scale what the model sees
        scaled = hasattr(scheduler, "scale_model_input")
        noisy = scheduler.scale_model_input(latents, timestep) if scaled else latents
        output = guided(model, noisy, timestep.expand(len(noisy)), both, options.guidance_scale)
        latents = scheduler.step(output, timestep, latents).prev_sample
    return latents


def _noised(scheduler: Any, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Latents with noise put on as the scheduler does; that of a flow has another name for it."""
    if hasattr(scheduler, "add_noise"):
        return scheduler.add_noise(clean, noise, timesteps)
    return scheduler.scale_noise(clean, timesteps, noise)


def guided(
    model: Family, noisy: Tensor, timesteps: Tensor, both: tuple[Conditioning, Conditioning], guidance_scale: float
) -> Tensor:
    """The raw output at x_t (n, c, h, w) and t (n,), guided from the second of two conditionings to the first."""
    given, nothing = both
    output = model.predict(model.network, noisy, timesteps, given)
    if guidance_scale > 1 and model.guides(model.pipeline.config):
        base = model.predict(model.network, noisy, timesteps, nothing)
        output = model.guided(output, base, guidance_scale)
    return output
