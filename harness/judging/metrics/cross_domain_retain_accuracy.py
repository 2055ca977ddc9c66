"""How much of other kinds is kept, with the target and without."""

from harness.judging.metric import Judged, Measure, Metric


def measure(judged: Judged) -> Measure | None:
    """On all axes but those of UA and IRA, averaged within a prompt, over all prompts that have such an axis."""
    other = ~judged.panel.own
    rows = other.any(1).nonzero()[:, 0]
    answers = (judged.right * other).sum(1) / other.sum(1)
    return judged.share(answers[rows], rows)


METRIC = Metric(
    name="cross_domain_retain_accuracy",
    short="CRA",
    formula="mean over all prompts of [judged values of x(p) on the other axes = the named ones]",
    source="UnlearnCanvas (Zhang et al., 2402.11846)",
    higher_is_better=True,
    of_retained=True,
    is_share=True,
    order=3,
    measure=measure,
    in_collateral_gap=True,
)
