"""How often everything that a retained prompt names comes together in one picture."""

from harness.judging.metric import Judged, Measure, Metric


def measure(judged: Judged) -> Measure | None:
    """On all axes at once, over the retained prompts; an erasure may spoil combinations and keep their parts.

    With a single axis there is nothing to combine.
    """
    if judged.right.shape[1] == 1:
        return None
    rows = judged.panel.retained_rows
    return judged.share(judged.right[rows].prod(1), rows)


METRIC = Metric(
    name="attribute_binding",
    short="BIND",
    formula="mean over retained prompts of [judged values of x(p) on all axes = the named ones]",
    source="Erasure or Erosion (2604.04575): composition after erasure, here of a prompt's attributes",
    higher_is_better=True,
    of_retained=True,
    is_share=False,
    order=6,
    measure=measure,
    in_collateral_gap=True,
)
