"""What a metric is, what it is computed from, and the registry of all there are.

A file of `metrics` has a `METRIC`. Its name is the key in metrics.json, its short name is what `--stop-when` and tables
call it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.discovery import modules
from harness.judging.intervals import measure
from harness.judging.intervals.measure import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from harness.data.inception import Inception
    from harness.judging.judge import Judge, TextJudge
    from harness.judging.panel import Panel

METRICS = "harness.judging.metrics"


class Cosines(NamedTuple):
    """Of n pictures under a judge that reads texts, (n,) each."""

    named: "Tensor"
    """With the name of what the prompt names."""
    other: "Tensor"
    """The largest with another word of the same axis."""
    rows: "Tensor"
    """Of the panel, whose pictures they are."""


@dataclass(frozen=True)
class Judged:
    """A panel's pictures under a judge: all that a metric may look at."""

    pictures: "Tensor"
    """(prompts, 3, H, W) in [0, 1]."""
    original_pictures: "Tensor"
    """The original model's of the same prompts and seeds, shaped likewise."""
    panel: "Panel"
    """With labels."""
    judge: "Judge"
    original: "Tensor"
    """Features of the original model's pictures of the same prompts and seeds, (retained, d)."""
    inception: "Inception | None" = None
    """With the user's weights, for KID."""

    @cached_property
    def right(self) -> "Tensor":
        """1 where the judge sees the value that the prompt names, else 0, (prompts, axes) in fp32."""
        return self.panel.agreement(self.judge.values(self.pictures))

    @cached_property
    def features(self) -> "Tensor":
        """Of the retained pictures, (retained, d)."""
        return self.judge.features(self.pictures[self.panel.retained :])

    def share(self, answers: "Tensor", rows: "Tensor") -> Measure | None:
        """The mean of n answers in [0, 1], of which `rows` (n,) of the panel each is; None for none."""
        return measure.share(answers.tolist(), self._prompts(rows))

    def mean(self, values: "Tensor", rows: "Tensor") -> Measure | None:
        """The mean of n values, (n,), likewise."""
        return measure.mean(values, self._prompts(rows))

    def _prompts(self, rows: "Tensor") -> list[int]:
        numbers = self.panel.numbers
        return [numbers[row] for row in rows.tolist()]

    @property
    def reader(self) -> "TextJudge | None":
        """The judge, if it reads texts too."""
        from harness.judging.judge import TextJudge

        return self.judge if isinstance(self.judge, TextJudge) else None

    @cached_property
    def target_cosines(self) -> Cosines | None:
        """Of the pictures of the targets' prompts; None for a judge that reads no texts."""
        if self.reader is None:
            return None
        return self._cosines(self.reader, self.reader.features(self.pictures[: self.panel.targets]), 0)

    @cached_property
    def retained_cosines(self) -> Cosines | None:
        """Of the pictures of the retained prompts; None for a judge that reads no texts."""
        return None if self.reader is None else self._cosines(self.reader, self.features, self.panel.retained)

    def _cosines(self, reader: "TextJudge", features: "Tensor", start: int) -> Cosines:
        """Of the rows of a panel from `start` on, from their features (n, d)."""
        import torch

        words = [word for each in reader.words.axes.values() for word in each]
        cosines = features @ reader.text_features([reader.words.name(word) for word in words]).T
        rows = self.panel.rows[start : start + len(features)]
        own = torch.tensor([[word == row.named for word in words] for row in rows])
        beside = [reader.words.axes[reader.words.axis_of(row.named)] for row in rows]
        other = torch.tensor([[word in each for word in words] for each in beside]) & ~own
        places = torch.arange(start, start + len(features))
        return Cosines(cosines[own], cosines.masked_fill(~other, -torch.inf).amax(1), places)


@dataclass(frozen=True)
class Metric:
    """One metric."""

    name: str
    short: str
    formula: str
    source: str
    higher_is_better: bool
    of_retained: bool
    """Whether it measures what is kept, rather than what is erased."""
    is_share: bool
    """Whether it is one of the shares of answers, from 0 to 1, that `--stop-when` can ask for."""
    order: int
    """Where it stands in tables: lower ones first."""
    measure: Callable[[Judged], Measure | None]
    """None where the panel has nothing to measure it on."""
    in_collateral_gap: bool = False
    """Whether it is an accuracy of what is kept, whose loss counts in the collateral gap and the verdict."""


def metrics() -> list[Metric]:
    """Every metric there is, in the order of tables."""
    return sorted((module.METRIC for module in modules(METRICS)), key=lambda metric: metric.order)


def metric_rows(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The metrics among the content of metrics.json, in the order of tables."""
    return {metric.name: content[metric.name] for metric in metrics() if metric.name in content}
