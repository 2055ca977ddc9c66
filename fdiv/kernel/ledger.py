"""What the rules do not show, and the work that a claim may cost: counted and never timed, and bounded."""

from __future__ import annotations

MOST_WORK, LARGEST_ORDER = 250_000, 1000


class Unproved(Exception):  # noqa: N818  (a verdict, and no fault of the program)
    """The rules do not show it."""


def require(shown: bool, otherwise: str) -> None:
    """Raise `Unproved` with the reason unless it is shown."""
    if not shown:
        raise Unproved(otherwise)


class Ledger:
    """The work that is left for a claim, and the order of all roots, which the certificate chooses."""

    def __init__(self, order: int) -> None:
        """Start with all of the work that one claim may cost."""
        self.left, self.order = MOST_WORK, order

    def spend(self, amount: int) -> None:
        """Count work; raises `Unproved` when none is left."""
        self.left -= amount
        require(self.left >= 0, "it costs more work than a claim may")
