"""What a pipeline folder says of its world in `vocabulary.json`: axes, how captions are phrased, a default concept."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from harness.config import MOST_TOKENS, UsageError


@dataclass(frozen=True)
class Vocabulary:
    """What is known of a model's world."""

    axes: dict[str, tuple[str, ...]]
    templates: tuple[str, ...]
    superclass: dict[str, tuple[tuple[str, str], ...]]
    """By axis: what in a template to replace by what, in this order, so that the axis is not named."""
    default_target: str
    default_anchor: str
    max_sequence_length: int = 0
    """Tokens that the model was trained with, where its text encoder has no length of its own; 0 where it has."""

    def axis_of(self, value: str) -> str:
        """The axis that holds `value`; UsageError if none does."""
        for axis, values in self.axes.items():
            if value in values:
                return axis
        choices = "; ".join(f"{axis}: {', '.join(values)}" for axis, values in self.axes.items())
        near = get_close_matches(value, [each for values in self.axes.values() for each in values])
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"unknown concept {value!r}: this model knows {choices}{meant}")

    def captions(self, template: str, allowed: Mapping[str, Sequence[str]]) -> list[str]:
        """The template filled with every combination of values, on some axes of `allowed` ones, in a fixed order."""
        return [template.format(**row) for row in self.combinations(allowed)]

    def combinations(self, allowed: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
        """The values by axis behind `captions`, one row a caption, in the order of the axes."""
        choices = [allowed.get(axis, values) for axis, values in self.axes.items()]
        return [dict(zip(self.axes, row, strict=True)) for row in itertools.product(*choices)]

    def unnamed(self, template: str, axis: str) -> str:
        """The template with the general word, or nothing, where it names an axis."""
        for old, new in self.superclass[axis]:
            template = template.replace(old, new)
        return template

    def without(self, names: Iterable[str]) -> dict[str, list[str]]:
        """On each axis the values that are not in `names`."""
        left_out = set(names)
        return {axis: [v for v in values if v not in left_out] for axis, values in self.axes.items()}


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """The model's vocabulary, or None where its folder has none; UsageError for one that cannot be read."""
    file = folder / "vocabulary.json"
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text())
        axes, templates, superclass = (content[name] for name in ("axes", "templates", "superclass"))
        lists = [*axes.values(), templates]
        if not all(isinstance(each, list) and each and all(isinstance(item, str) for item in each) for each in lists):
            raise TypeError("each axis and the templates are lists of texts")
        if (tokens := content.get("max_sequence_length", 0)) not in range(MOST_TOKENS + 1):
            raise ValueError(f"max_sequence_length {tokens!r} is none up to {MOST_TOKENS}")
        for template in templates:
            template.format(**{axis: values[0] for axis, values in axes.items()})
        return Vocabulary(
            axes={axis: tuple(values) for axis, values in axes.items()},
            templates=tuple(templates),
            superclass={axis: tuple((a, b) for a, b in superclass[axis]) for axis in axes},
            default_target=content["default"]["target"],
            default_anchor=content["default"]["anchor"],
            max_sequence_length=tokens,
        )
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise UsageError(f"{file}: no vocabulary with axes, templates, superclass and a default: {error!r}") from error
