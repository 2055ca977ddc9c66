"""What a judge returns: evidence for one claim, the reason for it, and a counterexample where the claim is refuted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Evidence(StrEnum):
    """How far a claim can be believed, strongest first.

    proved: an exact symbolic argument. certified: ball arithmetic. inherited: proved of each of the parts of a sum, and
    linear in f. tested: sampled against an oracle. refuted: a counterexample is at hand. not applicable: the law's
    hypothesis fails, or the claim could not be derived.
    """

    PROVED = "proved"
    CERTIFIED = "certified"
    INHERITED = "inherited"
    TESTED = "tested"
    REFUTED = "refuted"
    NOT_APPLICABLE = "not applicable"

    @property
    def settled(self) -> bool:
        """Whether the claim is believed."""
        return self in (Evidence.PROVED, Evidence.CERTIFIED, Evidence.INHERITED, Evidence.TESTED)

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


@dataclass(frozen=True)
class Claim:
    """One statement about a divergence, with its evidence and the reason for it.

    It is `open` where time or this software, and not mathematics, left it unsettled.
    """

    name: str
    evidence: Evidence
    reason: str
    required: bool = True
    counterexample: Counterexample | None = None
    open: bool = False

    @property
    def holds(self) -> bool:
        """Whether the claim does not stand in the way of a loss."""
        return self.evidence.settled or (not self.required and self.evidence is not Evidence.REFUTED)

    def to_dict(self) -> dict[str, Any]:
        """Return the claim as JSON-able data."""
        shown = self.counterexample
        example = None if shown is None else {"u": shown.point, "quantity": shown.quantity, "value": _json(shown.value)}
        return {
            "name": self.name,
            "evidence": str(self.evidence),
            "reason": self.reason,
            "required": self.required,
            "open": self.open,
            "counterexample": example,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Claim:
        """Return the claim that `to_dict` described; raises ValueError, KeyError or TypeError for anything else."""
        shown = data["counterexample"]
        example = None
        if shown is not None:
            example = Counterexample(float(shown["u"]), str(shown["quantity"]), float(shown["value"]))
        for flag in ("required", "open"):
            if not isinstance(data[flag], bool):
                raise TypeError(f"{flag} is true or false, got {data[flag]!r}")
        evidence, reason = Evidence(data["evidence"]), str(data["reason"])
        if not reason.isprintable():
            raise ValueError(f"a reason is a line of text, got {reason!r}")
        return Claim(str(data["name"]), evidence, reason, data["required"], example, data["open"])


def _json(value: float) -> float | str:
    return value if abs(value) < float("inf") else str(value)
