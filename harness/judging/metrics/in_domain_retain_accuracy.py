"""How much of the target's own kind is kept."""

from harness.judging.metric import Judged, Measure, Metric


def measure(judged: Judged) -> Measure | None:
    """On every axis that has lost a value, over the retained prompts."""
    asked = judged.panel.own.clone()
    asked[: judged.panel.retained] = False
    return judged.share(judged.right[asked], asked.nonzero()[:, 0])


METRIC = Metric(
    name="in_domain_retain_accuracy",
    short="IRA",
    formula="mean over prompts with other values of the axis of c of [judged value of x(p) = the named one]",
    source="UnlearnCanvas (Zhang et al., 2402.11846)",
    higher_is_better=True,
    of_retained=True,
    is_share=True,
    order=2,
    measure=measure,
    in_collateral_gap=True,
)
