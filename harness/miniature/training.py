"""The one loop that trains every part of the miniature."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from tqdm import trange

from harness.runs.folder import written_whole

KEEP_EVERY = 250
"""Steps after which a long training is kept."""


@dataclass(frozen=True)
class Schedule:
    """How long, and how fast: AdamW under one cycle of the learning rate."""

    steps: int
    learning_rate: float
    """The highest."""
    rising: float = 0.3
    """Part of the steps in which the learning rate rises."""
    clip: bool = False
    """Whether gradients are cut down to a norm of 1."""


@dataclass(frozen=True)
class Long:
    """What a training of hours needs besides: an average of its weights, and a file to go on from bit for bit."""

    file: Path
    """Where it is kept, and goes on from if that stands."""
    generator: torch.Generator
    """All that its batches are drawn with."""
    average: EMAModel
    """Of the weights, stepped with them."""

    def save(self, step: int, parts: dict[str, Any], trained: Sequence[Tensor]) -> None:
        """Replace the file by one of so many steps done."""
        whole = self.file.with_suffix(".partial")
        states = {name: part.state_dict() for name, part in (parts | {"average": self.average}).items()}
        weights = [each.detach() for each in trained]
        torch.save({"step": step, "weights": weights, "drawn": self.generator.get_state(), **states}, whole)
        os.replace(whole, self.file)

    def restore(self, parts: dict[str, Any], trained: Sequence[Tensor]) -> int:
        """Put back what the file holds; how many steps were done."""
        if not self.file.is_file():
            return 0
        kept = torch.load(self.file, map_location="cpu", weights_only=True)
        for name, part in (parts | {"average": self.average}).items():
            part.load_state_dict(kept[name])
        self.average.to(trained[0].device)
        with torch.no_grad():
            for weight, value in zip(trained, kept["weights"], strict=True):
                weight.copy_(value)
        self.generator.set_state(kept["drawn"])
        return kept["step"]


def train_denoiser(
    network: ModelMixin, loss: Callable[[], Tensor], schedule: Schedule, generator: torch.Generator, folder: Path
) -> None:
    """Train a denoiser, average its weights, and write them in half precision; it goes on where it was interrupted.

    Args:
        network: what trains.
        loss: as below.
        schedule: of the steps.
        generator: all that the batches of the loss are drawn with.
        folder: to write; what an interrupted training goes on from lies beside it.
    """
    average = EMAModel(network.parameters(), decay=0.9995, use_ema_warmup=True, power=0.75)
    long = Long(folder.with_suffix(".resume"), generator, average)
    train(network.parameters(), loss, schedule, folder.name, long)
    with written_whole(folder) as part:
        network.half().save_pretrained(part)
    long.file.unlink(missing_ok=True)


def train(
    parameters: Iterable[nn.Parameter],
    loss: Callable[[], Tensor],
    schedule: Schedule,
    desc: str,
    long: Long | None = None,
) -> None:
    """Move parameters down a loss.

    Args:
        parameters: what trains.
        loss: of a fresh batch, a scalar.
        schedule: of the steps.
        desc: what the progress bar says.
        long: how it is kept and averaged; it ends with the average in the place of the weights.
    """
    trained = list(parameters)
    optimizer = torch.optim.AdamW(trained, lr=schedule.learning_rate, weight_decay=0.01)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, schedule.learning_rate, total_steps=schedule.steps, pct_start=schedule.rising
    )
    parts = {"optimizer": optimizer, "rates": rates}
    start = long.restore(parts, trained) if long else 0
    bar = trange(start, schedule.steps, initial=start, total=schedule.steps, desc=desc)
    for step in bar:
        value = loss()
        optimizer.zero_grad()
        value.backward()
        if schedule.clip:
            nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        rates.step()
        if long:
            long.average.step(trained)
            if (step + 1) % KEEP_EVERY == 0:
                long.save(step + 1, parts, trained)
        bar.set_postfix(loss=f"{value.item():.4f}", refresh=False)
    if long:
        long.average.copy_to(trained)
