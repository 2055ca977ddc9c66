"""When to stop early: conditions on the metrics, and a budget for what may be lost."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from harness.config import Config, UsageError
from harness.judging.panel import METRICS

NAMES = dict(zip(("UA", "IRA", "CRA"), METRICS, strict=False))
CONDITION = re.compile(rf"\s*({'|'.join(NAMES)})\s*>=\s*(1(?:\.0*)?|0|0?\.\d+)\s*")
STRIDE = 5
"""Every so many prompts of the panel are sampled for a decision."""


@dataclass(frozen=True)
class StopRule:
    """Stop once every condition holds, or once a retain accuracy has lost more than the budget."""

    conditions: Mapping[str, float]
    """The least value, by metric."""
    budget: float
    every: int
    """Steps between two evaluations."""

    @classmethod
    def of(cls, options: Config, judged: bool) -> "StopRule | None":
        """Read `--stop-when`, "UA>=0.95,IRA>=0.9"; None without one.

        Raises:
            UsageError: another form, or a model without a judge.
        """
        if not options.stop_when:
            return None
        found = [CONDITION.fullmatch(part) for part in options.stop_when.split(",")]
        if not all(found):
            raise UsageError(
                f'--stop-when {options.stop_when!r}: expected conditions such as "UA>=0.95,IRA>=0.9": '
                f"{', '.join(NAMES)}, then >= and a number from 0 to 1, with commas between them"
            )
        if not judged:
            raise UsageError("--stop-when: this model's folder holds no judge and no vocabulary.json to measure with")
        conditions = {NAMES[match[1]]: float(match[2]) for match in found if match}
        if len(conditions) < len(found):
            raise UsageError(f"--stop-when {options.stop_when!r}: asks for the same metric twice")
        return cls(conditions, options.retention_budget, options.evaluate_every)

    def reason(self, now: Mapping[str, float], original: Mapping[str, float]) -> str:
        """Why to stop at these metrics; empty if there is no reason."""
        shown = {name: now[metric] for name, metric in NAMES.items() if metric in now}
        values = ", ".join(f"{name} {value:.3f}" for name, value in shown.items())
        lost = [name for name in ("IRA", "CRA") if name in shown and self._lost(NAMES[name], now, original)]
        if lost:
            return f"{' and '.join(lost)} lost more than the retention budget of {self.budget}: {values}"
        if all(now.get(metric, 0.0) >= least for metric, least in self.conditions.items()):
            return f"the conditions hold: {values}"
        return ""

    def _lost(self, metric: str, now: Mapping[str, float], original: Mapping[str, float]) -> bool:
        return now[metric] < original[metric] - self.budget
