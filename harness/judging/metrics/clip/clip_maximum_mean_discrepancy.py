"""How far the retained pictures are from the original model's, by CLIP's embeddings."""

from harness.judging.metric import Judged, Measure, Metric
from harness.judging.metrics.gaussian_kernel_distance import gaussian
from harness.judging.metrics.kernel_inception_distance import FEWEST, kernel_distance

SCALE = 1000
"""The source's, so that figures can be read."""


def measure(judged: Judged) -> Measure | None:
    """Between image embeddings of length one; the source's are those of ViT-L/14 at 336 pixels, and it takes all pairs.

    Here pairs of one prompt are left out, as in KID, so that a model's distance to itself has the mean 0. Figures of
    other CLIPs, and of other sets of prompts, are not comparable.
    """
    if judged.reader is None or len(judged.original) < FEWEST:
        return None
    prompts = judged.panel.numbers[judged.panel.retained :]
    found = kernel_distance(judged.features, judged.original, prompts, gaussian)
    low, high = found.interval
    return Measure(SCALE * found.value, (SCALE * low, SCALE * high))


METRIC = Metric(
    name="clip_maximum_mean_discrepancy",
    short="CMMD",
    formula=f"{SCALE} times the unbiased MMD^2 of CLIP embeddings, kernel exp(-|x - y|^2 / 200), retained prompts",
    source="CMMD (Jayasumana et al., 2401.09603); MMD^2 by Gretton et al. 2012, lemma 6",
    higher_is_better=False,
    of_retained=True,
    is_share=False,
    order=14,
    measure=measure,
)
