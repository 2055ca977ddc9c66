"""What a theorem is here: a statement with its hypotheses, and numbers that would expose it if it were false."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from fdiv import Divergence

Relation = Literal["equal", "at_most", "at_least"]
_EXACTLY = {"equal": operator.eq, "at_most": operator.le, "at_least": operator.ge}


class TheoremError(ValueError):
    """A theorem would be checked on nothing, or where its hypotheses fail."""


@dataclass(frozen=True)
class Comparison:
    """At `point` (a value of s, dimensionless) `computed` is claimed to stand in `relation` to `stated`.

    `tolerance` is relative to the larger of the two magnitudes and lies in [0, 1), so that zero never passes
    for a number that is not zero. Raises ValueError for another tolerance or relation.
    """

    point: float
    computed: float
    stated: float
    relation: Relation
    tolerance: float

    def __post_init__(self) -> None:
        """Refuse a comparison that could not fail."""
        if self.relation not in _EXACTLY:
            raise ValueError(f"unknown relation {self.relation!r}; choose from {', '.join(_EXACTLY)}")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance {self.tolerance} is outside [0, 1): a relative error of 1 admits anything")

    @property
    def margin(self) -> float:
        """The tolerance less the relative violation; negative exactly where the comparison fails.

        An infinite value leaves no room for a tolerance (|inf - x| <= tol inf is true of every x), so it is
        compared exactly: the margin is inf or -inf. NaN stands in no relation: -inf.
        """
        if math.isnan(self.computed) or math.isnan(self.stated):
            return -math.inf
        if math.isinf(self.computed) or math.isinf(self.stated):
            return math.inf if _EXACTLY[self.relation](self.computed, self.stated) else -math.inf
        excess = self.computed - self.stated
        violation = {"equal": abs(excess), "at_most": excess, "at_least": -excess}[self.relation]
        scale = max(abs(self.computed), abs(self.stated))
        return self.tolerance - (violation / scale if scale else 0.0)

    @property
    def holds(self) -> bool:
        """Whether the claim stands."""
        return self.margin >= 0


@dataclass(frozen=True)
class Theorem:
    """A statement in LaTeX with its hypotheses and reference; `comparisons` pits it against an oracle.

    `applies` decides the hypotheses for a divergence. `comparisons` yields computed against stated values, where the
    computed ones share no code with the stated ones.
    """

    name: str
    title: str
    statement: str
    hypotheses: tuple[str, ...]
    reference: str
    applies: Callable[[Divergence], bool]
    comparisons: Callable[[Divergence], Iterator[Comparison]]

    def subjects(self, divergences: Iterable[Divergence]) -> tuple[Divergence, ...]:
        """Return those of `divergences` that meet the hypotheses; raises TheoremError if none does."""
        found = tuple(divergence for divergence in divergences if self.applies(divergence))
        if not found:
            raise TheoremError(f"{self.name} applies to no divergence, so nothing would test it")
        return found

    def check(self, divergence: Divergence) -> tuple[Comparison, ...]:
        """Return all comparisons; raises TheoremError if there are none or the hypotheses fail."""
        if not self.applies(divergence):
            raise TheoremError(f"{self.name} says nothing about {divergence.spec}: {'; '.join(self.hypotheses)}")
        found = tuple(self.comparisons(divergence))
        if not found:
            raise TheoremError(f"{self.name} compares nothing for {divergence.spec}, so nothing would test it")
        return found
