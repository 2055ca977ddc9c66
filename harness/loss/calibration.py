"""What has to be measured before training: the scale of s, the time steps that matter, and a warm critic."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from tqdm import trange

from harness.config import Config, UsageError
from harness.data import latents
from harness.loss import critic
from harness.loss.objective import Losses, Scale, decisive_s, squared_distance, unit_constant
from harness.loss.timesteps import BINS, TimestepSampler, bins
from harness.models import load as models
from harness.models.denoiser import Denoiser
from harness.models.path import NoiseSchedule
from harness.runs import processes

CALIBRATION_BATCHES = 8


def difference(denoiser: Denoiser, scale: Scale, batch: latents.Batch) -> Tensor:
    """(mu_Q - mu_P) / sigma of a batch, with the trained prediction's graph, (n, c, h, w)."""
    n, erasing = batch.targets, batch.erasing
    frozen = denoiser.frozen_denoiser(batch.noisy, batch.timesteps, batch.frozen)
    if batch.guidance != 1:
        nothing = models.Conditioning.cat([batch.unconditional] * n)
        base = denoiser.frozen_denoiser(erasing.noisy, erasing.timesteps, nothing)
        frozen = torch.cat([base + batch.guidance * (frozen[:n] - base), frozen[n:]])
    trained = denoiser(batch.noisy, batch.timesteps, batch.trained)
    noise_p, noise_q = (
        scale.schedule.noise_prediction(output, batch.noisy, batch.timesteps) for output in (frozen, trained)
    )
    gap = scale.difference(noise_p, noise_q, batch.timesteps)
    return gap if batch.mask is None else torch.cat([gap[:n] * batch.mask, gap[n:]])


@dataclass(frozen=True)
class Objective:
    """What a step minimises."""

    losses: Losses
    scale: Scale
    sampler: TimestepSampler
    retain_method: str
    retain_weight: float


def sampler(schedule: NoiseSchedule, options: Config) -> TimestepSampler:
    """The one that needs no calibration; UsageError for a window without time steps."""
    return TimestepSampler(schedule, options.timestep_window, options.timestep_weight)


@torch.no_grad()
def calibrate(
    denoiser: Denoiser, sampled: latents.Sampled, losses: Losses, schedule: NoiseSchedule, options: Config,
    noise: torch.Generator,
) -> Objective:  # fmt: skip
    """The objective that a run asks for, with what has to be measured before training.

    `auto` puts the median s at the s that is decisive for the divergence, `binned` does so in each bin of the time
    steps, and importance sampling takes each bin's mean length of the gradient as its mass.
    """
    uniform = sampler(schedule, options)
    unit = unit_constant(sampled.anchor_latents)
    scale = Scale(options.scale, schedule, (unit,))
    by_bin = options.scale == "binned" or options.timestep_sampling == "importance"
    if options.scale in ("auto", "binned") or by_bin:
        drawn = latents.batches(sampled, schedule, uniform, options, noise)
        seen = [next(drawn).erasing for _ in range(CALIBRATION_BATCHES * (4 if by_bin else 1))]
        ours = [(squared_distance(difference(denoiser, scale, each)), each.concept, each.timesteps) for each in seen]
        total = options.batch_size * len(seen)
        raw, concept, timesteps = (processes.gather(torch.cat(each), total) for each in zip(*ours, strict=True))
        decisive = torch.tensor([decisive_s(loss) for loss in losses.gaussian], device=raw.device)[concept]
        place = bins(timesteps, schedule.timesteps)
        if not 0 < raw.median() < math.inf:
            raise UsageError(f"target and anchor prompts differ by s = {raw.median()}: nothing can be learnt from that")
        if options.scale == "auto":
            scale = Scale("auto", schedule, (unit / (raw / decisive).median().item(),))
        elif options.scale == "binned":
            scale = Scale("binned", schedule, tuple(unit / each for each in _by_bin(raw / decisive, place, "median")))
    masses = None
    if options.timestep_sampling == "importance":
        s = raw if options.scale == "posterior" else raw * scale.precision(timesteps) / unit
        weight = losses.relative_weight(s, concept)
        pull = s.sqrt() * scale.precision(timesteps).sqrt() * (1 if weight is None else weight)
        pull *= torch.tensor(losses.weights, device=pull.device)[concept]
        masses = torch.tensor(_by_bin(pull * uniform.weights(timesteps), place, "mean"))
    return Objective(losses, scale, replace(uniform, masses=masses), options.retain_method, options.retain_weight)


def _by_bin(values: Tensor, place: Tensor, statistic: str) -> list[float]:
    """The median or mean in each bin; where there is none, that of all."""
    whole = getattr(values, statistic)().item()
    parts = [values[place == i] for i in range(BINS)]
    return [getattr(part, statistic)().item() or whole if len(part) else whole for part in parts]


def make_critic(
    losses: Losses, denoiser: Denoiser, scale: Scale, drawn: Iterator[latents.Batch], warm_up: int
) -> critic.CriticTrainer | None:
    """A critic after `warm_up` updates, for the variational objective."""
    if losses.variational is None:
        return None
    batch = next(drawn).erasing
    trainer = critic.CriticTrainer(losses.variational, batch.context)
    for _ in trange(warm_up // critic.UPDATES, desc="warm up the critic", disable=not warm_up):
        with torch.no_grad():
            gap = difference(denoiser, scale, batch)
        trainer.update(gap, batch.context, critic.UPDATES)
        batch = next(drawn).erasing
    return trainer
