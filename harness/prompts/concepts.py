"""Target, anchor and retained prompts.

A pipeline folder may hold a `vocabulary.json` that lists the axes of its world, how captions are phrased and a
default concept (the miniature's does). Then prompts pair every target caption with the same caption of the anchor,
and what names no erased value is retained. Any other model gets the template bank of its concept type, from
`prompts.yaml`, and retains the bank's nearest neighbours of the target, others at random, and the anchor. Templates of
the user's own go before both.

What `--anchor` puts in the target's place:

    a name or prompt   the usual choice: something of the same kind whose look is wanted instead
    superclass         the general word: "a painting" for a style; changes least, where any other look will do
    empty              no prompt at all: the model's own average, as ESD has it; strongest, least kind to neighbours
    near               the retained concept that the text encoder finds nearest: the smallest move that erases
"""

import math
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from harness.config import ConceptType, Config, UsageError, read_yaml
from harness.prompts import templates
from harness.prompts.templates import EMPTY, NEAR, SUPERCLASS, bank
from harness.prompts.vocabulary import Vocabulary

NEIGHBOURS, OTHERS = 8, 8
"""Retained of a bank's names for each target: the nearest, and as many of the rest at random."""
ARTICLES = ("a", "an", "the")
CONCEPT_KEYS = ("target", "anchor", "concept_type", "prompts", "divergence", "weight")
Rank = Callable[[str, Sequence[str]], list[str]]
"""Orders names by their closeness to a concept, the nearest first."""


@dataclass(frozen=True)
class Concept:
    """One erasure; `target_prompts[i]` and `anchor_prompts[i]` differ in the concept alone."""

    target: str
    anchor: str
    axis: str | None
    target_prompts: tuple[str, ...]
    anchor_prompts: tuple[str, ...]
    divergence: str
    weight: float = 1.0


@dataclass(frozen=True)
class Concepts:
    """What an erasure works on."""

    erased: tuple[Concept, ...]
    retain_prompts: tuple[str, ...]
    earlier: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Targets erased by the runs that this one continues, each with the prompts that it was erased by."""

    @property
    def target(self) -> str:
        """The names of all targets."""
        return ", ".join(concept.target for concept in self.erased)

    @property
    def anchor(self) -> str:
        """The names of their anchors."""
        return ", ".join(dict.fromkeys(concept.anchor for concept in self.erased))

    @property
    def prompts(self) -> list[str]:
        """Every prompt of the training."""
        pairs = [prompt for c in self.erased for prompt in (*c.target_prompts, *c.anchor_prompts)]
        return [*pairs, *self.retain_prompts]


def choose(
    config: Config,
    vocabulary: Vocabulary | None,
    earlier: Mapping[str, Sequence[str]] = MappingProxyType({}),
    rank: Rank = lambda _, names: [*names],
) -> Concepts:
    """Make the prompts of an erasure.

    Args:
        config: the run's options.
        vocabulary: of the model's world, if it has one.
        earlier: what the model has lost already, by target its prompts, which are retained, that is, stay lost.
        rank: orders names by their closeness to a concept.

    Raises:
        UsageError: a concept or file that cannot be used, two that contradict each other, or none given.
    """
    wishes = read_concepts(config) if config.concepts else [(config, 1.0)]
    if vocabulary and not config.target and not config.concepts and vocabulary.default_target in earlier:
        raise UsageError(f"--target is needed: the default, {vocabulary.default_target!r}, is erased already")
    targets = [wish.target for wish, _ in wishes]
    erased = []
    for wish, weight in wishes:
        gone = [*(name for name in targets if name != wish.target), *earlier]
        known = vocabulary and _known(wish, weight, vocabulary, gone, rank)
        erased.append(known or _general(wish, weight, gone, rank))
    _check(config, vocabulary, erased, earlier)
    if config.retain_weight == 0:
        return Concepts(tuple(erased), (), earlier)
    if config.retain:
        retained = list(config.retain)
    elif vocabulary is None:
        retained = _neighbours(config, wishes, erased, rank)
    else:
        retained = _other_values(vocabulary, erased, earlier)
    return Concepts(tuple(erased), (*retained, *_lost(vocabulary, erased, earlier)), earlier)


def _check(
    config: Config, vocabulary: Vocabulary | None, erased: Sequence[Concept], earlier: Mapping[str, Sequence[str]]
) -> None:
    """UsageError for concepts that contradict each other or what is to be retained."""
    names = [*(concept.target for concept in erased), *earlier]
    for i, name in enumerate(names):
        if any(_same(name, other) for other in names[:i]):
            raise UsageError(f"--target {name!r}: erased twice, here or by a run that this one continues")
    for concept in erased:
        if any(_same(concept.anchor, name) for name in names if name != concept.target):
            raise UsageError(f"--anchor {concept.anchor!r}: erased too, so nothing can be put in its place")
        for prompt in config.retain:
            if any(_same(prompt, erased) for erased in (concept.target, *concept.target_prompts)):
                raise UsageError(f"--retain {prompt!r}: is to be erased, with {concept.target!r}")
    for axis, values in vocabulary.without(names).items() if vocabulary else ():
        if not values:
            raise UsageError(f"--target {names[0]!r}: no {axis} would be left, so nothing to retain or to judge by")


def read_concepts(config: Config) -> list[tuple[Config, float]]:
    """The entries of `--concepts FILE.yaml` as options and weights; what an entry leaves out is the run's."""
    path = config.concepts
    assert path is not None
    if config.target or config.anchor or config.prompts:
        raise UsageError(f"--concepts {path}: names targets, anchors and prompts itself; leave out those options")
    entries = read_yaml("--concepts", path)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"--concepts {path}: expected a list of mappings with the keys {', '.join(CONCEPT_KEYS)}")
    return [_entry(config, path, entry) for entry in entries]


