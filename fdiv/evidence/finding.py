"""What a judge returns: evidence for one claim, the reason for it, and a counterexample where the claim is refuted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Evidence(StrEnum):
    """How far a claim can be believed, strongest first.

    proved: an exact symbolic argument. certified: ball arithmetic. tested: sampled against an oracle. refuted: a
    counterexample is at hand. not applicable: the law's hypothesis fails, or the claim could not be derived.
    """

    PROVED = "proved"
    CERTIFIED = "certified"
    TESTED = "tested"
    REFUTED = "refuted"
    NOT_APPLICABLE = "not applicable"

    @property
    def settled(self) -> bool:
        """Whether the claim is believed."""
        return self in (Evidence.PROVED, Evidence.CERTIFIED, Evidence.TESTED)

    @property
    def rank(self) -> int:
        """0 for the strongest, more for the weaker."""
        return list(Evidence).index(self)


@dataclass(frozen=True)
class Counterexample:
    """A number u at which `quantity` has a value that the claim forbids."""

    point: float
    quantity: str
    value: float

    def __str__(self) -> str:
        """Return the quantity, the point and the value in a line."""
        stated = f"at u = {self.point:.12g}: {self.quantity}"
        return stated if math.isnan(self.value) else f"{stated} = {self.value:.12g}"


@dataclass(frozen=True)
class Finding:
    """Evidence with its reason; `open` where time or this software, and not mathematics, left the claim unsettled."""

    evidence: Evidence
    reason: str
    counterexample: Counterexample | None = None
    open: bool = False


def left_open(reason: str) -> Finding:
    """Return the finding of a claim that this software, and not mathematics, leaves unsettled."""
    return Finding(Evidence.NOT_APPLICABLE, reason, open=True)


def weakest(findings: Sequence[Finding]) -> Finding:
    """Return the finding that is believed least; one that is refuted before one that is open."""
    refuted = next((finding for finding in findings if finding.evidence is Evidence.REFUTED), None)
    return refuted or max(findings, key=lambda finding: finding.evidence.rank)
