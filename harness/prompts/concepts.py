"""What an erasure works on: its concepts with their prompts, and the prompts that are retained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.prompts.templates import EMPTY, RETAINED, SUPERCLASS


@dataclass(frozen=True)
class Concept:
    """One erasure; `target_prompts[i]` and `anchor_prompts[i]` differ in the concept alone."""

    target: str
    anchor: str
    """As it was asked for, or the one that was found nearest."""
    direction: str
    """Where the target is led, in words for people, the superclass by its own."""
    axis: str | None
    target_prompts: tuple[str, ...]
    anchor_prompts: tuple[str, ...]
    counterparts: tuple[tuple[str, ...], ...]
    """For each of these all prompts that put something in the target's place; its anchor prompt is one of them."""
    divergence: str
    """As others may read it."""
    weight: float = 1.0


def towards(target: str, anchor: str, word: str = "") -> str:
    """Where a target is led, in words for people.

    Args:
        target: what is erased; as its own anchor it is led away from.
        anchor: put in its place, a name or a keyword.
        word: for the superclass, where it has one.
    """
    if anchor == RETAINED:
        return "towards what is retained"
    if anchor == EMPTY:
        return "towards no prompt"
    if anchor == SUPERCLASS and not word:
        return "towards the same without it"
    return "away from itself" if anchor == target else f'towards "{word or anchor}"'


@dataclass(frozen=True)
class Concepts:
    """What an erasure works on."""

    erased: tuple[Concept, ...]
    retain_prompts: tuple[str, ...]
    general: Mapping[str, str] = field(default_factory=dict)
    """By prompt, of a target or retained, the same without the concept: "a red shape"; what is not here has none."""
    earlier: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Targets erased by the runs that this one continues, each with the prompts that it was erased by."""

    @property
    def target(self) -> str:
        """The names of all targets."""
        return ", ".join(concept.target for concept in self.erased)

    @property
    def anchor(self) -> str:
        """The names of their anchors, one for each target, or one for all."""
        anchors = [concept.anchor for concept in self.erased]
        return ", ".join(anchors if len(set(anchors)) > 1 else anchors[:1])

    @property
    def directions(self) -> list[list[str]]:
        """Each target with where it is led."""
        return [[concept.target, concept.direction] for concept in self.erased]

    @property
    def prompts(self) -> list[str]:
        """Every prompt of the training."""
        targets = [prompt for concept in self.erased for prompt in concept.target_prompts]
        anchors = [prompt for concept in self.erased for prompts in concept.counterparts for prompt in prompts]
        return [*targets, *anchors, *self.retain_prompts, *self.general.values()]
