"""A number that is not exact, which never comes without its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A value in nats between `low` and `high`, with the `method` and what the interval means.

    Nothing here is proved: `interval` says whether it is an estimate of an error or holds with some probability.
    """

    value: float
    low: float
    high: float
    method: str
    interval: str

    def __post_init__(self) -> None:
        """Refuse an interval that does not hold its value."""
        if not self.low <= self.value <= self.high:
            raise ValueError(f"{self.value} is not between {self.low} and {self.high}")

    def __float__(self) -> float:
        """Return the value."""
        return self.value

    def __str__(self) -> str:
        """Return the value, its interval and where both come from."""
        return f"{self.value:.6g} in [{self.low:.6g}, {self.high:.6g}] ({self.method}; {self.interval})"


def around(value: float, error: float, method: str, interval: str) -> Estimate:
    """Return value +- error, cut off at 0, which no divergence is below; an error that is no number is infinite."""
    value = max(value, 0.0)
    if math.isinf(value):
        return Estimate(value, value, value, method, interval)
    error = error if error >= 0 else math.inf
    return Estimate(value, max(value - error, 0.0), value + error, method, interval)
