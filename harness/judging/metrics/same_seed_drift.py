"""How much a retained picture changes that is drawn from the same noise."""

from harness.judging.metric import Judged, Measure, Metric


def measure(judged: Judged) -> Measure | None:
    """Between pictures of one prompt and one seed, over the retained prompts."""
    rows = judged.panel.retained_rows
    change = judged.pictures[rows] - judged.original_pictures[rows]
    return judged.mean(change.double().square().flatten(1).mean(1).sqrt(), rows)


METRIC = Metric(
    name="same_seed_drift",
    short="DRIFT",
    formula="mean over retained prompts of the root mean square of x(p) - x_original(p) over pixels and channels",
    source="preservation of unrelated pictures as in ESD (2303.07345), there by LPIPS; in pixels, from 0 to 1",
    higher_is_better=False,
    of_retained=True,
    is_share=False,
    order=8,
    measure=measure,
)
