"""How far the pictures of prompts without the target's name have moved: what an over-eager erasure distorts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.judging.intervals.measure import Measure

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRAWS = 1000


@dataclass(frozen=True)
class Shift:
    """A total variation between what a judge sees of two models, and what chance alone would make of it."""

    value: float
    interval: tuple[float, float]
    chance: float

    @property
    def beyond_chance(self) -> Measure:
        """What is more than between equal models."""
        low, high = self.interval
        return Measure(self.value - self.chance, (low - self.chance, high - self.chance))

    def to_json(self) -> dict[str, Any]:
        """For metrics.json."""
        return {"total_variation": self.value, "interval": list(self.interval), "chance": self.chance}


def shift(values: Sequence[str], oracle: Sequence[str], prompts: Sequence[int], seed: int = 0) -> Shift:
    """Compare a judge's values of two models' pictures of the same prompts and seeds.

    The interval is the basic bootstrap's over prompts, each with the pairs of all its seeds, or over seeds where there
    is one prompt: it mirrors the draws' quantiles about the value, because a total variation that is drawn again comes
    out too large. Chance is its mean where the two of each pair are exchanged at random, as they may be between equal
    models.

    Args:
        values: of one model's n pictures.
        oracle: of the other's.
        prompts: the number of each pair's prompt.
        seed: of the draws.
    """
    ours, theirs = _one_hot(values, oracle)
    draws, groups = np.random.default_rng(seed), np.unique(prompts, return_inverse=True)[1]
    if not groups.any():
        groups = np.arange(len(values))
    member = groups == np.arange(groups.max() + 1)[:, None]  # (groups, pairs)
    signs = draws.choice([-1, 1], size=(DRAWS, len(values)))
    times = draws.multinomial(len(member), np.full(len(member), 1 / len(member)), size=DRAWS) @ member
    value = float(total_variation((ours - theirs).sum(0) / len(values)))
    again = total_variation(times @ (ours - theirs) / times.sum(1, keepdims=True))
    low, high = np.quantile(again, [0.025, 0.975]).tolist()
    chance = total_variation(signs @ (ours - theirs) / len(values)).mean()
    return Shift(value, (max(0.0, 2 * value - high), min(1.0, 2 * value - low)), float(chance))


def total_variation(differences: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Half the sum of |p - q| over the last axis, that of the values, of p - q."""
    return np.abs(differences).sum(-1) / 2


def _one_hot(*each: Sequence[str]) -> "list[NDArray[np.float64]]":
    """Of several lists of values 1 where a picture shows one, (pictures, values)."""
    every = sorted({value for values in each for value in values})
    return [np.array([[float(value == one) for one in every] for value in values]) for values in each]
