"""Prompt templates: a bank for each concept type, or a user's file.

A template is a prompt with `{}` where the concept's name goes, "a photo of {}". Square brackets may say what stands in
the prompt without the concept, "a painting[ in the style of {}|]", "a photo of [{}|a person]".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

from harness.config import Config, UsageError
from harness.runs.files import read_lines

SUPERCLASS, EMPTY, NEAR, RETAINED = "superclass", "empty", "near", "retained"
CHOICE = re.compile(r"\[(.*?)\|(.*?)\]")
"""What a template says with the concept, and what without."""
PLAIN = r"[^][|{}]*"
TEMPLATE = re.compile(rf"{PLAIN}(\{{\}}|\[{PLAIN}\{{\}}{PLAIN}\|{PLAIN}\]){PLAIN}")


@dataclass(frozen=True)
class Bank:
    """Templates of a concept type, and names of other concepts of that type."""

    templates: tuple[str, ...]
    retain: tuple[str, ...] = ()


@cache
def bank(concept_type: str | None) -> Bank:
    """The type's own, from prompts.yaml; that of objects for none."""
    content = yaml.safe_load((files("harness.prompts") / "prompts.yaml").read_text())[concept_type or "object"]
    return Bank(tuple(content["templates"]), tuple(content["retain"]))


def templates_of(config: Config) -> tuple[str, ...]:
    """Those of `--prompts FILE`, or of the concept type; UsageError for a file that cannot be used."""
    path = config.prompts
    if path is None:
        return bank(config.concept_type).templates
    lines = read_lines("--prompts", path)
    for line in lines:
        if not TEMPLATE.fullmatch(line):
            raise UsageError(
                f"--prompts {path}: {line!r}: each line needs {{}} once, where the concept's name goes, as such or in "
                "one pair of brackets [WITH {}|WITHOUT]"
            )
    return tuple(lines)


def pairs(config: Config, target: str, anchor: str) -> list[tuple[str, str]]:
    """Prompts of the target, each with the anchor's; UsageError where a template has no word for `superclass`."""
    templates = templates_of(config)
    if anchor == SUPERCLASS and (plain := [template for template in templates if not CHOICE.search(template)]):
        raise UsageError(
            f"--prompts {config.prompts}: {plain[0]!r} does not say what stands in the concept's place; write "
            "[WITH {}|WITHOUT] around it, or choose another --anchor"
        )
    return [(fill(each, config.within or target), _anchor_prompt(each, anchor)) for each in templates]


def _anchor_prompt(template: str, anchor: str) -> str:
    if anchor == EMPTY:
        return ""
    return general(template) if anchor == SUPERCLASS else fill(template, anchor)


def general(template: str) -> str:
    """The prompt without a concept; no prompt at all where the template does not say what stands in its place."""
    return CHOICE.sub(r"\2", template).strip() if CHOICE.search(template) else ""


def general_word(templates: Sequence[str]) -> str:
    """What stands in a concept's place in the templates; empty where nothing does."""
    return " or ".join(dict.fromkeys(word for template in templates for _, word in CHOICE.findall(template) if word))


def fill(template: str, concept: str) -> str:
    """The prompt with the concept's name in it."""
    return CHOICE.sub(r"\1", template).replace("{}", concept)


def filled(templates: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Every template with every name, one template after the other; each with what it says without."""
    return {fill(template, name): general(template) for template in templates for name in dict.fromkeys(names)}
