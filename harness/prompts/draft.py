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
    retained           every retained concept, each in other prompts: what a model shows that never knew the target
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from harness.config import Config, UsageError
from harness.prompts import templates
from harness.prompts.concepts import Concept, Concepts, towards
from harness.prompts.templates import EMPTY, RETAINED, SUPERCLASS, bank
from harness.prompts.vocabulary import Vocabulary
from harness.prompts.wishes import Wish, general_wish, known_wish, read_concepts, same, words
from harness.runs.places import public_divergences

NEIGHBOURS, OTHERS = 8, 8
"""Retained of a bank's names for each target: the nearest, and as many of the rest at random."""
ANCHORS = 7
"""Retained concepts, the nearest, that take turns in the target's place; of the miniature's shapes seven are left."""
Rank = Callable[[str, Sequence[str]], list[str]]
"""Orders names by their closeness to a concept, the nearest first."""


@dataclass(frozen=True)
class Draft:
    """An erasure as far as it is known before a model is loaded; `settle` asks a text encoder for the rest."""

    options: Config
    vocabulary: Vocabulary | None
    erased: tuple[Wish, ...]
    earlier: Mapping[str, Sequence[str]]
    """What the model has lost already: by target its prompts, which are retained, that is, stay lost."""

    @classmethod
    def of(
        cls, options: Config, vocabulary: Vocabulary | None, earlier: Mapping[str, Sequence[str]] = MappingProxyType({})
    ) -> "Draft":
        """Read what is asked for.

        Args:
            options: of the run.
            vocabulary: of the model's world, if it has one.
            earlier: what the model has lost already, by target its prompts.

        Raises:
            UsageError: a concept or file that cannot be used, two that contradict each other, or none given.
        """
        asked = read_concepts(options) if options.concepts else [(options, 1.0)]
        if vocabulary and not options.target and not options.concepts and vocabulary.default_target in earlier:
            raise UsageError(f"--target is needed: the default, {vocabulary.default_target!r}, is erased already")
        targets = [each.target for each, _ in asked]
        wishes = []
        for each, weight in asked:
            gone = [*(name for name in targets if name != each.target), *earlier]
            wishes.append(
                known_wish(each, weight, vocabulary, gone) if vocabulary else general_wish(each, weight, gone)
            )
        draft = cls(options, vocabulary, tuple(wishes), earlier)
        draft._check()
        return draft

    @property
    def target(self) -> str:
        """The names of all targets."""
        return ", ".join(wish.target for wish in self.erased)

    @property
    def contradicted(self) -> list[str]:
        """Prompts to retain that name what is to be erased, beside other words."""
        named = [words(wish.named) for wish in self.erased if words(wish.named)]
        return [prompt for prompt in self.options.retain if any(name <= words(prompt) for name in named)]

    def _gone(self, wish: Wish) -> list[str]:
        """What else is erased, now or earlier."""
        return [*(other.target for other in self.erased if other.target != wish.target), *self.earlier]

    def _check(self) -> None:
        """UsageError for concepts that contradict each other or what is to be retained, or unusable templates."""
        names = [*(wish.target for wish in self.erased), *self.earlier]
        for i, name in enumerate(names):
            if any(same(name, other) for other in names[:i]):
                raise UsageError(f"--target {name!r}: erased twice, here or by a run that this one continues")
        for wish in self.erased:
            anchor = wish.anchors[0]
            if any(same(anchor, name) for name in names if name != wish.target):
                raise UsageError(f"--anchor {anchor!r}: erased too, so nothing can be put in its place")
            prompts = [target for target, _ in wish.pairs(anchor, self.vocabulary, self._gone(wish))]
            for prompt in self.options.retain:
                if any(same(prompt, erased) for erased in (wish.named, *prompts)):
                    raise UsageError(f"--retain {prompt!r}: is to be erased, with {wish.named!r}")
        left = self.vocabulary.without(names) if self.vocabulary else {}
        if empty := [axis for axis, values in left.items() if not values]:
            raise UsageError(f"--target {names[0]!r}: no {empty[0]} would be left, so nothing to retain or to judge by")

    def settle(self, rank: Rank) -> Concepts:
        """The erasure with all its prompts.

        Args:
            rank: orders names by their closeness to a concept.
        """
        erased = tuple(self._settled(wish, rank) for wish in self.erased)
        general = {
            prompt: other
            for wish, each in zip(self.erased, erased, strict=True)
            for prompt, other in zip(each.target_prompts, wish.general(self.vocabulary, self._gone(wish)), strict=True)
        }
        if self.options.retain_weight == 0:
            return Concepts(erased, (), general, self.earlier)
        if self.options.retain:
            retained = dict.fromkeys(self.options.retain, "")
        elif self.vocabulary is None:
            retained = self._neighbours(erased, rank, general)
        else:
            retained = self._other_values(self.vocabulary)
        return Concepts(erased, (*retained, *self._lost()), general | retained, self.earlier)

    def _settled(self, wish: Wish, rank: Rank) -> Concept:
        """A wish with its prompts, where several anchors take turns."""
        ranked = wish.anchors if len(wish.anchors) == 1 else rank(wish.target, wish.anchors)
        chosen = ranked[:ANCHORS] if wish.retained else ranked[:1]
        by_anchor = [wish.pairs(anchor, self.vocabulary, self._gone(wish)) for anchor in chosen]
        targets = tuple(target for target, _ in by_anchor[0])
        every = tuple(tuple(pairs[i][1] for pairs in by_anchor) for i in range(len(targets)))
        anchors = tuple(prompts[i % len(chosen)] for i, prompts in enumerate(every))
        name = RETAINED if wish.retained else chosen[0]
        divergence = public_divergences(wish.divergence)
        led_to = name
        if self.options.leads_away:
            led_to = wish.target if self.options.guidance else EMPTY
        direction = towards(wish.target, led_to, wish.word(self.vocabulary) if led_to == SUPERCLASS else "")
        direction += f' within "{self.options.within}"' * bool(self.options.within)
        return Concept(wish.target, name, direction, wish.axis, targets, anchors, every, divergence, wish.weight)

    def _neighbours(self, erased: Sequence[Concept], rank: Rank, general: Mapping[str, str]) -> dict[str, str]:
        """For each target its type's nearest names and some others, one template after the other, and the anchors.

        Each prompt comes with what it says without the name.
        """
        targets = {word for wish in self.erased for name in (wish.target, wish.named) for word in words(name)}
        by_templates: dict[tuple[str, ...], list[str]] = {}
        for wish in self.erased:
            names = [name for name in bank(wish.options.concept_type).retain if not words(name) & targets]
            names = rank(wish.target, names)
            near, far = names[:NEIGHBOURS], names[NEIGHBOURS:]
            some = random.Random(self.options.seed).sample(far, min(OTHERS, len(far)))
            by_templates.setdefault(templates.templates_of(wish.options), []).extend([*near, *some])
        anchors = {
            anchor: general[target] if anchor else ""
            for each in erased
            if each.anchor != each.target or self.options.within  # there the target is kept by itself
            for target, anchor in zip(each.target_prompts, each.anchor_prompts, strict=True)
        }
        filled: dict[str, str] = {}
        for each, names in by_templates.items():
            filled |= templates.filled(each, names)
        return filled | anchors

    def _other_values(self, vocabulary: Vocabulary) -> dict[str, str]:
        """Every caption that names no erased value, with what it says without naming an axis that loses one.

        Where several do, they take turns.
        """
        allowed = vocabulary.without([*(wish.target for wish in self.erased), *self.earlier])
        axes = list(dict.fromkeys(vocabulary.axis_of(wish.target) for wish in self.erased))
        result: dict[str, str] = {}
        for value in allowed[axes[0]]:
            for template in vocabulary.templates:
                for row in vocabulary.combinations(allowed | {axes[0]: [value]}):
                    plain = vocabulary.unnamed(template, axes[len(result) % len(axes)])
                    result[template.format(**row)] = plain.format(**row).strip()
        return result

    def _lost(self) -> list[str]:
        """Prompts of what earlier runs erased: their predictions are held too, so that it stays lost."""
        vocabulary = self.vocabulary
        if vocabulary is None:
            return [prompt for prompts in self.earlier.values() for prompt in prompts]
        rest = vocabulary.without(wish.target for wish in self.erased)
        return [
            caption
            for name in self.earlier
            for template in vocabulary.templates
            for caption in vocabulary.captions(template, rest | {vocabulary.axis_of(name): [name]})
        ]
