"""A figure with its interval of 95 %, over prompts and seeds, and figures joined into others.

A picture has a prompt and a seed, and the pictures of one prompt are alike: n of them say less than n answers that have
nothing to do with each other. So what varies is counted by prompts, as in a bootstrap that draws whole prompts again
with all their seeds; that bootstrap's variance is known in closed form, and nothing need be drawn. The percentiles of
its draws are not taken for shares: at 0 or all of n they have no width, and beside it too little. What covers the truth
how often is measured in docs/evaluation.md.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

RESAMPLES = 2000
"""Of a bootstrap."""
Deviations = dict[Hashable, float]
CERTAIN = 0.975
"""What lies below the upper end of an interval of 95 %."""


@dataclass(frozen=True)
class Measure:
    """A figure and its 95 % interval."""

    value: float
    interval: tuple[float, float]
    deviations: Mapping[Hashable, float] = field(default_factory=dict, repr=False, compare=False)
    """By prompt, the sum of its answers less the value: by these, figures of the same prompts go together."""


def share(answers: Sequence[float], prompts: Sequence[int]) -> Measure | None:
    """The mean of n answers in [0, 1], with Wilson's interval for as many as they are worth; None for none.

    Args:
        answers: one a picture, or more; averages too.
        prompts: the number of each one's prompt.
    """
    if not answers:
        return None
    value, deviations = sum(answers) / len(answers), by_prompt(answers, prompts)
    return Measure(value, wilson(value, worth(value, len(answers), deviations)), deviations)


def by_prompt(answers: Sequence[float], prompts: Sequence[int]) -> Deviations:
    """Of each prompt the sum of what its answers have over the mean; of a single prompt the seeds are told apart."""
    value = sum(answers) / len(answers)
    alone = len(set(prompts)) == 1
    result: Deviations = {}
    for place, (answer, prompt) in enumerate(zip(answers, prompts, strict=True)):
        key = (prompt, place) if alone else prompt
        result[key] = result.get(key, 0.0) + answer - value
    return result


def worth(value: float, count: int, deviations: Mapping[Hashable, float]) -> float:
    """How many independent answers a share of `count` is worth whose deviations are these: at most `count`.

    The variance over prompts by that of independent answers is the design effect (Rao and Scott 1992). Where few
    prompts say what it is, Student's quantile takes the normal's place (Korn and Graubard 1998).
    """
    prompts = len(deviations)
    if prompts in (0, 1, count) or not 0 < value < 1:
        return count
    from scipy.special import stdtrit

    variance = prompts / (prompts - 1) * sum(each**2 for each in deviations.values()) / count**2
    independent = value * (1 - value) / (count - 1)
    wider = stdtrit(prompts - 1, CERTAIN) / stdtrit(count - 1, CERTAIN)
    return count / max(1.0, float(variance / independent * wider**2))


def wilson(value: float, count: float) -> tuple[float, float]:
    """Wilson's 95 % interval (1927) of a share of `count` independent answers, which need be no whole number."""
    from scipy.special import ndtri

    z = float(ndtri(CERTAIN))
    middle = (value + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * (value * (1 - value) / count + z**2 / (4 * count**2)) ** 0.5
    return middle - half if value > 0 else 0.0, middle + half if value < 1 else 1.0


def mean(values: "Tensor", prompts: Sequence[int]) -> Measure | None:
    """The mean of n values, (n,), with the bootstrap's interval; None for none."""
    if len(values) == 0:
        return None
    numbers = values.double().tolist()
    return Measure(values.mean().item(), bootstrap(values, prompts), by_prompt(numbers, prompts))


def bootstrap(values: "Tensor", prompts: Sequence[int]) -> tuple[float, float]:
    """The 95 % interval of the mean of n values, (n,): that of as many prompts drawn again, each with all its own.

    Of a single prompt its values are drawn.
    """
    import torch

    if len(set(prompts)) == 1:
        prompts = range(len(values))
    places = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    rows = torch.tensor([places[prompt] for prompt in prompts])
    sums = torch.zeros(len(places), dtype=torch.float64).index_add(0, rows, values.double().cpu())
    counts = torch.bincount(rows).double()
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(places), (RESAMPLES, len(places)), generator=generator)
    ends = torch.tensor([1 - CERTAIN, CERTAIN], dtype=torch.float64)
    low, high = (sums[drawn].sum(1) / counts[drawn].sum(1)).quantile(ends).tolist()
    return low, high


def difference(one: Measure, other: Measure) -> Measure:
    """The difference of two figures."""
    return weighted([(1.0, one), (-1.0, other)])


def weighted(parts: Sequence[tuple[float, Measure]]) -> Measure:
    """A sum of weights times figures, its interval made of theirs by "square and add" (Zou and Donner 2008).

    Each limit is as far off as the parts' limits, times their weights, squared and added, with twice the product of any
    two times their correlation over prompts: of two shares without any it is Newcombe's (1998, method 10), and with it
    that of his for pairs (1998, Statistics in Medicine 17, 2635).
    """
    value = sum(weight * each.value for weight, each in parts)
    down, up = (
        [weight * abs(each.interval[end if weight > 0 else 1 - end] - each.value) for weight, each in parts]
        for end in (0, 1)
    )
    deviations: Deviations = {}
    for weight, each in parts:
        for prompt, deviation in each.deviations.items():
            deviations[prompt] = deviations.get(prompt, 0.0) + weight * deviation
    figures = [each for _, each in parts]
    return Measure(value, (value - _joined(down, figures), value + _joined(up, figures)), deviations)


def _joined(reaches: Sequence[float], figures: Sequence[Measure]) -> float:
    """How far off a limit is that figures reach together, those with a negative weight to the other side."""
    pairs = product(zip(reaches, figures, strict=True), repeat=2)
    return max(0.0, sum(one * other * correlation(a, b) for (one, a), (other, b) in pairs)) ** 0.5


def correlation(one: Measure, other: Measure) -> float:
    """Of two figures over the prompts that they share; 1 of a figure with itself, and 0 where one does not vary."""
    if one is other:
        return 1.0
    squares = [sum(each**2 for each in measure.deviations.values()) for measure in (one, other)]
    if not all(squares):
        return 0.0
    products = [each * other.deviations.get(prompt, 0.0) for prompt, each in one.deviations.items()]
    return sum(products) / (squares[0] * squares[1]) ** 0.5