def _entry(config: Config, path: Path, entry: dict[str, Any]) -> tuple[Config, float]:
    where = f"--concepts {path}: {entry}"
    if unknown := [key for key in entry if key not in CONCEPT_KEYS]:
        raise UsageError(f"{where}: unknown key {unknown[0]!r}; choices: {', '.join(CONCEPT_KEYS)}")
    if wrong := [key for key, value in entry.items() if not isinstance(value, str)]:
        raise UsageError(f"{where}: {wrong[0]} {entry[wrong[0]]!r}: must be text")
    try:
        weight = float(entry.pop("weight", "1"))
    except ValueError:
        weight = math.nan
    if not 0 < weight < 1e30:
        raise UsageError(f"{where}: weight: must be a finite number above 0")
    if not entry.get("target", "").strip():
        raise UsageError(f"{where}: names no target")
    if (kind := entry.get("concept_type")) not in (None, *(choices := get_args(ConceptType))):
        raise UsageError(f"{where}: concept_type {kind!r}; choices: {', '.join(choices)}")
    if "prompts" in entry:
        entry["prompts"] = path.parent / entry["prompts"]
    return replace(config, **entry), weight


def _known(config: Config, weight: float, vocabulary: Vocabulary, gone: Sequence[str], rank: Rank) -> Concept:
    """A concept of a model whose world is known; its prompts name none of those that are `gone`."""
    if config.concept_type:
        raise UsageError(
            f"--concept-type {config.concept_type}: this model's vocabulary.json has templates of its own, which "
            "--prompts FILE can replace"
        )
    target = config.target or vocabulary.default_target
    axis = vocabulary.axis_of(target)
    others = [value for value in vocabulary.axes[axis] if value not in (target, *gone)]
    usual = vocabulary.default_anchor if not config.target and not config.concepts else [*others, SUPERCLASS][0]
    anchor = config.anchor or (target if config.anchor_guidance < 0 else usual)
    anchor = rank(target, others)[0] if anchor == NEAR else anchor
    _check_anchor(config, target, anchor)
    general = (SUPERCLASS, EMPTY)
    if anchor not in (*others, target, *general):
        raise UsageError(
            f"--anchor {anchor!r}: choices for the {axis} {target!r}: {', '.join((*others, *general, NEAR))}"
        )
    if config.prompts:
        return _concept(target, anchor, axis, templates.pairs(config, target, anchor), config, weight)
    pairs: list[tuple[str, str]] = []
    rest = vocabulary.without(gone)
    for template in vocabulary.templates:
        named = vocabulary.captions(template, rest | {axis: [target]})
        if anchor == EMPTY:
            pairs += [(caption, "") for caption in named]
            continue
        if anchor == SUPERCLASS:
            template = vocabulary.unnamed(template, axis)
        held = rest | {axis: [target if anchor == SUPERCLASS else anchor]}
        pairs += zip(named, (caption.strip() for caption in vocabulary.captions(template, held)), strict=True)
    return _concept(target, anchor, axis, pairs, config, weight)


