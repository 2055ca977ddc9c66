"""What a theorem is here: a statement with its hypotheses, and numbers that would expose it if it were false."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

import sympy
from sympy import Expr

import fdiv
from fdiv import Divergence
from theory.laws.comparison import Comparison


class TheoremError(ValueError):
    """A theorem would be checked on nothing, or where its hypotheses fail."""


@cache
def catalogue() -> tuple[Divergence, ...]:
    """Return every divergence of the catalogue, a family at the example that its declared range gives."""
    examples = {name: {p.name: p.example for p in fdiv.CATALOG[name].parameters} for name in fdiv.names()}
    return tuple(fdiv.divergence(name, **values) for name, values in examples.items())


@cache
def _vanishes(identity: Expr) -> bool:
    return bool(sympy.simplify(identity) == 0)


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
    for a symbolic proof of the statement, nothing where it cannot carry one; `lemmas` are such identities in which no
    subject appears, proved once for all. `number` and `part` are the
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
    lemmas: Callable[[], tuple[Expr, ...]] = tuple
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

        A lemma alone proves nothing of a subject. Raises TheoremError if an identity does not reduce to zero.
        """
        identities = tuple(self.identities(subject))
        for identity in (*self.lemmas(), *identities):
            if not _vanishes(identity):
                raise TheoremError(f"{self.name} is not an identity for {subject.spec}: {identity} is not 0")
        return "proved" if identities else "tested"

    def row(self, subject: Subject) -> Row:
        """Check the theorem at a subject; raises TheoremError as `check` and `evidence` do."""
        found = self.check(subject)
        worst = min(found, key=lambda c: (c.holds, c.room))
        return Row(subject.spec, self.evidence(subject), worst, len(found))
