"""What is measured while a model trains, and when to stop early: conditions, and a budget for what may be lost."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from harness.config import Config, UsageError
from harness.judging.metric import Judged, Metric, metrics
from harness.judging.metrics import cross_domain_retain_accuracy
from harness.judging.panel import SEED, Panel
from harness.runs import processes

if TYPE_CHECKING:
    from torch import Tensor

    from harness.judging.references import Draw, References

NUMBER = r"(1(?:\.0*)?|0|0?\.\d+)"
STRIDE = 5
"""Every so many prompts of the panel are sampled for a decision."""


class Watched(NamedTuple):
    """What was found of the model at a step."""

    shares: dict[str, float]
    """By short name; empty at a step where nothing was measured."""
    reason: str
    """To stop there; empty without one."""


NOTHING = Watched({}, "")
Watch = Callable[[int], Watched]
"""Is asked after every step, by its number."""


def shares() -> dict[str, Metric]:
    """What a condition may ask for, by short name."""
    return {metric.short: metric for metric in metrics() if metric.is_share}


@dataclass(frozen=True)
class StopRule:
    """Stop once every condition holds, or once a retain accuracy has lost more than the budget."""

    conditions: Mapping[str, float]
    """The least value, by metric."""
    budget: float
    every: int
    """Steps between two evaluations."""

    @classmethod
    def of(cls, options: Config, axes: int) -> "StopRule | None":
        """Read `--stop-when`, "UA>=0.95,IRA>=0.9"; with `--watch` alone a rule that never stops, else None.

        Args:
            options: of the run.
            axes: on how many a judge can tell words apart; 0 without one.

        Raises:
            UsageError: another form, no judge, or CRA with a single axis.
        """
        if not options.stop_when:
            return cls._without_conditions(options, axes) if options.watch else None
        names = shares()
        condition = re.compile(rf"\s*({'|'.join(names)})\s*>=\s*{NUMBER}\s*")
        found = [condition.fullmatch(part) for part in options.stop_when.split(",")]
        if not all(found):
            raise UsageError(
                f'--stop-when {options.stop_when!r}: expected conditions such as "UA>=0.95,IRA>=0.9": '
                f"{', '.join(names)}, then >= and a number from 0 to 1, with commas between them"
            )
        _check_judged("--stop-when", axes)
        conditions = {names[match[1]].name: float(match[2]) for match in found if match}
        if len(conditions) < len(found):
            raise UsageError(f"--stop-when {options.stop_when!r}: asks for the same metric twice")
        if axes == 1 and cross_domain_retain_accuracy.METRIC.name in conditions:
            raise UsageError(
                f"--stop-when {options.stop_when!r}: CRA is of other axes than the target's, and there is none"
            )
        return cls(conditions, options.retention_budget, options.evaluate_every)

    @classmethod
    def _without_conditions(cls, options: Config, axes: int) -> "StopRule":
        _check_judged("--watch", axes)
        return cls({}, math.inf, options.evaluate_every)

    def reason(self, now: Mapping[str, float], original: Mapping[str, float]) -> str:
        """Why to stop at these metrics; empty if there is no reason."""
        shown = [metric for metric in shares().values() if metric.name in now]
        values = ", ".join(f"{metric.short} {now[metric.name]:.3f}" for metric in shown)
        kept = [metric for metric in shown if metric.of_retained]
        lost = [metric.short for metric in kept if now[metric.name] < original[metric.name] - self.budget]
        if lost:
            return f"{' and '.join(lost)} lost more than the retention budget of {self.budget}: {values}"
        if self.conditions and all(now.get(metric, 0.0) >= least for metric, least in self.conditions.items()):
            return f"the conditions hold: {values}"
        return ""


def _check_judged(flag: str, axes: int) -> None:
    """UsageError for an option that needs a judge where there is none."""
    if not axes:
        raise UsageError(
            f"{flag}: this model's folder holds no judge and no vocabulary.json to measure with; --judge names a judge"
        )


def watch(rule: StopRule | None, panel: Panel, references: "References", draw: "Draw") -> Watch | None:
    """A function of the step that measures the model, if it is time to, and may stop; None without a rule or a judge.

    Args:
        rule: what to stop for, and how often to look.
        panel: of which a part is sampled.
        references: the original's pictures and the judge.
        draw: samples the model as it is at the step.
    """
    judge, features = references.judge, references.features
    if rule is None or judge is None or features is None:
        return None
    places, part = panel.every(STRIDE)

    def means(pictures: "Tensor") -> dict[str, float]:
        judged = Judged(pictures, references.original[places], part, judge, features)
        found = {metric.name: metric.measure(judged) for metric in shares().values()}
        return {name: measure.value for name, measure in found.items() if measure is not None}

    original = means(references.original[places])

    def watched(step: int) -> Watched:
        if step % rule.every:
            return NOTHING
        pictures = draw(part.prompts, SEED, f"evaluate at step {step}")
        now = processes.on_main(lambda: means(pictures))
        why = rule.reason(now, original)
        shown = {metric.short: now[metric.name] for metric in shares().values() if metric.name in now}
        return Watched(shown, why and f"{why}, on {len(places)} of {len(panel.prompts)} prompts")

    return watched
