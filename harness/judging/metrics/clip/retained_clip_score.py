"""How near the retained pictures are to the names of what they are to show, under CLIP."""

from harness.judging.metric import Judged, Measure, Metric
from harness.judging.metrics.clip.clip_score import score


def measure(judged: Judged) -> Measure | None:
    """Over the retained prompts, each picture with the name of what its prompt names."""
    cosines = judged.retained_cosines
    return None if cosines is None else judged.mean(score(cosines.named), cosines.rows)


METRIC = Metric(
    name="retained_clip_score",
    short="RCS",
    formula="mean over retained prompts of 2.5 max(cos(x(p), the name of what p names), 0)",
    source="CLIPScore (Hessel et al., 2104.08718), as concept ablation (Kumari et al., 2303.13516) uses it",
    higher_is_better=True,
    of_retained=True,
    is_share=False,
    order=12,
    measure=measure,
)
