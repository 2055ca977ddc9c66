"""What a command is at, on stderr: a line as each of its phases begins, and a bar below it while it lasts.

The line says which phase of how many it is, what is done or measured in it, and how long all has taken so far. A phase
is announced where its work is done; where nobody asked for a course, as in the tests of a part, nothing is said.
"""

import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


class Phase(StrEnum):
    """What an erasure and its evaluation consist of, in the order in which they come."""

    LOADING = "loading"
    ORIGINAL = "pictures of the original"
    KEPT = "pictures to train on"
    TRAINING = "training"
    ERASED = "pictures of the erased model"
    ATTACKS = "attacks"
    REPORT = "report"


@dataclass(frozen=True)
class _Course:
    """The phases that there are, and when all began, on `time.perf_counter`."""

    phases: tuple[Phase, ...]
    began: float


_course: ContextVar[_Course | None] = ContextVar("course", default=None)


@contextmanager
def course(attacks: Collection[object], *left_out: Phase) -> Iterator[None]:
    """Within this each phase is announced as it begins; there are all but those left out, and attacks if there are."""
    phases = tuple(phase for phase in Phase if phase not in left_out and (attacks or phase is not Phase.ATTACKS))
    token = _course.set(_Course(phases, time.perf_counter()))
    try:
        yield
    finally:
        _course.reset(token)


def begin(phase: Phase, what: str) -> None:
    """Say that a phase begins, or the next part of it, and what is done or measured."""
    now = _course.get()
    if now is None:
        return
    place, seconds = now.phases.index(phase) + 1, time.perf_counter() - now.began
    # not by print: where bars are shown, they go on below it
    tqdm.write(f"{place} of {len(now.phases)}, {phase}: {what} ({seconds:.0f} s so far)", file=sys.stderr)


def bar(items: Iterable[Item], desc: str) -> Iterable[Item]:
    """The items, under a bar that goes when they are through; shown on a terminal alone, where it can go."""
    return tqdm(items, desc=f"  {desc}", leave=False, disable=None)
