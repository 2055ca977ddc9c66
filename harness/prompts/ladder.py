"""Prompts by kind, from those that name the target to those that do not: a ladder after EMMA (2512.17320).

A user's file is YAML with a list of prompts for each kind; its kinds stand beside ours, or replace `variants`, `long`
and `several`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from harness.config import UsageError, read_yaml
from harness.prompts.concepts import Concept
from harness.prompts.vocabulary import Vocabulary

UNNAMED = ("implicit", "superclass", "empty")
"""Kinds whose prompts do not name the target."""

OURS = ("name", "superclass", "empty")
"""Kinds that attacks draw on, prompt by prompt."""


@dataclass(frozen=True)
class Ladder:
    """The prompts of each kind."""

    kinds: Mapping[str, tuple[str, ...]]

    @property
    def prompts(self) -> tuple[str, ...]:
        """All of them, once."""
        return tuple(dict.fromkeys(prompt for prompts in self.kinds.values() for prompt in prompts))


def ladder(vocabulary: Vocabulary, target: str, own: Mapping[str, tuple[str, ...]]) -> Ladder:
    """What a vocabulary can say of a target, and what a user's file adds.

    The kinds are `name`, the first template; `variants`, the others; `long`, both ends of what can be said in one
    prompt; `several`, the target beside another value of its axis; `superclass`, without the target's word; `empty`.
    """
    axis = vocabulary.axis_of(target)
    first, *others = vocabulary.templates
    rows = vocabulary.combinations({axis: [target]})
    beside = next(value for value in vocabulary.axes[axis] if value != target)
    kinds = {
        "name": tuple(first.format(**row) for row in rows),
        "variants": tuple(others[i % len(others)].format(**row) for i, row in enumerate(rows)) if others else (),
        "long": tuple(f"{first.format(**row)}, {others[-1].format(**row)}" for row in rows) if others else (),
        "several": tuple(f"{first.format(**row)} and {first.format(**row | {axis: beside})}" for row in rows),
        "superclass": tuple(vocabulary.unnamed(first, axis).format(**row) for row in rows),
        "empty": ("",),
    }
    return Ladder({kind: tuple(dict.fromkeys(prompts)) for kind, prompts in (kinds | dict(own)).items() if prompts})


def general_ladder(
    concept: Concept, general: Mapping[str, str], beside: str, own: Mapping[str, tuple[str, ...]]
) -> Ladder:
    """The same for a model without a vocabulary, by the templates that a concept is erased with.

    Args:
        concept: that is erased.
        general: by prompt of it the same without it.
        beside: another word, which stands beside it in `several`.
        own: what a user's file adds.
    """
    named = concept.target_prompts
    kinds = {
        "name": named,
        "several": tuple(f"{prompt}, and {beside}" for prompt in named),
        "superclass": tuple(general[prompt] for prompt in named),
        "empty": ("",),
    }
    every = {kind: prompts for kind, prompts in (kinds | dict(own)).items() if prompts}
    # one of the superclass a name, in their order, as attacks pair them
    return Ladder(
        {kind: prompts if kind == "superclass" else tuple(dict.fromkeys(prompts)) for kind, prompts in every.items()}
    )


def check_unnamed(file: Path | None, own: Mapping[str, tuple[str, ...]], targets: Iterable[str]) -> None:
    """UsageError where a prompt of a user's file names a target though its kind is one that does not."""
    for kind, target in product(own.keys() & {*UNNAMED}, targets):
        for prompt in own[kind]:
            if re.search(rf"\b{re.escape(target)}\b", prompt, re.IGNORECASE):
                raise UsageError(
                    f"--prompts {file}: {kind!r}: {prompt!r} names {target!r}; prompts of this kind do not, move it to "
                    "`paraphrase`"
                )


def read_ladder(file: Path | None) -> dict[str, tuple[str, ...]]:
    """The kinds of a user's file; none without one.

    Raises:
        UsageError: a file that is no mapping of kinds to lists of prompts, each kind once.
    """
    if file is None:
        return {}
    content = read_yaml("--prompts", file)
    if not isinstance(content, dict) or not content:
        raise UsageError(f"--prompts {file}: needed are kinds, each with a list of prompts, such as `implicit: [...]`")
    for kind, prompts in content.items():
        if kind in OURS:
            raise UsageError(
                f"--prompts {file}: {kind!r}: a kind that the model's vocabulary fills; choose another name"
            )
        if not isinstance(prompts, list) or not prompts or not all(isinstance(prompt, str) for prompt in prompts):
            raise UsageError(f"--prompts {file}: {kind!r}: needed is a list of prompts, each a text")
    return {kind: tuple(prompts) for kind, prompts in content.items()}
