"""How far the retained pictures are from the original model's."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from harness.judging.metric import Judged, Measure, Metric

if TYPE_CHECKING:
    from torch import Tensor

FEWEST = 4
"""Retained pictures: the interval is that of half samples, which need two."""
HALVES = 400


def measure(judged: Judged) -> Measure | None:
    """Between Inception's features, where the user has named its weights, else the judge's; 0 for an equal model.

    The distance of CLIP's features is CMMD, which has another kernel.
    """
    kept, prompts = judged.panel.retained, judged.panel.numbers[judged.panel.retained :]
    if len(judged.original) < FEWEST:
        return None
    if judged.inception is not None:
        own, original = (judged.inception.features(each[kept:]) for each in (judged.pictures, judged.original_pictures))
        return kernel_distance(own, original, prompts)
    if judged.reader is not None or not judged.original.shape[1]:
        return None
    return kernel_distance(judged.features, judged.original, prompts)


def polynomial(rows: "Tensor", columns: "Tensor") -> "Tensor":
    """(x.y / d + 1)^3 of features (n, d) and (m, d), (n, m)."""
    from torchmetrics.image.kid import poly_kernel

    return poly_kernel(rows, columns)


def kernel_distance(
    features: "Tensor",
    original: "Tensor",
    prompts: Sequence[int],
    kernel: "Callable[[Tensor, Tensor], Tensor]" = polynomial,
) -> Measure:
    """Unbiased MMD^2 of two sets (n, d) of one picture a prompt and seed each.

    Pairs of one prompt are left out across the sets as within them: with them, as in the estimator for independent
    samples, two equal models would seem closer than equal. Without them the two pictures of a prompt may be made from
    the same noise: the mean stays what it is (lemma 6 asks for independent pairs, not for independence within one), and
    its spread is smaller. A model's distance to itself is then 0 and nothing else. The interval is the 95 % range of
    half samples, whose spread is the full sample's (Politis et al. 1999): of half the prompts with all their pictures,
    or where there are few of half the pictures.
    """
    import torch

    within, cross = kernel(features, features) + kernel(original, original), kernel(features, original)
    pairs = (within - cross - cross.T).double().fill_diagonal_(0)

    def mean(rows: "Tensor") -> float:
        return pairs[rows][:, rows].sum().item() / (len(rows) * (len(rows) - 1))

    value = mean(torch.arange(len(pairs)))
    halves = [mean(rows) for rows in _halves(tuple(prompts))]
    spread = torch.tensor(halves, dtype=torch.float64) - sum(halves) / len(halves)
    low, high = spread.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Measure(value, (value + low, value + high))


@cache
def _halves(prompts: tuple[int, ...]) -> "list[Tensor]":
    """The rows of one half after the other."""
    import torch

    numbers = torch.tensor(prompts if len(set(prompts)) >= FEWEST else range(len(prompts)))
    each, generator = numbers.unique(), torch.Generator().manual_seed(0)
    drawn = [torch.randperm(len(each), generator=generator)[: len(each) // 2] for _ in range(HALVES)]
    return [torch.isin(numbers, each[half]).nonzero()[:, 0] for half in drawn]


METRIC = Metric(
    name="kernel_inception_distance",
    short="KID",
    formula="unbiased MMD^2 of d features, Inception's with --inception, else the judge's, with the kernel "
    "(x.y / d + 1)^3, retained prompts alone",
    source="Binkowski et al., 1801.01401; MMD^2 by Gretton et al. 2012, lemma 6",
    higher_is_better=False,
    of_retained=True,
    is_share=False,
    order=4,
    measure=measure,
)
