"""The command line: flags, an optional file of them, and the options of the run that is resumed or continued."""

import argparse
import contextlib
import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any, get_type_hints

import tyro

from harness.config import EMBEDDED, Config, UsageError, check, flag_of, from_dict, read_yaml
from harness.runs.files import read_json
from harness.runs.folder import OPTIONS, RESUME, find_unfinished, finished, options_of

MAY_CHANGE = ("device", "offline", "checkpoint_every", "save_pipeline", "overwrite", "cache", "track", "show")
"""Options that a resumed run may change: none that the result depends on, but for the device's last digits."""
TRUTHS = dict.fromkeys(("true", "yes", "on"), True) | dict.fromkeys(("false", "no", "off"), False)


def parse(arguments: Sequence[str] | None = None) -> Config:
    """Read the flags; those of a `--preset NAME` come first, then those of a `--config FILE.yaml`, each over the last.

    What no option says of a preset is printed.

    Raises:
        UsageError: no such preset, an unreadable file, a number out of range, or an option that the run to resume had
            another value of. Wrong flags end the process with exit code 2.
    """
    path, rest = _take("--config", sys.argv[1:] if arguments is None else arguments)
    name, rest = _take("--preset", rest if path is None else [*flags(path), *rest])
    if name is not None:
        rest = [*flags_of_preset(str(name)), *rest]
        print(f"note: {told(str(name))}", file=sys.stderr)
    resume, rest = _take("--resume", rest)
    continued, rest = _take("--continue", rest)
    if resume is not None and continued is not None:
        raise UsageError(f"--continue {continued}: a run that is resumed has the options that it began with")
    before = Config()
    if resume is not None:
        before = saved_options(resume)
    elif continued is not None:
        before = continued_options(continued)
    description = (
        f"{Config.__doc__}\n\n--config FILE.yaml reads any of these options from a file; flags go over it. "
        f"--preset NAME sets those of a recipe first, from a publication: {'; '.join(_listed())}."
    )
    options = tyro.cli(Config, args=rest, prog="python -m harness.unlearn", description=description, default=before)
    options = absolute(options)
    if resume is not None:
        check_unchanged(before, options)
    check(options)
    return options


def _listed() -> list[str]:
    return [f"{name} ({recipe['for']})" for name, recipe in presets().items()]


def saved_options(run: Path) -> Config:
    """The options of an unfinished run as it was started, told to go on.

    Raises:
        UsageError: there is no such run, or its options cannot be read, or they are those of another version.
    """
    folder = find_unfinished(run)
    names = [field.name for field in fields(Config)]
    content = read_json(folder / RESUME / OPTIONS, *names)
    if unknown := content.keys() - set(names):
        raise UsageError(f"--resume {run}: begun by another version, with {', '.join(sorted(unknown))}; start another")
    name = re.sub(r"^\.|\.unfinished-.*", "", folder.name)
    return replace(from_dict(content), output=folder.with_name(name), resume=folder)


def continued_options(run: Path) -> Config:
    """The options that a run has, unless told otherwise, which goes on from a finished one: the same model."""
    finished(run)  # refuses any other
    before = options_of(run)
    return Config(model=before.model, variant=before.variant, revision=before.revision, continue_from=run)


def absolute(options: Config) -> Config:
    """The options with the paths of what is read made absolute, so that a run can go on from any folder."""
    names = ("prompts", "concepts", "show", "continue_from", "inception")
    kind, colon, place = options.judge.partition(":")
    if place and os.path.exists(place):
        options = replace(options, judge=f"{kind}{colon}{os.path.abspath(place)}")
    paths = {name: path.absolute() for name in names if (path := getattr(options, name)) is not None}
    local = options.model not in EMBEDDED and os.path.exists(options.model)
    start = os.path.abspath(options.start) if os.path.isfile(options.start) else options.start
    file, mark, rest = options.divergence.rpartition(".py:")
    divergence = f"{os.path.abspath(file)}{mark}{rest}" if mark else options.divergence
    model = os.path.abspath(options.model) if local else options.model
    return replace(options, model=model, start=start, divergence=divergence, **paths)


