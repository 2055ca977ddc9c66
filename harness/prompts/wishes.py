"""What is asked to be erased: by the options of a run, or by the entries of `--concepts FILE.yaml`."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from harness.config import ConceptType, Config, UsageError, read_yaml
from harness.prompts import leco, templates
from harness.prompts.templates import EMPTY, NEAR, RETAINED, SUPERCLASS, bank
from harness.prompts.vocabulary import Vocabulary

ARTICLES = ("a", "an", "the")
CONCEPT_KEYS = ("target", "anchor", "concept_type", "prompts", "divergence", "weight")


@dataclass(frozen=True)
class Wish:
    """One erasure, as far as it is known before a model is loaded."""

    options: Config
    """Of the run, with this concept's target, anchor, templates and divergence."""
    weight: float
    target: str
    axis: str | None
    """Of the vocabulary, where there is one."""
    anchors: tuple[str, ...]
    """The anchor; with `near` all names that it could be, of which a text encoder tells the nearest; with `retained`
    all of them stand in the target's place, each in other prompts."""
    retained: bool = False
    """Whether they do."""

    @property
    def named(self) -> str:
        """What its prompts name: the target, or the concept that this is an attribute of."""
        return self.options.within or self.target

    @property
    def divergence(self) -> str:
        """As the options name it."""
        return self.options.divergence

    @property
    def named_anchors(self) -> tuple[str, ...]:
        """Those that are concepts of their own, beside the target."""
        return tuple(each for each in self.anchors if each not in (SUPERCLASS, EMPTY) and not same(each, self.target))

    def word(self, vocabulary: Vocabulary | None) -> str:
        """What the superclass is called in prompts, "an object"; empty where the concept is just left out of them."""
        if vocabulary is None or self.axis is None or self.options.prompts:
            return templates.general_word(templates.templates_of(self.options))
        return next((new.strip() for _, new in vocabulary.superclass[self.axis] if new.strip()), "")

    def general(self, vocabulary: Vocabulary | None, gone: Sequence[str]) -> list[str]:
        """For each prompt of the target the same without it, in the order of `pairs`; empty where there is none."""
        if vocabulary is None or self.axis is None or self.options.prompts:
            return [templates.general(each) for each in templates.templates_of(self.options)]
        return [general for _, general in self.pairs(SUPERCLASS, vocabulary, gone)]

    def pairs(self, anchor: str, vocabulary: Vocabulary | None, gone: Sequence[str]) -> list[tuple[str, str]]:
        """Prompts of the target, each with the anchor's; they name nothing of what else is gone.

        Raises:
            UsageError: templates that cannot be used.
        """
        if vocabulary is None or self.axis is None or self.options.prompts:
            return templates.pairs(self.options, self.target, anchor)
        rest = vocabulary.without(gone)
        held = {self.axis: [self.target if anchor in (SUPERCLASS, EMPTY) else anchor]}
        result = []
        for template in vocabulary.templates:
            named = vocabulary.captions(template, rest | {self.axis: [self.target]})
            plain = vocabulary.unnamed(template, self.axis) if anchor == SUPERCLASS else template
            others = [caption.strip() for caption in vocabulary.captions(plain, rest | held)]
            result += [(target, "" if anchor == EMPTY else other) for target, other in zip(named, others, strict=True)]
        return result


def known_wish(options: Config, weight: float, vocabulary: Vocabulary, gone: Sequence[str]) -> Wish:
    """A concept of a model whose world is known; `gone` is what else is erased, now or earlier.

    Raises:
        UsageError: a target or an anchor that the vocabulary does not have, or one that is gone.
    """
    if options.concept_type:
        asked = f"--concept-type {options.concept_type}"
        if options.concepts:
            asked = f"--concepts {options.concepts}: {options.target}: concept_type {options.concept_type}"
        raise UsageError(
            f"{asked}: this model's vocabulary.json has templates of its own, which --prompts FILE can replace"
        )
    if options.within:
        raise UsageError(
            f"--within {options.within!r}: this model's captions name each of its attributes, so that none is hidden "
            "in another concept; leave it out"
        )
    target = options.target or vocabulary.default_target
    axis = vocabulary.axis_of(target)
    others = [value for value in vocabulary.axes[axis] if value not in (target, *gone)]
    anchor = options.anchor or _usual_anchor(options, vocabulary, target, others)
    if anchor in (NEAR, RETAINED):
        return Wish(options, weight, target, axis, _any_of(options, anchor, target, others), anchor == RETAINED)
    _check_anchor(options, target, anchor)
    if anchor not in (*others, target, SUPERCLASS, EMPTY):
        choices = ", ".join((*others, SUPERCLASS, EMPTY, NEAR, RETAINED))
        raise UsageError(f"--anchor {anchor!r}: choices for the {axis} {target!r}: {choices}")
    return Wish(options, weight, target, axis, (anchor,))


