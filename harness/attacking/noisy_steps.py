"""Sampling with more noise in each step than the reverse process has, as the noise probe does (2505.17013)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from harness.config import Config
from harness.data.finish import guided
from harness.models.family import Conditioning, Family
from harness.models.path import FLOW, GaussianPath
from harness.models.sampler import with_steps
from harness.runs.progress import bar


@dataclass(frozen=True)
class StepNoise:
    """The noise that each step adds; eta 1 with scale 1 is DDPM's."""

    eta: float
    """DDIM's, a factor on the standard deviation of the posterior; above 1 it is more than any exact sampler adds."""
    scale: float
    """A factor on the noise once drawn, of which the rest of the step knows nothing."""
    seed: int
    """Of which every picture gets one of its own, so it does not depend on the batch it is in."""


@torch.no_grad()
def sample_noisily(
    model: Family, start: Tensor, both: tuple[Conditioning, Conditioning], noise: StepNoise, options: Config
) -> Tensor:
    """Sample with guidance by DDIM's steps, whatever the pipeline's own sampler is.

    Args:
        model: samples.
        start: standard normal latents, (n, c, h, w).
        both: the conditionings of the n prompts, and of n empty ones.
        noise: of each step.
        options: number of steps, guidance, batch size and arithmetic.

    Returns:
        Pictures (n, 3, H, W) in [0, 1], on the CPU.
    """
    seeds = torch.randint(2**62, (len(start),), generator=torch.Generator().manual_seed(noise.seed)).tolist()
    size = 2 * options.batch_size
    results = []
    with model.drawing(), model.arithmetic(options.precision):
        for begin in bar(range(0, len(start), size), f"eta {noise.eta:g}, noise times {noise.scale:g}"):
            rows = slice(begin, begin + size)
            generators = [torch.Generator().manual_seed(seed) for seed in seeds[rows]]
            batch = both[0][rows], both[1][rows]
            latents = _denoise(model, start[rows], batch, noise, options, generators)
            results.append(model.decode(latents).float().cpu())
    return torch.cat(results)


def _denoise(
    model: Family, latents: Tensor, both: tuple[Conditioning, Conditioning], noise: StepNoise, options: Config,
    generators: Sequence[torch.Generator],
) -> Tensor:  # fmt: skip
    """Latents (n, c, h, w) of one batch, by equations 12 and 16 of DDIM (2010.02502).

    With eta above 1 the variance that a step adds can exceed all that the path has at the next time. As the probe's
    authors do, the absolute value of the difference is taken then: there is more noise than the model expects.
    """
    path = model.path()
    timesteps, kept = _schedule(model, path, options.sampling_steps)
    for timestep, ((signal, deviation), (clear, left)) in zip(timesteps, pairwise(kept), strict=True):
        at = torch.full((len(latents),), timestep, device=latents.device)
        output = guided(model, latents, at, both, options.guidance_scale)
        clean, predicted = (read(output, latents, at) for read in (path.clean_prediction, path.noise_prediction))
        # equation 16 is the variance of the path's posterior: of x_s given x_t and x_0
        variance = noise.eta**2 * left**2 * (1 - (signal * left / (deviation * clear)) ** 2)
        fresh = torch.stack([torch.randn(latents.shape[1:], generator=each) for each in generators]).to(latents)
        mean = clear * clean + abs(left**2 - variance) ** 0.5 * predicted
        latents = mean + noise.scale * variance**0.5 * fresh
    return latents


def _schedule(model: Family, path: GaussianPath, steps: int) -> tuple[list[int], list[tuple[float, float]]]:
    """Time steps, and signal and deviation at each and where the last one leads: DDIM's, or a flow's own sampler's."""
    given = model.pipeline.scheduler.config
    if path.prediction_type == FLOW:
        scheduler = with_steps(model, steps)
        timesteps = scheduler.timesteps.round().long()
        at = torch.cat([timesteps, timesteps.new_zeros(1)]).to(path.device)
        pairs = zip(path.signal[at].tolist(), path.deviation[at].tolist(), strict=True)
        return timesteps.tolist(), list(pairs)
    ddim = DDIMScheduler.from_config(given)
    ddim.set_timesteps(steps)
    kept = [*ddim.alphas_cumprod[ddim.timesteps].tolist(), float(ddim.final_alpha_cumprod)]
    return ddim.timesteps.tolist(), [(share**0.5, (1 - share) ** 0.5) for share in kept]
