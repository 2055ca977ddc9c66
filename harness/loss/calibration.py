"""What has to be measured before training: the scale of s, and a warm critic."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from tqdm import trange

from harness.config import UsageError
from harness.data.batches import Batch
from harness.loss import critic
from harness.loss.gap import difference, squared_distance
from harness.loss.objective import Losses
from harness.loss.scale import Scale, decisive_s
from harness.models.denoiser import Denoiser
from harness.runs import processes

CALIBRATION_BATCHES = 8


@torch.no_grad()
def calibrated(unit: Scale, denoiser: Denoiser, losses: Losses, batches: Iterator[Batch], batch_size: int) -> Scale:
    """The scale at which the median s is the one that is decisive for the divergence.

    Args:
        unit: the scale of kind `auto` with the official recipe's constant.
        denoiser: as it is before training.
        losses: say which s is decisive for each concept.
        batches: of all processes' rows together `batch_size` erase.
        batch_size: as in `--batch-size`.

    Raises:
        UsageError: target and anchor do not differ, or by more than numbers can hold.
    """
    s_of_batches, concept_of_batches = [], []
    for _ in range(CALIBRATION_BATCHES):
        batch = next(batches).erasing
        s_of_batches.append(squared_distance(difference(denoiser, unit, batch)))
        concept_of_batches.append(batch.concept)
    total = batch_size * CALIBRATION_BATCHES
    s = processes.gather(torch.cat(s_of_batches), total)
    concept = processes.gather(torch.cat(concept_of_batches), total)
    if not 0 < s.median() < math.inf:
        raise UsageError(f"target and anchor prompts differ by s = {s.median()}: nothing can be learnt from that")
    decisive = torch.tensor([decisive_s(loss) for loss in losses.gaussian], device=s.device)[concept]
    return replace(unit, constant=unit.constant / (s / decisive).median().item())


def make_critic(
    losses: Losses, denoiser: Denoiser, scale: Scale, batches: Iterator[Batch], updates: int
) -> critic.CriticTrainer | None:
    """A critic after so many updates, for the variational objective; None for the closed form."""
    if losses.variational is None:
        return None
    batch = next(batches).erasing
    trainer = critic.CriticTrainer(losses.variational, context_of(batch))
    for _ in trange(updates // critic.UPDATES, desc="warm up the critic", disable=not updates):
        with torch.no_grad():
            gap = difference(denoiser, scale, batch)
        trainer.update(gap, context_of(batch), critic.UPDATES)
        batch = next(batches).erasing
    return trainer


def context_of(batch: Batch) -> critic.Context:
    """What a critic knows of the rows that erase."""
    rows = batch.erasing
    return critic.Context(rows.noisy, rows.timesteps, rows.trained.prompt_embeds)
