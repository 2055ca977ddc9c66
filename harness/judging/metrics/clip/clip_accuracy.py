"""How often CLIP finds the target's pictures nearer to its name than to any other word."""

from harness.judging.metric import Judged, Measure, Metric


def measure(judged: Judged) -> Measure | None:
    """Over the prompts that name a target; with two words this is the source's target against anchor."""
    cosines = judged.target_cosines
    return None if cosines is None else judged.share((cosines.named > cosines.other).float(), cosines.rows)


METRIC = Metric(
    name="clip_accuracy",
    short="CA",
    formula="mean over prompts with c of [cos(x(p), the name of c) > cos(x(p), w) for every other word w]",
    source="CLIP accuracy of concept ablation (Kumari et al., 2303.13516), there against the anchor alone",
    higher_is_better=False,
    of_retained=False,
    is_share=False,
    order=11,
    measure=measure,
)
