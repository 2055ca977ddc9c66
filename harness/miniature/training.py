"""The one loop that trains every part of the miniature."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import trange


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


def train(
    parameters: Iterable[nn.Parameter],
    loss: Callable[[], Tensor],
    schedule: Schedule,
    desc: str,
    after: Callable[[], object] = lambda: None,
) -> None:
    """Move parameters down a loss.

    Args:
        parameters: what trains.
        loss: of a fresh batch, a scalar.
        schedule: of the steps.
        desc: what the progress bar says.
        after: called after each step.
    """
    trained = list(parameters)
    optimizer = torch.optim.AdamW(trained, lr=schedule.learning_rate, weight_decay=0.01)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, schedule.learning_rate, total_steps=schedule.steps, pct_start=schedule.rising
    )
    bar = trange(schedule.steps, desc=desc)
    for _ in bar:
        value = loss()
        optimizer.zero_grad()
        value.backward()
        if schedule.clip:
            nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        rates.step()
        after()
        bar.set_postfix(loss=f"{value.item():.4f}", refresh=False)
