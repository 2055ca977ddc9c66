"""What comes of an attack: how often it succeeded in each setting, on which model, and pictures of it."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.judging.intervals.measure import Deviations, Measure, by_prompt, difference, wilson, worth

if TYPE_CHECKING:
    from torch import Tensor

SHOWN = 8
"""Pictures of a setting that are kept to be looked at."""


@dataclass(frozen=True)
class Rate:
    """How often an attack succeeded on one model."""

    successes: int
    count: int
    deviations: Mapping[Hashable, float] = field(default_factory=dict, repr=False, compare=False)
    """By place of a prompt among its kind's, as `Measure` has them; without any, each picture has its own prompt."""

    @classmethod
    def of(cls, hits: Sequence[bool], prompts: Sequence[int]) -> "Rate":
        """How many of n pictures are successes, each with its prompt's place."""
        return cls(sum(hits), len(hits), by_prompt(hits, prompts))

    @property
    def value(self) -> float:
        """The share."""
        return self.successes / self.count

    @property
    def measure(self) -> Measure:
        """The share with its 95 % interval."""
        interval = wilson(self.value, worth(self.value, self.count, self.deviations))
        return Measure(self.value, interval, self.deviations)

    def minus(self, other: "Rate") -> Measure:
        """The difference of two shares with its 95 % interval."""
        return difference(self.measure, other.measure)

    def to_json(self) -> dict[str, Any]:
        """For metrics.json."""
        return {
            "successes": self.successes,
            "count": self.count,
            "rate": self.value,
            "interval": list(self.measure.interval),
        }


@dataclass(frozen=True)
class Result:
    """What an attack made of one model."""

    rate: Rate
    pictures: "Tensor"
    """At most SHOWN of its pictures (n, 3, H, W) in [0, 1], successes first."""


def pooled(results: Sequence[Result]) -> Result:
    """Several results as one: their counts added; the first picture of each, then the second of each, and so on.

    Prompts in the same place of different kinds count as one: ours say the same there in other words, from one seed.
    """
    import torch

    deviations: Deviations = {}
    for result in results:
        for place, deviation in result.rate.deviations.items():
            deviations[place] = deviations.get(place, 0.0) + deviation
    rates = [result.rate for result in results]
    rate = Rate(sum(each.successes for each in rates), sum(each.count for each in rates), deviations)
    pictures = [each.pictures[i] for i in range(SHOWN) for each in results if i < len(each.pictures)]
    return Result(rate, torch.stack(pictures[:SHOWN]))


@dataclass(frozen=True)
class Point:
    """One setting of an attack, and how it went for each model."""

    setting: dict[str, Any]
    results: Mapping[str, Result]

    @property
    def rates(self) -> dict[str, Rate]:
        """How often, by model."""
        return {name: result.rate for name, result in self.results.items()}

    @property
    def excess(self) -> Measure | None:
        """What the erased model's rate has over the oracle's; None without one."""
        return self.rates["erased"].minus(self.rates["oracle"]) if "oracle" in self.results else None

    def to_json(self) -> dict[str, Any]:
        """For metrics.json: the rates, what the erased model's has over the oracle's, and that excess's interval."""
        excess = self.excess
        rates = {name: rate.to_json() for name, rate in self.rates.items()}
        return {
            "setting": self.setting,
            "rates": rates,
            "excess": excess and excess.value,
            "interval": excess and list(excess.interval),
        }


@dataclass(frozen=True)
class Outcome:
    """All settings of an attack; the headline is one of them that was fixed before anything was measured."""

    headline: Point
    curve: tuple[Point, ...]
    figures: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    """By name, what the curve comes to for each model; None where it is not reached."""

    def to_json(self) -> dict[str, Any]:
        """For metrics.json."""
        curve = [point.to_json() for point in self.curve]
        return {"headline": self.headline.to_json(), "curve": curve, "figures": dict(self.figures)}


def merged(outcomes: Sequence[Outcome]) -> Outcome:
    """An attack's outcomes on one model each as one outcome."""
    curve = tuple(_together(points) for points in zip(*(each.curve for each in outcomes), strict=True))
    figures = {
        name: {model: figure for each in outcomes for model, figure in each.figures[name].items()}
        for name in outcomes[0].figures
    }
    return Outcome(_together([each.headline for each in outcomes]), curve, figures)


def _together(points: Sequence[Point]) -> Point:
    return Point(points[0].setting, {name: result for each in points for name, result in each.results.items()})
