"""What has to be measured before training: s and its scale, and a warm critic."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch

from harness.config import UsageError
from harness.data.batches import Batch
from harness.loss import critic
from harness.loss.gap import difference, own_error, squared_distance
from harness.loss.objective import Losses
from harness.loss.scale import Scale, decisive_s
from harness.models.denoiser import Denoiser
from harness.runs import processes
from harness.runs.progress import bar

CALIBRATION_BATCHES = 8


class Measured(NamedTuple):
    """What is measured before training, and not again by a run that goes on."""

    scale: float
    """The scale's constant; for `auto` the one at which the median s is decisive for the divergence."""
    s: float = 0.0
    """The median, at that scale: what a retained prediction counts that has drifted by as much as it errs."""
    error: float = 0.0
    """The mean squared error of retained predictions of the noise; 0 where nothing is retained."""


@torch.no_grad()
def measured(scale: Scale, denoiser: Denoiser, losses: Losses, batches: Iterator[Batch], batch_size: int) -> Measured:
    """Measure s and retained predictions' own error.

    Args:
        scale: for `auto` with the official recipe's constant.
        denoiser: as it is before training.
        losses: say which s is decisive for each concept.
        batches: of all processes' rows together `batch_size` erase.
        batch_size: as in `--batch-size`.

    Raises:
        UsageError: target and anchor do not differ, or by more than numbers can hold.
    """
    s_of_batches, concept_of_batches, errors = [], [], []
    for _ in range(CALIBRATION_BATCHES):
        batch = next(batches)
        s_of_batches.append(squared_distance(difference(denoiser, scale, batch.erasing)))
        concept_of_batches.append(batch.concept)
        if len(batch.retaining.noisy):
            errors.append(own_error(denoiser, scale.path, batch.retaining))
    total = batch_size * CALIBRATION_BATCHES
    s = processes.gather(torch.cat(s_of_batches), total)
    concept = processes.gather(torch.cat(concept_of_batches), total)
    error = processes.gather(torch.cat(errors), total).mean().item() if errors else 0.0
    if not 0 < s.median() < math.inf:
        raise UsageError(f"target and anchor prompts differ by s = {s.median()}: nothing can be learnt from that")
    factor = 1.0
    if scale.kind == "auto":
        decisive = torch.tensor([decisive_s(loss) for loss in losses.gaussian], device=s.device)[concept]
        factor = 1 / (s / decisive).median().item()
    return Measured(scale.constant * factor, s.median().item() * factor, error)


def make_critic(
    losses: Losses, denoiser: Denoiser, scale: Scale, batches: Iterator[Batch], updates: int
) -> critic.CriticTrainer | None:
    """A critic after so many updates, for the variational objective; None for the closed form."""
    if losses.variational is None:
        return None
    batch = next(batches).erasing
    trainer = critic.CriticTrainer(losses.variational, context_of(batch))
    for _ in bar(range(updates // critic.UPDATES), "warm up the critic"):
        with torch.no_grad():
            gap = difference(denoiser, scale, batch)
        trainer.update(gap, context_of(batch), critic.UPDATES)
        batch = next(batches).erasing
    return trainer


def context_of(batch: Batch) -> critic.Context:
    """What a critic knows of the rows that erase."""
    rows = batch.erasing
    return critic.Context(rows.noisy, rows.timesteps, rows.trained.average[:, None])
