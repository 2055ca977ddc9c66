"""How often CLIP finds the target's pictures nearer to its name than to any other word."""

from harness.judging.metric import Cosines, Judged, Measure, Metric, share


def measure(judged: Judged) -> Measure | None:
    """Over the prompts that name a target; with two words this is the source's target against anchor."""
    cosines = judged.target_cosines
    return None if cosines is None else nearest(cosines)


def nearest(cosines: Cosines) -> Measure | None:
    """How often a picture is nearer to the name of what its prompt names than to any other word."""
    return share((cosines.named > cosines.other).float())


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
