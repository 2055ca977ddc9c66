"""What a theorem is here: a statement with its hypotheses, and numbers that would expose it if it were false."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

import sympy
from sympy import Expr

import fdiv
from fdiv import Divergence

Relation = Literal["equal", "at_most", "at_least"]
_EXACTLY = {"equal": operator.eq, "at_most": operator.le, "at_least": operator.ge}


class TheoremError(ValueError):
    """A theorem would be checked on nothing, or where its hypotheses fail."""


@dataclass(frozen=True)
class Comparison:
    """At `point` (a value of s, or words) `computed` is claimed to stand in `relation` to `stated`.

    `tolerance` is relative to the larger of the two magnitudes and lies in [0, 1), so that zero never passes
    for a number that is not zero. Raises ValueError for another tolerance or relation.
    """

    point: float | str
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
        scale = max(abs(self.computed), abs(self.stated))
        return violation / scale if scale else 0.0

    @property
    def margin(self) -> float:
        """The tolerance less the error; negative exactly where the comparison fails."""
        return self.tolerance - self.error

    @property
    def holds(self) -> bool:
        """Whether the claim stands."""
        return self.margin >= 0


@cache
def catalogue() -> tuple[Divergence, ...]:
    """Return every divergence of the catalogue, a family at the example that its declared range gives."""
    examples = {name: {p.name: p.example for p in fdiv.CATALOG[name].parameters} for name in fdiv.names()}
    return tuple(fdiv.divergence(name, **values) for name, values in examples.items())


class Subject(Protocol):
    """What a theorem speaks of: a divergence, or for one theorem a scheduler's step."""

    @property
    def spec(self) -> str:
        """Its name in one word."""


@dataclass(frozen=True)
class Row:
    """What became of a theorem at one subject; `worst` has used up most of its own tolerance, `size` were compared."""

    spec: str
    evidence: str
    worst: Comparison
    size: int

    @property
    def holds(self) -> bool:
        """Whether all comparisons hold."""
        return self.worst.holds


@dataclass(frozen=True)
class Theorem:
    """A statement in LaTeX with its hypotheses and reference; `comparisons` pits it against an oracle.

    `applies` decides the hypotheses for a subject of `universe`. `comparisons` yields computed against stated values,
    where the computed ones share no code with the stated ones. `identities` yields what SymPy must reduce to zero
    for a symbolic proof of the statement, nothing where it cannot carry one. `number` and `part` are the
    place in the sequence; `corrections` says in Markdown what it corrects in the literature; `report` returns
    Markdown for the document, and `draw` writes the named picture into a folder.
    """

    number: int
    name: str
    title: str
    statement: str
    hypotheses: tuple[str, ...]
    reference: str
    applies: Callable[[Any], bool]
    comparisons: Callable[[Any], Iterator[Comparison]]
    identities: Callable[[Any], Iterator[Expr]] = lambda subject: iter(())
    universe: Callable[[], tuple[Any, ...]] = catalogue
    report: Callable[[], str] | None = None
    draw: Callable[[Path], None] | None = None
    part: str = ""
    corrections: tuple[str, ...] = ()

    def subjects(self) -> tuple[Any, ...]:
        """Return what meets the hypotheses; raises TheoremError if nothing does."""
        found = tuple(subject for subject in self.universe() if self.applies(subject))
        if not found:
            raise TheoremError(f"{self.name} applies to no divergence, so nothing would test it")
        return found

    def check(self, subject: Subject) -> tuple[Comparison, ...]:
        """Return all comparisons; raises TheoremError if there are none or the hypotheses fail."""
        if not self.applies(subject):
            raise TheoremError(f"{self.name} says nothing about {subject.spec}: {'; '.join(self.hypotheses)}")
        found = tuple(self.comparisons(subject))
        if not found:
            raise TheoremError(f"{self.name} compares nothing for {subject.spec}, so nothing would test it")
        return found

    def evidence(self, subject: Subject) -> Literal["proved", "tested"]:
        """Return "proved" if SymPy carries the statement for this subject, "tested" if only numbers speak.

        Raises TheoremError if an identity does not reduce to zero.
        """
        identities = tuple(self.identities(subject))
        for identity in identities:
            if sympy.simplify(identity) != 0:
                raise TheoremError(f"{self.name} is not an identity for {subject.spec}: {identity} is not 0")
        return "proved" if identities else "tested"

    def row(self, subject: Subject) -> Row:
        """Check the theorem at a subject; raises TheoremError as `check` and `evidence` do."""
        found = self.check(subject)
        worst = min(found, key=lambda c: (c.holds, c.margin / c.tolerance if c.tolerance else 1.0 + c.margin))
        return Row(subject.spec, self.evidence(subject), worst, len(found))
