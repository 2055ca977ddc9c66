"""The prompts that a model is judged on, each with what it names and what of that counts for which metric."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from harness.prompts.concepts import Concepts
from harness.prompts.vocabulary import Vocabulary
from harness.prompts.words import CONCEPT, Words

if TYPE_CHECKING:
    from torch import Tensor

SEED = 10_000
"""Of the pictures of a panel's prompts."""
TARGET_SEEDS = 2
GENERAL_RETAINED = 16
SHOWN = "own prompts"
"""What the rows of the user's own prompts name."""
COLUMNS = 8
KEPT = 3
"""Kept values of a vocabulary that are shown."""
JUDGED = 48
"""Pictures of what is erased, and as many of what is kept, for a judge of a model without a vocabulary."""


class Row(NamedTuple):
    """One prompt of a panel."""

    prompt: str
    named: str
    """The erased concept that it names, or the value it keeps; `retained` for a model without a vocabulary."""
    labels: Mapping[str, str]
    """By axis the value that it names; empty for a model without a vocabulary."""
    judged_on: frozenset[str] = frozenset()
    """The axes on which the erasure is judged: the named target's, or all that have lost a value."""


@dataclass(frozen=True)
class Panel:
    """The prompts that before, after and oracle pictures are made from: targets', then earlier ones', then retained."""

    rows: tuple[Row, ...]
    targets: int
    """How many prompts name a target."""
    earlier: int = 0
    """How many name one that was erased by an earlier run."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompt of each row."""
        return tuple(row.prompt for row in self.rows)

    @property
    def named(self) -> tuple[str, ...]:
        """What each row names."""
        return tuple(row.named for row in self.rows)

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """By row the number of its prompt: the same where rows differ in their seeds alone."""
        of = {prompt: number for number, prompt in enumerate(dict.fromkeys(self.prompts))}
        return tuple(of[prompt] for prompt in self.prompts)

    @property
    def retained(self) -> int:
        """Where the retained prompts begin."""
        return self.targets + self.earlier

    @property
    def retained_rows(self) -> "Tensor":
        """Places of the retained prompts, (retained,)."""
        import torch

        return torch.arange(self.retained, len(self.rows))

    @property
    def labelled(self) -> bool:
        """Whether there is anything that a judge's answers can be held against."""
        return bool(self.rows[0].labels)

    @property
    def own(self) -> "Tensor":
        """On which axes the erasure is judged, (prompts, axes)."""
        import torch

        return torch.tensor([[axis in row.judged_on for axis in row.labels] for row in self.rows])

    def agreement(self, values: Mapping[str, Sequence[str]]) -> "Tensor":
        """1 where a judge's values by axis are those that the prompts name, else 0, (prompts, axes) in fp32."""
        import torch

        same = [[values[axis][i] == value for axis, value in row.labels.items()] for i, row in enumerate(self.rows)]
        return torch.tensor(same).float()

    def every(self, stride: int) -> "tuple[list[int], Panel]":
        """Every so many of the targets' and of the retained prompts: their places, and the panel of these alone."""
        targets = range(0, self.targets, stride)
        places = [*targets, *range(self.retained, len(self.rows), stride)]
        return places, Panel(tuple(self.rows[i] for i in places), len(targets))


@dataclass(frozen=True)
class Gallery:
    """The pictures of a panel's prompts."""

    panel: Panel
    pictures: "Mapping[str, Tensor | None]"
    """By model, in the order of the rows, (prompts, 3, H, W) in [0, 1]; None for a model there is not."""
    prefix: str = ""
    """What the names of its files begin with."""


@dataclass(frozen=True)
class Line:
    """Up to `COLUMNS` pictures of a panel, to be looked at beside each other, by one model after the other."""

    places: tuple[int, ...]
    """In the panel."""
    name: str
    """What all of them name; empty where the prompts are shown."""
    erased: bool


