"""How many pictures show nothing at all, which a judge has no word for and so may take for an erasure."""

from typing import TYPE_CHECKING

from harness.judging.metric import Judged, Measure, Metric

if TYPE_CHECKING:
    from torch import Tensor

FLAT = 0.02
"""A standard deviation of 5 levels in 256; of all pictures of the miniature's world the least has .08."""
WHITE = 0.8
"""Of what white noise has, 1 in the mean; of all pictures of the miniature's world the most has .49."""


def measure(judged: Judged) -> Measure | None:
    """Over all prompts, the target's too."""
    import torch

    blank = flat(judged.pictures) | white(judged.pictures)
    return judged.share(blank.float(), torch.arange(len(blank)))


def flat(pictures: "Tensor") -> "Tensor":
    """Which of n pictures (n, 3, H, W) are all of one colour, (n,)."""
    return _variance(pictures).sqrt() < FLAT


def white(pictures: "Tensor") -> "Tensor":
    """Which of n pictures (n, 3, H, W) are noise, (n,): each pixel says nothing of its neighbours.

    The mean square between neighbours over twice the variance is von Neumann's ratio (1941): 1 for white noise of any
    distribution and strength, since E (a - b)^2 = 2 Var for independent a and b, and little where there are areas.
    """
    across = (pictures[..., 1:] - pictures[..., :-1]).square().mean((1, 2, 3))
    down = (pictures[..., 1:, :] - pictures[..., :-1, :]).square().mean((1, 2, 3))
    return (across + down) / 2 > WHITE * 2 * _variance(pictures)


def _variance(pictures: "Tensor") -> "Tensor":
    """Over the pixels of each channel, averaged over channels, (n,)."""
    return pictures.var((2, 3), correction=0).mean(1)


METRIC = Metric(
    name="blank_pictures",
    short="BLANK",
    formula=f"mean over all prompts of [standard deviation of x(p) < {FLAT} or von Neumann's ratio > {WHITE}]",
    source="von Neumann 1941; that an erasure may end in noise: Erasure or Erosion (2604.04575)",
    higher_is_better=False,
    of_retained=False,
    is_share=False,
    order=9,
    measure=measure,
)
