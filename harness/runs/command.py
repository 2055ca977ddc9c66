"""The command line: flags, an optional file of them, and the options of the run that is resumed or continued."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import tyro

from harness.runs import folder as folders
from harness.config import Config, UsageError, check, flag_of, read_yaml

TRUTHS = dict.fromkeys(("true", "yes", "on"), True) | dict.fromkeys(("false", "no", "off"), False)


def parse(arguments: Sequence[str] | None = None) -> Config:
    """Read the flags; those of an optional `--config FILE.yaml` come first, so the command line goes over them.

    Raises:
        UsageError: an unreadable file, a number out of range, or an option that the run to resume had another value
            of. Wrong flags end the process with exit code 2.
    """
    path, rest = _take("--config", sys.argv[1:] if arguments is None else arguments)
    resume, rest = _take("--resume", rest if path is None else [*flags(path), *rest])
    continued, rest = _take("--continue", rest)
    if resume is not None and continued is not None:
        raise UsageError(f"--continue {continued}: a run that is resumed has the options that it began with")
    before = Config() if continued is None else folders.continued_options(continued)
    if resume is not None:
        before = folders.saved_options(resume)
    description = f"{Config.__doc__}\n\n--config FILE.yaml reads any of these options from a file; flags go over it."
    config = tyro.cli(Config, args=rest, prog="python -m harness.unlearn", description=description, default=before)
    config = folders.settled(config)
    if resume is not None:
        folders.check_unchanged(before, config)
    check(config)
    return config


def _take(flag: str, arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """A flag's path, if it is there, and the other arguments."""
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    reader.add_argument(flag, type=Path, dest="path")
    known, rest = reader.parse_known_args(list(arguments))
    return known.path, rest


def flags(path: Path) -> list[str]:
    """A YAML mapping of options, `retain_weight` or `retain-weight` alike, as command-line flags."""
    content = read_yaml("--config", path) or {}
    if not isinstance(content, dict):
        raise UsageError(f"--config {path}: expected a mapping of options, got a {type(content).__name__}")
    hints = get_type_hints(Config)
    kinds = {flag_of(name): hints[name] for name in (field.name for field in fields(Config))}
    result: list[str] = []
    seen: set[str] = set()
    for key, value in content.items():
        flag = flag_of(str(key).replace("-", "_"))
        if flag not in kinds:
            raise UsageError(f"--config {path}: unknown option {key!r}; choices: {', '.join(kinds)}")
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) for each in values):
            raise UsageError(f"--config {path}: {key}: expected a value or a list of values, got {value!r}")
        if flag in seen:
            raise UsageError(f"--config {path}: {flag} is given twice")
        seen.add(flag)
        if kinds[flag] is bool:
            if str(value).lower() not in TRUTHS:
                raise UsageError(f"--config {path}: {key}: {value!r}: must be true or false")
            result.append(flag if TRUTHS[value.lower()] else f"--no-{flag[2:]}")
        elif isinstance(value, list):
            if dashed := [each for each in value if each.startswith("-")]:
                raise UsageError(f"--config {path}: {key}: {dashed[0]!r} begins with a dash, as flags do")
            result += [flag, *value]
        else:
            result.append(f"{flag}={value}")
    return result
