"""What an erasure works on: its concepts with their prompts, and the prompts that are retained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Concept:
    """One erasure; `target_prompts[i]` and `anchor_prompts[i]` differ in the concept alone."""

    target: str
    anchor: str
    axis: str | None
    target_prompts: tuple[str, ...]
    anchor_prompts: tuple[str, ...]
    counterparts: tuple[tuple[str, ...], ...]
    """For each of these all prompts that put something in the target's place; its anchor prompt is one of them."""
    divergence: str
    """As others may read it."""
    weight: float = 1.0


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
        """The names of their anchors."""
        return ", ".join(dict.fromkeys(concept.anchor for concept in self.erased))

    @property
    def prompts(self) -> list[str]:
        """Every prompt of the training."""
        targets = [prompt for concept in self.erased for prompt in concept.target_prompts]
        anchors = [prompt for concept in self.erased for prompts in concept.counterparts for prompt in prompts]
        return [*targets, *anchors, *self.retain_prompts, *self.general.values()]
