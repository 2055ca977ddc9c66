"""How far the retained pictures are from the original model's, by a kernel that sees all moments."""

from typing import TYPE_CHECKING

from harness.judging.metric import Judged, Measure, Metric
from harness.judging.metrics.kernel_inception_distance import FEWEST, kernel_distance

if TYPE_CHECKING:
    from torch import Tensor

SIGMA = 10.0
"""CMMD's width; features of the miniature's judge are 11 long and 13 apart, so it is neither narrow nor wide there."""


def measure(judged: Judged) -> Measure | None:
    """Between the judge's features: figures of other judges are not comparable. CLIP's distance is CMMD."""
    if judged.reader is not None or not judged.original.shape[1] or len(judged.original) < FEWEST:
        return None
    prompts = judged.panel.numbers[judged.panel.retained :]
    return kernel_distance(judged.features, judged.original, prompts, gaussian)


def gaussian(rows: "Tensor", columns: "Tensor") -> "Tensor":
    """exp(-|x - y|^2 / (2 sigma^2)) of features (n, d) and (m, d), (n, m)."""
    import torch

    return (-torch.cdist(rows, columns).square() / (2 * SIGMA**2)).exp()


METRIC = Metric(
    name="gaussian_kernel_distance",
    short="GMMD",
    formula="unbiased MMD^2 of the judge's features with the kernel exp(-|x - y|^2 / 200), retained prompts alone",
    source="CMMD (Jayasumana et al., 2401.09603), there of CLIP's features; MMD^2 by Gretton et al. 2012, lemma 6",
    higher_is_better=False,
    of_retained=True,
    is_share=False,
    order=7,
    measure=measure,
)
