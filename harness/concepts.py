"""Target, anchor and retained prompts.

A pipeline folder may hold a `vocabulary.json` that lists the axes of its world, how captions are phrased and a
default concept (the miniature's does). Then prompts pair every target caption with the same caption of the anchor,
and what names no erased value is retained. Any other model gets the template bank of its concept type, from
`prompts.yaml`, and retains the bank's nearest neighbours of the target, others at random, and the anchor.

What `--anchor` puts in the target's place:

    a name or prompt   the usual choice: something of the same kind whose look is wanted instead
    superclass         the general word: "a painting" for a style; changes least, where any other look will do
    empty              no prompt at all: the model's own average, as ESD has it; strongest, least kind to neighbours
    near               the retained concept that the text encoder finds nearest: the smallest move that erases
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import yaml

from harness.config import ConceptType, Config, UsageError
from harness.vocabulary import Vocabulary

SUPERCLASS, EMPTY, NEAR = "superclass", "empty", "near"
NEIGHBOURS, OTHERS = 8, 8
"""Retained of a bank's names for each target: the nearest, and as many of the rest at random."""
CHOICE = re.compile(r"\[(.*?)\|(.*?)\]")
"""In a template: what it says with the concept, and what without."""
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
    earlier: tuple[str, ...] = ()
    """Targets erased by the runs that this one continues."""

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


@dataclass(frozen=True)
class Bank:
    """Templates of a concept type, and names of other concepts of that type."""

    templates: tuple[str, ...]
    retain: tuple[str, ...] = ()


@cache
def bank(concept_type: str) -> Bank:
    """The type's own, from prompts.yaml."""
    content = yaml.safe_load((files("harness") / "prompts.yaml").read_text())[concept_type]
    return Bank(tuple(content["templates"]), tuple(content["retain"]))


def choose(
    config: Config, vocabulary: Vocabulary | None, earlier: Sequence[str] = (), rank: Rank = lambda _, names: [*names]
) -> Concepts:
    """Make the prompts of an erasure.

    Args:
        config: the run's options.
        vocabulary: of the model's world, if it has one.
        earlier: targets that the model has lost already; what remains of them is retained, that is, stays lost.
        rank: orders names by their closeness to a concept.

    Raises:
        UsageError: a concept or file that cannot be used, two that contradict each other, or none given.
    """
    wishes = read_concepts(config) if config.concepts else [(config, 1.0)]
    targets = [wish.target for wish, _ in wishes]
    erased = []
    for wish, weight in wishes:
        gone = [*(name for name in targets if name != wish.target), *earlier]
        known = vocabulary and _known(wish, weight, vocabulary, gone, rank)
        erased.append(known or _general(wish, weight, gone, rank))
    names = [*(_plain(concept.target) for concept in erased), *map(_plain, earlier)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"--target {twice[0]!r}: erased twice, here or by a run that this one continues")
    for concept in erased:
        if _plain(concept.anchor) in names and concept.anchor != concept.target:
            raise UsageError(f"--anchor {concept.anchor!r}: erased too, so nothing can be put in its place")
    if config.retain_method == "none":
        return Concepts(tuple(erased), (), tuple(earlier))
    if config.retain:
        retained = list(config.retain)
    elif vocabulary is None:
        retained = _neighbours(config, wishes, erased, rank)
    else:
        retained = _other_values(vocabulary, erased, earlier)
    return Concepts(tuple(erased), (*retained, *_lost(config, vocabulary, erased, earlier)), tuple(earlier))


def read_concepts(config: Config) -> list[tuple[Config, float]]:
    """The entries of `--concepts FILE.yaml` as options and weights; what an entry leaves out is the run's."""
    path = config.concepts
    assert path is not None
    if config.target or config.anchor or config.prompts:
        raise UsageError(f"--concepts {path}: names targets, anchors and prompts itself; leave out those options")
    try:
        entries = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"--concepts {path}: no YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"--concepts {path}: expected a list of mappings with the keys {', '.join(CONCEPT_KEYS)}")
    return [_entry(config, path, entry) for entry in entries]