def check_unchanged(before: Config, now: Config) -> None:
    """UsageError for an option on which the result depends and which a resumed run is given another value of."""
    now = replace(now, output=now.output and now.output.expanduser().absolute())
    for field in fields(Config):
        old, new = getattr(before, field.name), getattr(now, field.name)
        if old != new and field.name not in MAY_CHANGE:
            raise UsageError(
                f"{flag_of(field.name)} {new}: the run to resume was started with {old}; "
                f"it can change no more than {', '.join(map(flag_of, MAY_CHANGE))}; for anything else start another run"
            )


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
    return _flags(f"--config {path}", content)


def presets() -> dict[str, dict[str, Any]]:
    """Each recipe by its name: what it is for, its source, what no option says of it, its options (presets.yaml)."""
    return read_yaml("--preset", Path(__file__).with_name("presets.yaml"))


def preset(name: str) -> dict[str, Any]:
    """A recipe; UsageError where there is none of this name."""
    if name not in presets():
        raise UsageError(f"--preset {name}: no such recipe; choices: {', '.join(presets())}")
    return presets()[name]


def told(name: str) -> str:
    """What a recipe is for, what it rests on, and what no option says of it."""
    recipe = preset(name)
    return f"--preset {name} ({recipe['for']}) is {recipe['source']}. What no option says of it: {recipe['apart']}."


def flags_of_preset(name: str) -> list[str]:
    """The options of a recipe as command-line flags; UsageError where there is none of this name."""
    return _flags(f"--preset {name}", preset(name)["options"])


def presets_of(options: Config) -> list[str]:
    """The recipes that options follow, in all that these set."""
    return [
        name
        for name, recipe in presets().items()
        if all(_is(getattr(options, key.replace("-", "_")), text) for key, text in recipe["options"].items())
    ]


def _is(value: Any, text: str) -> bool:
    """Whether a text or number of an option is what a recipe writes."""
    return value == float(text) if type(value) in (int, float) else str(value) == text


def options_of_preset(name: str) -> Config:
    """The same as options; UsageError where there is none of this name."""
    return tyro.cli(Config, args=flags_of_preset(name))


def _flags(where: str, content: dict[str, Any]) -> list[str]:
    """Options as flags; `where` begins an error's message."""
    hints = get_type_hints(Config)
    kinds = {flag_of(name): hints[name] for name in (field.name for field in fields(Config))}
    result: list[str] = []
    seen: set[str] = set()
    for key, value in content.items():
        flag = flag_of(str(key).replace("-", "_"))
        if flag not in kinds:
            raise UsageError(f"{where}: unknown option {key!r}; choices: {', '.join(kinds)}")
        if flag in seen:
            raise UsageError(f"{where}: {flag} is given twice")
        seen.add(flag)
        words = _words(f"{where}: {key}", flag, value, kinds[flag] is bool)
        if flag not in ("--resume", "--continue"):  # which are read before all others
            _check_readable(f"{where}: {key}", words)
        result += words
    return result


def _check_readable(where: str, words: list[str]) -> None:
    """UsageError, with what the command line's reader says of it, for a value that is of another type."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            tyro.cli(Config, args=words)
    except SystemExit as end:
        _title, *lines = (line.strip("╭╮╰╯│─- ") for line in said.getvalue().splitlines())  # rules become empty
        reason = " ".join(takewhile(bool, dropwhile(lambda line: not line, lines)))
        raise UsageError(f"{where}: {reason or 'cannot be read'}") from end


def _words(where: str, flag: str, value: Any, switch: bool) -> list[str]:
    """A flag and its values, as on the command line; `where` begins an error's message."""
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str) for each in values):
        raise UsageError(f"{where}: expected a value or a list of values, got {value!r}")
    if switch:
        if str(value).lower() not in TRUTHS:
            raise UsageError(f"{where}: {value!r}: must be true or false")
        return [flag if TRUTHS[value.lower()] else f"--no-{flag[2:]}"]
    if not isinstance(value, list):
        return [f"{flag}={value}"]  # so that the value may begin with a dash
    if dashed := [each for each in value if each.startswith("-")]:
        raise UsageError(f"{where}: {dashed[0]!r} begins with a dash, as flags do")
    return [flag, *value]


def quieten_libraries() -> None:
    """Keep the libraries' notes out of the screen; their errors still show. Imports them."""
    import diffusers
    import transformers

    diffusers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    # of a norm whose weight stays in fp32 where bf16 is computed in
    warnings.filterwarnings("ignore", "Mismatch dtype between input and weight", UserWarning)
