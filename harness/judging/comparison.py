"""How well a concept is erased, and how little else: the metrics of the erased model beside the original's.

With the target c on an axis, say the shapes, and x(p) the picture of prompt p, each file of `metrics` states its
formula. Where several concepts are erased, UA is the mean over their prompts; a retained prompt names none of them,
counts for IRA on every axis that has lost a value, and for CRA on the others.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from harness.judging.intervals.measure import Measure, difference, share
from harness.judging.metric import Judged, metrics
from harness.judging.panel import Panel
from harness.judging.references import References


def measured(pictures: Tensor, panel: Panel, references: References) -> dict[str, Measure]:
    """Each metric of a panel's pictures (n, 3, H, W), by name; empty without a judge."""
    if references.judge is None or references.features is None:
        return {}
    judge, features, inception = references.judge, references.features, references.inception
    judged = Judged(pictures, references.original, panel, judge, features, inception)
    found = {metric.name: metric.measure(judged) for metric in metrics()}
    return {name: measure for name, measure in found.items() if measure is not None}


def compare(erased: Tensor, panel: Panel, references: References) -> dict[str, dict[str, Measure]]:
    """By model, `erased`, `original` and `oracle`, each metric by name; empty for a model there is not."""
    models = {"erased": erased, "original": references.original, "oracle": references.oracle}
    return {
        name: {} if pictures is None else measured(pictures, panel, references) for name, pictures in models.items()
    }


def as_rows(found: Mapping[str, Mapping[str, Measure]]) -> dict[str, dict[str, Any]]:
    """The content of metrics.json: per metric the value of three models, the erased one's interval, and differences."""
    result = {}
    for metric, measure in found["erased"].items():
        row: dict[str, Any] = {name: each[metric].value if metric in each else None for name, each in found.items()}
        change = difference(measure, found["original"][metric]).interval
        beside = list(difference(measure, found["oracle"][metric]).interval) if found["oracle"] else None
        result[metric] = row | {"interval": list(measure.interval), "change": list(change), "beside_oracle": beside}
    return result


def accuracy_by_target(pictures: Tensor, panel: Panel, references: References) -> dict[str, Measure]:
    """UA of each erased concept, earlier ones included, for a panel's pictures (n, 3, H, W); empty without a judge."""
    if references.judge is None:
        return {}
    right = panel.agreement(references.judge.values(pictures))[: panel.retained]
    erased = 1 - right[panel.own[: panel.retained]]
    names = panel.named[: panel.retained]
    found = {}
    for name in dict.fromkeys(names):
        places = [i for i, each in enumerate(names) if each == name]
        found[name] = share(erased[places].tolist(), [panel.numbers[i] for i in places])
    return {name: measure for name, measure in found.items() if measure is not None}


def retained_by_value(pictures: Tensor, panel: Panel, references: References) -> dict[str, dict[str, Any]]:
    """IRA and CRA of each kept value's prompts, for a panel's pictures (n, 3, H, W); empty without a judge."""
    if references.judge is None:
        return {}
    right, kept = panel.agreement(references.judge.values(pictures)), panel.retained
    own = panel.own
    result = {}
    for name in dict.fromkeys(panel.named[kept:]):
        rows = [i for i, named in enumerate(panel.named) if i >= kept and named == name]
        inside, beside = (_share(right, mask, rows, panel) for mask in (own, ~own))
        found = {"in_domain": inside, "cross_domain": beside}
        result[name] = {
            key: {"value": each.value, "interval": list(each.interval)} for key, each in found.items() if each
        }
    return result


def _share(right: Tensor, asked: Tensor, places: list[int], panel: Panel) -> Measure | None:
    """Of the answers (prompts, axes) that are asked for those in some places."""
    mask = asked[places]
    prompts = [panel.numbers[places[row]] for row in mask.nonzero()[:, 0].tolist()]
    return share(right[places][mask].tolist(), prompts)