def lines(panel: Panel) -> list[Line]:
    """What is shown of a panel: of a vocabulary every erased name and some kept ones, of all else everything."""
    if not panel.labelled:
        groups = [(range(panel.retained), True), (range(panel.retained, len(panel.rows)), False)]
        return [
            Line(tuple(group[start : start + COLUMNS]), "", erased)
            for group, erased in groups
            for start in range(0, len(group), COLUMNS)
        ]
    gone = list(dict.fromkeys(panel.named[: panel.retained]))
    kept = list(dict.fromkeys(panel.named[panel.retained :]))[:KEPT]
    return [Line(_varied(panel, name), name, name in gone) for name in (*gone, *kept)]


def _varied(panel: Panel, name: str) -> tuple[int, ...]:
    """Places of one name's prompts, by a stride that shares no factor with their number: every axis varies."""
    group = [i for i, value in enumerate(panel.named) if value == name]
    stride = next(prime for prime in (7, 11, 13, 1) if len(group) % prime or prime == 1)
    return tuple(group[stride * k % len(group)] for k in range(min(COLUMNS, len(group))))


def panel(concepts: Concepts, vocabulary: Vocabulary | None, words: Words | None = None) -> Panel:
    """The prompts to judge an erasure on: by the axes of a vocabulary, by a judge's words, or those of the training."""
    if vocabulary is not None:
        return _known_panel(concepts, vocabulary)
    return _general_panel(concepts) if words is None else _worded_panel(concepts, words)


def _general_panel(concepts: Concepts) -> Panel:
    """The targets' prompts, or of each of several targets one, and some of those retained."""
    most = None if len(concepts.erased) == 1 else 1  # one prompt of each is enough to look at
    targets = [Row(prompt, each.target, {}) for each in concepts.erased for prompt in each.target_prompts[:most]]
    earlier = [Row(target, target, {}) for target in concepts.earlier]
    kept = [Row(prompt, "retained", {}) for prompt in _spread(concepts.retain_prompts, GENERAL_RETAINED)]
    return Panel((*targets, *earlier, *kept), len(targets), len(earlier))


def _spread(prompts: Sequence[str], most: int) -> list[str]:
    """So many of the prompts, or all, from beginning to end: in every template, and not of one name alone."""
    count = len(prompts)
    if count <= most:
        return list(prompts)
    # Prompts are in the order of templates and, within each, of names: a step that shares no factor with their number
    # shares none with that of the names, so both vary.
    step = next(step for step in range(count // most, count) if math.gcd(step, count) == 1)
    return [prompts[i * step % count] for i in range(most)]


def _worded_panel(concepts: Concepts, words: Words) -> Panel:
    """Each target's prompts, those of what is erased already, and the other words', as many pictures of each."""
    current = [concept.target for concept in concepts.erased]
    gone = [*current, *concepts.earlier]
    others = [word for word in words.axes[CONCEPT] if word not in gone]

    def rows(names: Sequence[str]) -> list[Row]:
        each = max(1, JUDGED // len(names)) if names else 0
        own = frozenset({CONCEPT})
        return [
            Row(words.prompts[name][i % len(words.prompts[name])], name, {CONCEPT: name}, own)
            for name in names
            for i in range(each)
        ]

    targets, earlier = rows(current), rows([*concepts.earlier])
    return Panel((*targets, *earlier, *rows(others)), len(targets), len(earlier))


def _known_panel(concepts: Concepts, vocabulary: Vocabulary) -> Panel:
    """Every combination of the other axes with each target (two pictures each) and with each retained value."""
    current = [concept.target for concept in concepts.erased]
    gone = [*current, *concepts.earlier]
    lost = frozenset(vocabulary.axis_of(name) for name in gone)
    rest = vocabulary.without(gone)

    def rows(value: str, judged_on: frozenset[str]) -> list[Row]:
        labels = vocabulary.combinations(rest | {vocabulary.axis_of(value): [value]})
        return [Row(vocabulary.templates[0].format(**each), value, each, judged_on) for each in labels]

    def erased(names: Sequence[str]) -> list[Row]:
        twice = [name for name in names for _ in range(TARGET_SEEDS)]
        return [row for name in twice for row in rows(name, frozenset({vocabulary.axis_of(name)}))]

    targets, earlier = erased(current), erased([*concepts.earlier])
    kept = [row for value in rest[vocabulary.axis_of(current[0])] for row in rows(value, lost)]
    return Panel((*targets, *earlier, *kept), len(targets), len(earlier))
