"""Sets of real numbers as objects: one description that the code checks and the tests draw from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import sympy


@dataclass(frozen=True)
class Interval:
    """An interval of the real line, or a single point, closed at both ends; an infinite end is always open."""

    lower: sympy.Expr = -sympy.oo
    upper: sympy.Expr = sympy.oo
    lower_closed: bool = False
    upper_closed: bool = False

    def __post_init__(self) -> None:
        """Accept Python numbers as ends; raises ValueError for an empty interval."""
        object.__setattr__(self, "lower", sympy.sympify(self.lower, strict=True))
        object.__setattr__(self, "upper", sympy.sympify(self.upper, strict=True))
        point = self.lower == self.upper and self.lower_closed and self.upper_closed
        if not (float(self.lower) < float(self.upper) or point):
            raise ValueError(f"an interval needs lower < upper, got {self.lower} and {self.upper}")

    def contains(self, value: Any) -> bool:
        """Whether the real number `value` lies in the interval; NaN lies in none."""
        number = float(value)
        above = number > float(self.lower) or (self.lower_closed and number == float(self.lower))
        below = number < float(self.upper) or (self.upper_closed and number == float(self.upper))
        return above and below and math.isfinite(number)

    def __str__(self) -> str:
        """Return the usual notation, for example ``(-inf, 1]`` or ``{1}``."""
        if self.lower == self.upper:
            return f"{{{self.lower}}}"
        left = "[" if self.lower_closed else "("
        right = "]" if self.upper_closed else ")"
        ends = (
            f"{float(end):g}" if end.is_Float else str(end).replace("oo", "inf") for end in (self.lower, self.upper)
        )
        return left + ", ".join(ends) + right


@dataclass(frozen=True)
class Parameter:
    """A parameter of a family: its name, the intervals it may lie in, why no others, and a value for examples.

    Raises ValueError for an example outside its own domain.
    """

    name: str
    domain: tuple[Interval, ...]
    reason: str
    example: float

    def __post_init__(self) -> None:
        """Refuse an example that the domain does not contain."""
        if not self.contains(self.example):
            raise ValueError(f"the example {self.example} is outside {self}")

    def contains(self, value: float) -> bool:
        """Whether the family is defined at `value`."""
        return any(interval.contains(value) for interval in self.domain)

    def __str__(self) -> str:
        """Return the intervals joined by a union sign."""
        return f"{self.name} in " + " U ".join(map(str, self.domain))