def _entry(config: Config, path: Path, entry: dict[str, Any]) -> tuple[Config, float]:
    where = f"--concepts {path}: {entry}"
    if unknown := [key for key in entry if key not in CONCEPT_KEYS]:
        raise UsageError(f"{where}: unknown key {unknown[0]!r}; choices: {', '.join(CONCEPT_KEYS)}")
    weight = entry.pop("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < 1e30:
        raise UsageError(f"{where}: weight {weight!r}: must be a finite number above 0")
    if wrong := [key for key, value in entry.items() if not isinstance(value, str)]:
        raise UsageError(f"{where}: {wrong[0]} {entry[wrong[0]]!r}: must be text")
    if not entry.get("target"):
        raise UsageError(f"{where}: names no target")
    if (kind := entry.get("concept_type", config.concept_type)) not in (choices := get_args(ConceptType)):
        raise UsageError(f"{where}: concept_type {kind!r}; choices: {', '.join(choices)}")
    if "prompts" in entry:
        entry["prompts"] = path.parent / entry["prompts"]
    return replace(config, **entry), float(weight)


def _known(config: Config, weight: float, vocabulary: Vocabulary, gone: Sequence[str], rank: Rank) -> Concept:
    """A concept of a model whose world is known; its prompts name none of those that are `gone`."""
    if config.prompts:
        raise UsageError(f"--prompts {config.prompts}: this model's vocabulary.json has templates of its own")
    target = config.target or vocabulary.default_target
    axis = vocabulary.axis_of(target)
    others = [value for value in vocabulary.axes[axis] if value not in (target, *gone)]
    anchor = config.anchor or (vocabulary.default_anchor if not config.target and not config.concepts else others[0])
    anchor = rank(target, others)[0] if anchor == NEAR else anchor
    _differ(config, target, anchor)
    general = (SUPERCLASS, EMPTY)
    if anchor not in (*others, target, *general):
        raise UsageError(
            f"--anchor {anchor!r}: choices for the {axis} {target!r}: {', '.join((*others, *general, NEAR))}"
        )
    pairs: list[tuple[str, str]] = []
    rest = vocabulary.without(gone)
    for template in vocabulary.templates:
        named = vocabulary.captions(template, rest | {axis: [target]})
        if anchor == EMPTY:
            pairs += [(caption, "") for caption in named]
            continue
        if anchor == SUPERCLASS:
            for old, new in vocabulary.superclass[axis]:
                template = template.replace(old, new)
        held = rest | {axis: [target if anchor == SUPERCLASS else anchor]}
        pairs += zip(named, (caption.strip() for caption in vocabulary.captions(template, held)), strict=True)
    return _concept(target, anchor, axis, pairs, config, weight)


def _general(config: Config, weight: float, gone: Sequence[str], rank: Rank) -> Concept:
    """A concept of any other model."""
    if not config.target:
        raise UsageError("--target is needed: this model has no vocabulary.json with a default concept")
    target, anchor = config.target, config.anchor or SUPERCLASS
    own = bank(config.concept_type)
    templates = own.templates if config.prompts is None else read_templates(config.prompts)
    if anchor == NEAR:
        others = [name for name in own.retain if not any(_words(name) & _words(each) for each in (target, *gone))]
        anchor = rank(target, others)[0]
    _differ(config, target, anchor)
    if anchor == SUPERCLASS and (plain := [template for template in templates if not CHOICE.search(template)]):
        raise UsageError(
            f"--prompts {config.prompts}: {plain[0]!r} does not say what stands in the concept's place; write "
            "[WITH {}|WITHOUT] around it, or choose another --anchor"
        )
    pairs = [(_with(template, target), "" if anchor == EMPTY else _without(template, anchor)) for template in templates]
    return _concept(target, anchor, None, pairs, config, weight)


def _concept(
    target: str, anchor: str, axis: str | None, pairs: Sequence[tuple[str, str]], config: Config, weight: float
) -> Concept:
    targets, anchors = zip(*pairs, strict=True)
    return Concept(target, anchor, axis, targets, anchors, config.divergence, weight)


def _with(template: str, concept: str) -> str:
    return CHOICE.sub(r"\1", template).replace("{}", concept)


def _without(template: str, anchor: str) -> str:
    return CHOICE.sub(r"\2", template) if anchor == SUPERCLASS else _with(template, anchor)


def read_templates(path: Path) -> tuple[str, ...]:
    """The lines of `--prompts FILE`, each with `{}` once in the concept's place; UsageError for others, or none."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--prompts {path}: no text file: {error}") from error
    for line in lines or [""]:
        if line.count("{}") != 1 or "{}" not in _with(line, "{}") or len(CHOICE.findall(line)) > 1:
            raise UsageError(f"--prompts {path}: {line!r}: each line needs {{}} once, where the concept's name goes")
    return tuple(lines)


def _neighbours(
    config: Config, wishes: Sequence[tuple[Config, float]], erased: Sequence[Concept], rank: Rank
) -> list[str]:
    """For each target its type's nearest names and some others, one template after the other, and the anchors."""
    targets = {word for concept in erased for word in _words(concept.target)}
    by_type: dict[str, list[str]] = {}
    for wish, _ in wishes:
        names = [name for name in bank(wish.concept_type).retain if not _words(name) & targets]
        names = rank(wish.target, names)
        rest = random.Random(config.seed).sample(names[NEIGHBOURS:], OTHERS)
        by_type.setdefault(wish.concept_type, []).extend([*names[:NEIGHBOURS], *rest])
    filled = [
        _with(template, name)
        for kind, names in by_type.items()
        for template in bank(kind).templates
        for name in dict.fromkeys(names)
    ]
    anchors = [prompt for concept in erased if concept.anchor != concept.target for prompt in concept.anchor_prompts]
    return list(dict.fromkeys([*filled, *anchors]))


def _other_values(vocabulary: Vocabulary, erased: Sequence[Concept], earlier: Sequence[str]) -> list[str]:
    """Every caption that names no erased value."""
    allowed, first = vocabulary.without([*(concept.target for concept in erased), *earlier]), erased[0].axis
    assert first is not None
    held = [allowed | {first: [value]} for value in allowed[first]]
    return [
        caption for one in held for template in vocabulary.templates for caption in vocabulary.captions(template, one)
    ]


def _lost(
    config: Config, vocabulary: Vocabulary | None, erased: Sequence[Concept], earlier: Sequence[str]
) -> list[str]:
    """Prompts of what earlier runs erased: their predictions are held too, so that it stays lost."""
    if vocabulary is None:
        return [_with(template, name) for name in earlier for template in bank(config.concept_type).templates]
    rest = vocabulary.without(concept.target for concept in erased)
    return [
        caption
        for name in earlier
        for template in vocabulary.templates
        for caption in vocabulary.captions(template, rest | {vocabulary.axis_of(name): [name]})
    ]


def _differ(config: Config, target: str, anchor: str) -> None:
    if _plain(target) == _plain(anchor) and config.anchor_guidance >= 0:
        raise UsageError(
            f"--anchor {anchor!r}: equal to the target, so there is nothing to erase; choose another concept, or an "
            "--anchor-guidance below 0, which leads away from the target as ESD does"
        )


def _words(name: str) -> set[str]:
    """What says which concept it is: "Van Gogh" and "vincent van gogh" are one."""
    return {word for word in re.findall(r"\w+", name.lower()) if len(word) > 2 and word not in ("the", "and", "van")}


def _plain(name: str) -> str:
    return name.strip().lower()
