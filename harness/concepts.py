"""Target, anchor and retained prompts.

A pipeline folder may hold a `vocabulary.json` that lists the axes of its world, how captions are phrased and a
default concept (the miniature's does). Then prompts pair every target caption with the same caption of the anchor,
and the other values of the target's axis are retained. Any other model gets general templates.
"""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

from harness.config import Config, UsageError

GENERAL_TEMPLATES = (
    "{}",
    "a photo of {}",
    "a picture of {}",
    "an image of {}",
    "a rendering of {}",
    "a close view of {}",
)


@dataclass(frozen=True)
class Vocabulary:
    """What is known of a model's world."""

    axes: dict[str, tuple[str, ...]]
    templates: tuple[str, ...]
    default_target: str
    default_anchor: str

    def axis_of(self, value: str) -> str:
        """The axis that holds `value`; UsageError if none does."""
        for axis, values in self.axes.items():
            if value in values:
                return axis
        choices = "; ".join(f"{axis}: {', '.join(values)}" for axis, values in self.axes.items())
        raise UsageError(f"unknown concept {value!r}: this model knows {choices}")

    def captions(self, template: str, fixed: dict[str, str]) -> list[str]:
        """The template filled with every combination of values, `fixed` ones held, in a fixed order."""
        return [
            template.format(**{axis: values[i] for (axis, values), i in zip(self.axes.items(), row, strict=True)})
            for row in self.combinations(fixed)
        ]

    def combinations(self, fixed: dict[str, str]) -> list[tuple[int, ...]]:
        """The value indices behind `captions`, one row a caption, in the order of the axes."""
        choices = [
            [values.index(fixed[axis])] if axis in fixed else range(len(values)) for axis, values in self.axes.items()
        ]
        return list(itertools.product(*choices))


@dataclass(frozen=True)
class Concepts:
    """What an erasure works on; `target_prompts[i]` and `anchor_prompts[i]` differ in the concept alone."""

    target: str
    anchor: str
    axis: str | None
    target_prompts: tuple[str, ...]
    anchor_prompts: tuple[str, ...]
    retain_prompts: tuple[str, ...]


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """The model's vocabulary, or None where its folder has none; UsageError for one that cannot be read."""
    file = folder / "vocabulary.json"
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text())
        return Vocabulary(
            axes={axis: tuple(values) for axis, values in content["axes"].items()},
            templates=tuple(content["templates"]),
            default_target=content["default"]["target"],
            default_anchor=content["default"]["anchor"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file}: no vocabulary with axes, templates and a default: {error!r}") from error


def choose(config: Config, vocabulary: Vocabulary | None) -> Concepts:
    """Make the prompts of an erasure.

    Raises:
        UsageError: no target or anchor where the model has no default, the two are equal, or not on one axis.
    """
    if vocabulary is None:
        return _general(config)
    target = config.target or vocabulary.default_target
    axis = vocabulary.axis_of(target)
    others = [value for value in vocabulary.axes[axis] if value != target]
    anchor = config.anchor or (vocabulary.default_anchor if not config.target else others[0])
    _differ(target, anchor)
    if anchor not in others:
        raise UsageError(f"--anchor {anchor!r}: choices for the {axis} {target!r}: {', '.join(others)}")
    pairs = [
        pair
        for template in vocabulary.templates
        for pair in zip(*(vocabulary.captions(template, {axis: value}) for value in (target, anchor)), strict=True)
    ]
    kept = [
        caption
        for value in others
        for template in vocabulary.templates
        for caption in vocabulary.captions(template, {axis: value})
    ]
    return Concepts(
        target,
        anchor,
        axis,
        tuple(p[0] for p in pairs),
        tuple(p[1] for p in pairs),
        config.retain or tuple(kept),
    )


def _general(config: Config) -> Concepts:
    for name in ("target", "anchor"):
        if not getattr(config, name):
            raise UsageError(f"--{name} is needed: this model has no vocabulary.json with a default concept")
    _differ(config.target, config.anchor)
    target, anchor = (
        tuple(template.format(concept) for template in GENERAL_TEMPLATES) for concept in (config.target, config.anchor)
    )
    return Concepts(config.target, config.anchor, None, target, anchor, config.retain)


def _differ(target: str, anchor: str) -> None:
    if target.strip().lower() == anchor.strip().lower():
        raise UsageError(
            f"--anchor {anchor!r}: equal to the target, so there is nothing to erase; choose another concept"
        )
