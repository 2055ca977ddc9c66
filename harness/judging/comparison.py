"""How well a concept is erased, and how little else: the metrics of the erased model beside the original's.

With the target c on an axis, say the shapes, and x(p) the picture of prompt p, each file of `metrics` states its
formula. Where several concepts are erased, UA is the mean over their prompts; a retained prompt names none of them,
counts for IRA on every axis that has lost a value, and for CRA on the others.
"""

from typing import Any

from torch import Tensor

from harness.judging.metric import Judged, Measure, difference, metrics, share
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


def compare(erased: Tensor, panel: Panel, references: References) -> dict[str, dict[str, Any]]:
    """The content of metrics.json: per metric the value of three models, and the erased one's interval."""
    models = {"erased": erased, "original": references.original, "oracle": references.oracle}
    found = {
        name: {} if pictures is None else measured(pictures, panel, references) for name, pictures in models.items()
    }
    return {
        metric: {name: each[metric].value if metric in each else None for name, each in found.items()}
        | {"interval": list(measure.interval), "change": list(difference(measure, found["original"][metric]).interval)}
        for metric, measure in found["erased"].items()
    }


def accuracy_by_target(pictures: Tensor, panel: Panel, references: References) -> dict[str, Measure]:
    """UA of each erased concept, earlier ones included, for a panel's pictures (n, 3, H, W); empty without a judge."""
    if references.judge is None:
        return {}
    right = panel.agreement(references.judge.values(pictures))[: panel.retained]
    erased = 1 - right[panel.own[: panel.retained]]
    names = panel.named[: panel.retained]
    found = {name: share(erased[[i for i, each in enumerate(names) if each == name]]) for name in dict.fromkeys(names)}
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
        inside, beside = (share(right[rows][mask]) for mask in (own[rows], ~own[rows]))
        found = {"in_domain": inside, "cross_domain": beside}
        result[name] = {
            key: {"value": each.value, "interval": list(each.interval)} for key, each in found.items() if each
        }
    return result
