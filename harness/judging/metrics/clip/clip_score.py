"""How near the target's pictures are to its name, under CLIP."""

from typing import TYPE_CHECKING

from harness.judging.metric import Judged, Measure, Metric

if TYPE_CHECKING:
    from torch import Tensor

WEIGHT = 2.5
"""Which stretches cosines, most of them below .4, over [0, 1]."""


def measure(judged: Judged) -> Measure | None:
    """Over the prompts that name a target, each picture with the target's name alone."""
    cosines = judged.target_cosines
    return None if cosines is None else judged.mean(score(cosines.named), cosines.rows)


def score(cosines: "Tensor") -> "Tensor":
    """2.5 max(cos, 0) of n cosines, (n,)."""
    return WEIGHT * cosines.clamp(min=0)


METRIC = Metric(
    name="clip_score",
    short="CS",
    formula=f"mean over prompts with c of {WEIGHT} max(cos(x(p), the name of c), 0)",
    source="CLIPScore (Hessel et al., 2104.08718), as concept ablation (Kumari et al., 2303.13516) uses it",
    higher_is_better=False,
    of_retained=False,
    is_share=False,
    order=10,
    measure=measure,
)
