"""LECO's files of concepts, and kohya's of the same keys, read as entries of `--concepts`.

LECO trains eps(target) towards neutral - guidance_scale (positive - unconditional), with a plus for `enhance`; each
word stands for the frozen prediction with that prompt. The prompts' shares add up to 1. Where all is one prompt's, that
is the anchor; where a prompt has the share G and the empty one the rest, that is an anchor with `--anchor-guidance G`,
which below 0 is ESD; anything else is refused.
"""

import sys
import tomllib
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

from harness.config import Config, UsageError
from harness.prompts.templates import EMPTY

OF_THE_RUN = ("resolution", "dynamic_resolution", "dynamic_crops", "batch_size")
"""Keys that have no meaning for one concept here."""
KEYS = ("positive", "unconditional", "neutral", "action", "guidance_scale", "multiplier", *OF_THE_RUN)
"""Beside `target` and `weight`, which mean the same here."""
ACTIONS = {"erase": -1.0, "enhance": 1.0}


def is_leco(entry: dict[str, Any]) -> bool:
    """Whether an entry has a key of LECO's own."""
    return any(key in KEYS for key in entry)


def read_toml(path: Path) -> list[Any]:
    """The entries of kohya's TOML file, its defaults filled in; values are text, as of YAML files.

    Raises:
        UsageError: no such file, no TOML, or no list of `prompts`.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--concepts {path}: cannot be read as TOML: {error}") from error
    entries = content.pop("prompts", None)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"--concepts {path}: expected [[prompts]] with target, positive, neutral and so on")
    return [{key: str(value) for key, value in (content | entry).items() if value != ""} for entry in entries]


def translated(options: Config, where: str, entry: dict[str, str]) -> dict[str, str]:
    """An entry of LECO's as one of ours.

    Args:
        options: of the run, whose `--anchor-guidance` has to be the entry's.
        where: begins an error's message.
        entry: its keys and values; one without a value is as one left out.

    Raises:
        UsageError: a training target that is no anchor with a guidance, or another guidance than the run's.
    """
    if number(where, entry, "multiplier") != 1:
        raise UsageError(
            f"{where}: multiplier: nothing is scaled while it trains; leave it out, and choose the strength "
            "afterwards, with python -m harness.export RUN --strength"
        )
    anchor, guidance = _anchor(where, entry)
    if not abs(guidance - options.anchor_guidance) <= 1e-6:
        raise UsageError(
            f"{where}: trains towards {anchor!r} with a guidance of {guidance:g}, and --anchor-guidance, which holds "
            f"for all concepts of a run, is {options.anchor_guidance:g}; say --anchor-guidance {guidance:g}"
        )
    return {key: value for key, value in entry.items() if key not in KEYS} | {"anchor": anchor}


def note_what_is_the_runs(path: Path, entries: Collection[dict[str, Any]]) -> None:
    """Say which keys of a file are without effect."""
    if left := [key for key in OF_THE_RUN if any(key in entry for entry in entries)]:
        print(
            f"note: --concepts {path}: without effect: {', '.join(left)}; --resolution and --batch-size hold for "
            "all concepts",
            file=sys.stderr,
        )


def number(where: str, entry: dict[str, str], key: str) -> float:
    """A key's number, by default 1; UsageError for none."""
    try:
        return float(entry.get(key, "1"))
    except ValueError as error:
        raise UsageError(f"{where}: {key} {entry[key]!r}: must be a number") from error


def _anchor(where: str, entry: dict[str, str]) -> tuple[str, float]:
    """The anchor, and the guidance on it, that the prompts' shares come to."""
    action = entry.get("action", "erase")
    if action not in ACTIONS:
        raise UsageError(f"{where}: action {action!r}; choices: {', '.join(ACTIONS)}")
    step = ACTIONS[action] * number(where, entry, "guidance_scale")
    unconditional = entry.get("unconditional", "")
    shares: dict[str, float] = defaultdict(float, {entry.get("neutral", unconditional): 1.0})
    shares[entry.get("positive", entry.get("target", ""))] += step
    shares[unconditional] -= step
    named = {prompt: share for prompt, share in shares.items() if prompt and share}
    if len(named) > 1:
        parts = " + ".join(f"{share:g} {prompt!r}" for prompt, share in shares.items() if share)
        raise UsageError(f"{where}: trains towards {parts}, which is no anchor with a guidance; name one with `anchor`")
    return next(iter(named.items()), (EMPTY, 1.0))
