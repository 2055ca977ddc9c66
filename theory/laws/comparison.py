"""A computed number against a stated one, within a tolerance that it could exceed."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Literal

Relation = Literal["equal", "at_most", "at_least"]
_EXACTLY = {"equal": operator.eq, "at_most": operator.le, "at_least": operator.ge}


@dataclass(frozen=True)
class Comparison:
    """At `point` (a value of s, or words) `computed` is claimed to stand in `relation` to `stated`.

    `tolerance` is relative to the larger of the two magnitudes and lies in [0, 1), so that zero never passes
    for a number that is not zero. Where both may be zero, `unit` is the magnitude that counts at least.
    Raises ValueError for another tolerance or relation.
    """

    point: float | str
    computed: float
    stated: float
    relation: Relation
    tolerance: float
    unit: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a comparison that could not fail."""
        if self.relation not in _EXACTLY:
            raise ValueError(f"unknown relation {self.relation!r}; choose from {', '.join(_EXACTLY)}")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance {self.tolerance} is outside [0, 1): a relative error of 1 admits anything")

    @property
    def error(self) -> float:
        """The relative violation; negative where an inequality has room.

        An infinite value leaves no room for a tolerance (|inf - x| <= tol inf is true of every x), so it is
        compared exactly: the error is -inf or inf. NaN stands in no relation: inf.
        """
        if math.isnan(self.computed) or math.isnan(self.stated):
            return math.inf
        if math.isinf(self.computed) or math.isinf(self.stated):
            return -math.inf if _EXACTLY[self.relation](self.computed, self.stated) else math.inf
        excess = self.computed - self.stated
        violation = {"equal": abs(excess), "at_most": excess, "at_least": -excess}[self.relation]
        scale = max(abs(self.computed), abs(self.stated), self.unit)
        return violation / scale if scale else 0.0

    @property
    def margin(self) -> float:
        """The tolerance less the error; negative exactly where the comparison fails."""
        return self.tolerance - self.error

    @property
    def room(self) -> float:
        """The share of the tolerance that is left; negative where the comparison fails."""
        return self.margin / self.tolerance if self.tolerance else 1.0 + self.margin

    @property
    def holds(self) -> bool:
        """Whether the claim stands."""
        return self.margin >= 0

    def __str__(self) -> str:
        """The numbers, and what they should be to each other."""
        relation = self.relation.replace("_", " ")
        return f"{self.point}: {self.computed!r} should be {relation} {self.stated!r} within {self.tolerance:g}"
