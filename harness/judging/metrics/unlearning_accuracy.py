"""How much is erased."""

from harness.judging.metric import Judged, Measure, Metric


def measure(judged: Judged) -> Measure | None:
    """On each target's own axis, over the prompts that name a target."""
    asked = judged.panel.own.clone()
    asked[judged.panel.targets :] = False
    return judged.share(1 - judged.right[asked], asked.nonzero()[:, 0])


METRIC = Metric(
    name="unlearning_accuracy",
    short="UA",
    formula="1 - mean over prompts with c of [judged value of x(p) on the axis of c = c]",
    source="UnlearnCanvas (Zhang et al., 2402.11846)",
    higher_is_better=True,
    of_retained=False,
    is_share=True,
    order=1,
    measure=measure,
)