def _usual_anchor(options: Config, vocabulary: Vocabulary, target: str, others: Sequence[str]) -> str:
    """The target itself with guidance away from it, what is retained where the target's pictures are noised, the
    world's default, or the first other value of the axis."""
    if options.leads_away:
        return target
    if options.origin == "target" and others:
        return RETAINED
    if not options.target and not options.concepts:
        return vocabulary.default_anchor
    return others[0] if others else SUPERCLASS


def general_wish(options: Config, weight: float, gone: Sequence[str]) -> Wish:
    """A concept of any other model; `gone` is what else is erased, now or earlier.

    Raises:
        UsageError: no target, or an anchor that cannot be put in its place.
    """
    target = options.target
    if not target.strip():
        raise UsageError("--target is needed: this model has no vocabulary.json with a default concept")
    if options.within and same(options.within, target):
        raise UsageError(f"--within {options.within!r}: equal to the target; leave it out to erase that everywhere")
    anchor = options.anchor
    if not anchor and options.leads_away:
        anchor = target
    if not anchor:
        anchor = RETAINED if options.origin == "target" else SUPERCLASS
    if anchor in (NEAR, RETAINED):
        names = bank(options.concept_type).retain
        others = [name for name in names if not any(words(name) & words(each) for each in (target, *gone))]
        return Wish(options, weight, target, None, _any_of(options, anchor, target, others), anchor == RETAINED)
    _check_anchor(options, target, anchor)
    return Wish(options, weight, target, None, (anchor,))


def _any_of(options: Config, anchor: str, target: str, others: Sequence[str]) -> tuple[str, ...]:
    """All names to choose from; UsageError where there is none, or where the anchor has to be the target."""
    if not others:
        raise UsageError(f"--anchor {anchor}: nothing is left beside {target!r}; choose superclass or empty")
    _check_anchor(options, target, others[0])
    return tuple(others)


def read_concepts(options: Config) -> list[tuple[Config, float]]:
    """The entries of `--concepts FILE.yaml` as options and weights; what an entry leaves out is the run's."""
    path = options.concepts
    assert path is not None
    if options.target or options.anchor or options.prompts:
        raise UsageError(f"--concepts {path}: names targets, anchors and prompts itself; leave out those options")
    entries = leco.read_toml(path) if path.suffix == ".toml" else read_yaml("--concepts", path)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(
            f"--concepts {path}: expected a list of mappings with the keys {', '.join(CONCEPT_KEYS)}, or LECO's"
        )
    leco.note_what_is_the_runs(path, entries)
    return [_entry(options, path, entry) for entry in entries]


def _entry(options: Config, path: Path, entry: dict[str, Any]) -> tuple[Config, float]:
    where = f"--concepts {path}: {entry}"
    known = ("target", "weight", *leco.KEYS) if leco.is_leco(entry) else CONCEPT_KEYS
    if unknown := [key for key in entry if key not in known]:
        raise UsageError(f"{where}: unknown key {unknown[0]!r}; choices: {', '.join(known)}")
    if wrong := [key for key, value in entry.items() if not isinstance(value, str) and key not in leco.OF_THE_RUN]:
        raise UsageError(f"{where}: {wrong[0]} {entry[wrong[0]]!r}: must be text")
    if leco.is_leco(entry):
        entry = leco.translated(options, where, entry)
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
    return replace(options, **entry), weight


def _check_anchor(options: Config, target: str, anchor: str) -> None:
    equal, away = same(target, anchor), options.leads_away
    if equal and not away:
        raise UsageError(
            f"--anchor {anchor!r}: equal to the target, so there is nothing to erase; choose another concept, or an "
            "--anchor-guidance below 0, which leads away from the target as ESD does"
        )
    if away and not equal:
        raise UsageError(
            f"--anchor {anchor!r}: an --anchor-guidance of {options.guidance:g} leads away from the anchor, so that "
            f"has to be the target, {target!r}"
        )


def words(name: str) -> set[str]:
    """What says which concept it is: "Van Gogh" and "vincent van gogh" are one."""
    return {word for word in re.findall(r"\w+", name.lower()) if len(word) > 2 and word not in ("the", "and", "van")}


def same(name: str, other: str) -> bool:
    """Whether two names have the same words in the same order, but for articles: "a dog" and "The dog"."""
    words = [[word for word in re.findall(r"\w+", each.lower()) if word not in ARTICLES] for each in (name, other)]
    return words[0] == words[1] and (words[0] != [] or name.split() == other.split())
