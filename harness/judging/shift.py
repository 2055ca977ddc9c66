"""How far the pictures of prompts without the target's name have moved: what an over-eager erasure distorts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.judging.metric import Measure

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


def total_variation(values: Sequence[str], others: Sequence[str]) -> float:
    """Half the sum of |p - q| over the values that a judge sees in n pictures of one model and m of another."""
    p, q = Counter(values), Counter(others)
    return sum(abs(p[value] / len(values) - q[value] / len(others)) for value in p.keys() | q.keys()) / 2


def shift(values: Sequence[str], oracle: Sequence[str], seed: int = 0) -> Shift:
    """Compare a judge's values of two models' pictures of the same prompts and seeds.

    The interval is the basic bootstrap's over pairs, which mirrors the draws' quantiles about the value, because a
    total variation that is drawn again comes out too large. Chance is its mean where the two of each pair are exchanged
    at random, as they may be between equal models.
    """
    pairs, draws, count = np.array([values, oracle]), np.random.default_rng(seed), len(values)
    again, exchanged = [], []
    for _ in range(DRAWS):
        again.append(total_variation(*pairs[:, draws.integers(count, size=count)].tolist()))
        exchanged.append(total_variation(*np.where(draws.random(count) < 0.5, pairs, pairs[::-1]).tolist()))
    value = total_variation(values, oracle)
    low, high = (float(each) for each in np.quantile(again, [0.025, 0.975]))
    return Shift(value, (max(0.0, 2 * value - high), min(1.0, 2 * value - low)), float(np.mean(exchanged)))
