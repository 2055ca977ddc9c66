"""The run folder: written beside its final place, moved there whole, and until then ready to be gone on with."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from harness import processes
from harness.config import Config, UsageError, flag_of, from_dict

RESUME = "resume"
"""What an unfinished run goes on from lies in a folder of this name within its own."""
DELTA = "unet_delta.safetensors"
OPTIONS = "options.json"
LOCK = "lock"
MAY_CHANGE = ("device", "offline", "checkpoint_every", "save_pipeline", "overwrite")
"""Options that a resumed run may change: none that the result depends on, but for the device's last digits."""


def run_folder(config: Config, target: str, divergence: str) -> Path:
    """Where a run goes; UsageError if something is there already and may not be replaced."""
    name = re.sub(r"[^\w.=-]+", "-", f"{target[:60]}-{divergence[:60]}-{config.objective}".lower())
    try:
        folder = (config.output or Path("runs") / name).expanduser()
        there = os.path.lexists(folder)  # a dangling link is in the way too
        with suppress(FileNotFoundError):
            os.lstat(folder.with_name(f".{folder.name}.unfinished-00000000"))
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"--output {str(config.output)!r}: no name for a folder: {error}") from error
    if there and not config.overwrite:
        raise UsageError(f"--output {folder}: exists already; choose another folder, or --overwrite to replace it")
    if there and not (folder / "run.json").is_file():
        raise UsageError(f"--output {folder}: holds no run.json, so it is no run folder and will not be overwritten")
    for parent in folder.absolute().parents:
        if parent.exists():
            if not parent.is_dir() or not os.access(parent, os.W_OK):
                raise UsageError(f"--output {folder}: {parent} is no folder that can be written to")
            break
    return folder


def find_unfinished(run: Path) -> Path:
    """The unfinished folder that `--resume` means: that folder itself, or the one beside the run folder named.

    Raises:
        UsageError: there is none, or more than one.
    """
    run = run.expanduser().absolute()
    found = [run] if ".unfinished-" in run.name else sorted(run.parent.glob(f".{run.name}.unfinished-*"))
    found = [folder for folder in found if (folder / RESUME / OPTIONS).is_file()]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"--resume {run}: several unfinished runs; name one: {', '.join(map(str, found))}")
    finished = "; it has finished already" if (run / "run.json").is_file() else ""
    raise UsageError(f"--resume {run}: no unfinished run there{finished}")


def saved_options(run: Path) -> Config:
    """The options of an unfinished run as it was started, told to go on.

    Raises:
        UsageError: there is no such run, or its options cannot be read.
    """
    folder = find_unfinished(run)
    try:
        content = json.loads((folder / RESUME / OPTIONS).read_text())
        if missing := {field.name for field in fields(Config)} - content.keys():
            raise KeyError(*missing)
    except (ValueError, KeyError, AttributeError) as error:
        raise UsageError(f"--resume {folder}: {RESUME}/{OPTIONS} is damaged, or of another version: {error}") from error
    name = re.sub(r"^\.|\.unfinished-.*", "", folder.name)
    return replace(from_dict(content), output=folder.with_name(name), resume=folder)


def finished(run: Path) -> dict[str, Any]:
    """The run.json of a finished run; UsageError where there is none, or no weights."""
    if not (run / "run.json").is_file() or not (run / DELTA).is_file():
        raise UsageError(f"{run}: no finished run; needed are its run.json and {DELTA}")
    try:
        return dict(json.loads((run / "run.json").read_text()))
    except ValueError as error:
        raise UsageError(f"{run / 'run.json'}: damaged: {error}") from error


def continued_options(run: Path) -> Config:
    """The options that a run has, unless told otherwise, which goes on from a finished one: the same model."""
    before = from_dict(finished(run)["config"])
    return Config(model=before.model, variant=before.variant, revision=before.revision, continue_from=run)


def check_unchanged(before: Config, now: Config) -> None:
    """UsageError for an option on which the result depends and which a resumed run is given another value of."""
    now = replace(now, output=now.output and now.output.expanduser().absolute())
    for field in fields(Config):
        old, new = getattr(before, field.name), getattr(now, field.name)
        if old != new and field.name not in MAY_CHANGE:
            flags = ", ".join(map(flag_of, MAY_CHANGE))
            raise UsageError(
                f"{flag_of(field.name)} {new}: the run to resume was started with {old}; "
                f"it can change no more than {flags}; for anything else start another run"
            )


@contextmanager
def written_whole(folder: Path, replace: bool = False, unfinished: Path | None = None) -> Iterator[Path]:
    """Yield a folder to write into, a new one or the unfinished one given; at the end it moves to `folder` whole.

    After an exception, or when `folder` has come to exist meanwhile and may not be replaced, what was written stays
    where it is, and the exception's note says where. An empty one is removed. Of several processes that train
    together, the main one does all that, and the others learn the folder's name.

    Raises:
        UsageError: another process writes there, or something else was written to `folder` in the meantime.
    """
    if not processes.is_main():
        yield processes.on_main(lambda: folder)
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = unfinished or Path(tempfile.mkdtemp(prefix=f".{folder.name}.unfinished-", dir=folder.parent))
        (unfinished / RESUME).mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {folder}: cannot be written: {error}") from error
    lock = FileLock(unfinished / RESUME / LOCK, timeout=0)  # the system's own: it goes when its process does
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(f"--resume {unfinished}: another process is at work on it") from error
    try:
        yield processes.on_main(lambda: unfinished)
        if folder.exists() and not replace:
            raise UsageError(f"--output {folder}: another run has finished there meanwhile")
        _move(unfinished, folder)
        shutil.rmtree(folder / RESUME, ignore_errors=True)
    except BaseException as error:
        if any(file.name not in (LOCK, OPTIONS) for file in unfinished.rglob("*") if file.is_file()):
            error.add_note(f"what was written so far is kept in {unfinished}")
            if (unfinished / RESUME / OPTIONS).is_file():
                error.add_note(f"to go on: python -m harness.unlearn --resume {unfinished}")
        else:
            shutil.rmtree(unfinished)
        raise
    finally:
        lock.release()


def _move(unfinished: Path, folder: Path) -> None:
    unfinished.chmod(0o777 & ~_umask())  # mkdtemp makes folders private, and safetensors its files
    for file in unfinished.glob("**/*.safetensors"):
        file.chmod(0o666 & ~_umask())
    replaced = unfinished.with_name(unfinished.name.replace(".unfinished-", ".replaced-"))
    if folder.exists():
        folder.rename(replaced)
    try:
        unfinished.rename(folder)
    except BaseException:
        if replaced.exists():
            replaced.rename(folder)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write indented JSON, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    part.replace(path)