def _general(config: Config, weight: float, gone: Sequence[str], rank: Rank) -> Concept:
    """A concept of any other model."""
    if not config.target.strip():
        raise UsageError("--target is needed: this model has no vocabulary.json with a default concept")
    target = config.target
    anchor = config.anchor or (target if config.anchor_guidance < 0 else SUPERCLASS)
    if anchor == NEAR:
        names = bank(config.concept_type).retain
        others = [name for name in names if not any(_words(name) & _words(each) for each in (target, *gone))]
        anchor = rank(target, others)[0]
    _check_anchor(config, target, anchor)
    return _concept(target, anchor, None, templates.pairs(config, target, anchor), config, weight)


def _concept(
    target: str, anchor: str, axis: str | None, pairs: Sequence[tuple[str, str]], config: Config, weight: float
) -> Concept:
    targets, anchors = zip(*pairs, strict=True)
    return Concept(target, anchor, axis, targets, anchors, config.divergence, weight)


def _neighbours(
    config: Config, wishes: Sequence[tuple[Config, float]], erased: Sequence[Concept], rank: Rank
) -> list[str]:
    """For each target its type's nearest names and some others, one template after the other, and the anchors."""
    targets = {word for concept in erased for word in _words(concept.target)}
    by_templates: dict[tuple[str, ...], list[str]] = {}
    for wish, _ in wishes:
        names = [name for name in bank(wish.concept_type).retain if not _words(name) & targets]
        names = rank(wish.target, names)
        rest = random.Random(config.seed).sample(names[NEIGHBOURS:], min(OTHERS, len(names[NEIGHBOURS:])))
        by_templates.setdefault(templates.templates_of(wish), []).extend([*names[:NEIGHBOURS], *rest])
    filled = [prompt for each, names in by_templates.items() for prompt in templates.filled(each, names)]
    anchors = [prompt for concept in erased if concept.anchor != concept.target for prompt in concept.anchor_prompts]
    return list(dict.fromkeys([*filled, *anchors]))


def _other_values(vocabulary: Vocabulary, erased: Sequence[Concept], earlier: Iterable[str]) -> list[str]:
    """Every caption that names no erased value."""
    allowed, first = vocabulary.without([*(concept.target for concept in erased), *earlier]), erased[0].axis
    assert first is not None
    held = [allowed | {first: [value]} for value in allowed[first]]
    return [
        caption for one in held for template in vocabulary.templates for caption in vocabulary.captions(template, one)
    ]


def _lost(vocabulary: Vocabulary | None, erased: Sequence[Concept], earlier: Mapping[str, Sequence[str]]) -> list[str]:
    """Prompts of what earlier runs erased: their predictions are held too, so that it stays lost."""
    if vocabulary is None:
        return [prompt for prompts in earlier.values() for prompt in prompts]
    rest = vocabulary.without(concept.target for concept in erased)
    return [
        caption
        for name in earlier
        for template in vocabulary.templates
        for caption in vocabulary.captions(template, rest | {vocabulary.axis_of(name): [name]})
    ]


def _check_anchor(config: Config, target: str, anchor: str) -> None:
    same, away = _same(target, anchor), config.anchor_guidance < 0
    if same and not away:
        raise UsageError(
            f"--anchor {anchor!r}: equal to the target, so there is nothing to erase; choose another concept, or an "
            "--anchor-guidance below 0, which leads away from the target as ESD does"
        )
    if away and not same:
        raise UsageError(
            f"--anchor {anchor!r}: an --anchor-guidance below 0 leads away from the anchor, so that has to be the "
            f"target, {target!r}"
        )


def _words(name: str) -> set[str]:
    """What says which concept it is: "Van Gogh" and "vincent van gogh" are one."""
    return {word for word in re.findall(r"\w+", name.lower()) if len(word) > 2 and word not in ("the", "and", "van")}


def _same(name: str, other: str) -> bool:
    """Whether two names have the same words in the same order, but for articles: "a dog" and "The dog"."""
    words = [[word for word in re.findall(r"\w+", each.lower()) if word not in ARTICLES] for each in (name, other)]
    return words[0] == words[1] and (words[0] != [] or name.split() == other.split())
