"""How often CLIP finds a retained picture nearer to the name of what it is to show than to any other word."""

from harness.judging.metric import Judged, Measure, Metric


def measure(judged: Judged) -> Measure | None:
    """Over the retained prompts; the target is among the other words."""
    cosines = judged.retained_cosines
    return None if cosines is None else judged.share((cosines.named > cosines.other).float(), cosines.rows)


METRIC = Metric(
    name="retained_clip_accuracy",
    short="RCA",
    formula="mean over retained prompts of [cos(x(p), the name of what p names) > cos(x(p), w) for every other word w]",
    source="CLIP accuracy of concept ablation (Kumari et al., 2303.13516), there against the anchor alone",
    higher_is_better=True,
    of_retained=True,
    is_share=False,
    order=13,
    measure=measure,
)
