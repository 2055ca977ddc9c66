"""The run folder: written beside its final place, moved there whole, and until then ready to be gone on with."""

import glob
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from harness.config import Config, UsageError, from_dict
from harness.runs import places, processes
from harness.runs.files import read_json, usable, write_json

RESUME = "resume"
"""What an unfinished run goes on from lies in a folder of this name within its own."""
DELTA = "unet_delta.safetensors"
"""The denoiser's weights that changed; named after the first kind of denoiser, and other files refer to it."""
ADAPTERS = "unet_adapters.safetensors"
"""A LoRA run's factors instead, by another name: over a denoiser's weights they would change nothing."""
OPTIONS = "options.json"
PROMPTS = "prompts.json"
"""What was erased by which prompts and what was retained."""
INPUTS = "inputs.json"
LOCK = "lock"
BEFORE_WORK = (LOCK, OPTIONS, PROMPTS, INPUTS)
"""Files that are there before any work is done: a folder with no other can go."""


def run_folder(options: Config, target: str, divergence: str) -> Path:
    """Where a run goes; UsageError if something is there already and may not be replaced."""
    name = re.sub(r"[^\w.=-]+", "-", f"{target[:60]}-{divergence[:60]}-{options.objective}".lower())
    folder = usable("--output", options.output or Path("runs") / name)
    there = os.path.lexists(folder)  # a dangling link is in the way too
    folder = folder.resolve() if folder.is_symlink() else folder
    if there and not options.overwrite:
        flag, way = ("--resume", "") if options.resume else ("--output", "choose another folder, or ")
        raise UsageError(f"{flag} {folder}: exists already; {way}--overwrite to replace it")
    if there and not (folder / "run.json").is_file():
        raise UsageError(f"--output {folder}: holds no run.json, so it is no run folder and will not be overwritten")
    nearest = next(parent for parent in folder.absolute().parents if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UsageError(f"--output {folder}: {nearest} is no folder that can be written to")
    if not options.resume:
        for left in sorted(_unfinished_beside(folder)):
            print(f"note: {left} is an unfinished run, which --resume goes on with", file=sys.stderr)
    return folder


def unfinished(run: Path) -> list[Path]:
    """The folders in which a run began, or lies, that has not finished."""
    found = [run] if ".unfinished-" in run.name else sorted(_unfinished_beside(run))
    return [folder for folder in found if (folder / RESUME / OPTIONS).is_file()]


def _unfinished_beside(folder: Path) -> Iterator[Path]:
    return folder.parent.glob(f".{glob.escape(folder.name)}.unfinished-*")


def find_unfinished(run: Path) -> Path:
    """The unfinished folder that `--resume` means: that folder itself, or the one beside the run folder named.

    Raises:
        UsageError: there is none, or more than one.
    """
    run = usable("--resume", run).absolute()
    found = unfinished(run)
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"--resume {run}: several unfinished runs; name one: {', '.join(map(str, found))}")
    done = "; it has finished already" if (run / "run.json").is_file() else ""
    raise UsageError(f"--resume {run}: no unfinished run there{done}")


def finished(run: Path) -> dict[str, Any]:
    """The run.json of a finished run, as others may read it; UsageError where there is none, or no weights."""
    if not (run / "run.json").is_file() or not weights_file(run).is_file():
        raise UsageError(f"{run}: no finished run, which has a run.json and a {DELTA}, or a LoRA run's {ADAPTERS}")
    content = read_json(run / "run.json", "config", "ledger", "target", "anchor", "divergence")
    named = places.public_divergences
    shown = {  # as older runs do not have it
        "config": places.public(content["config"]),
        "ledger": [{k: named(v) if k == "divergence" else v for k, v in entry.items()} for entry in content["ledger"]],
        "divergence": named(content["divergence"]),
    }
    return content | shown


def options_of(run: Path) -> Config:
    """The options of a finished run, with the places that it read from; UsageError for none that can be read."""
    return from_dict(read_json(run / "run.json", "config")["config"] | places.kept(run))


def weights_file(run: Path) -> Path:
    """What a finished run trained; older LoRA runs have their factors under the other name too."""
    return run / ADAPTERS if (run / ADAPTERS).is_file() else run / DELTA


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
    at_work = unfinished or _new_folder(folder)
    with _locked(at_work):
        try:
            yield processes.on_main(lambda: at_work)
            if folder.exists() and not replace:
                raise UsageError(f"--output {folder}: another run has finished there meanwhile")
            _move(at_work, folder)
            shutil.rmtree(folder / RESUME, ignore_errors=True)
        except BaseException as error:
            _keep_or_remove(at_work, error, removable=unfinished is None)
            raise


def _new_folder(folder: Path) -> Path:
    """A folder beside the final place, which `--resume` finds by its name."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{folder.name}.unfinished-", dir=folder.parent))
    except OSError as error:
        raise UsageError(f"--output {folder}: cannot be written: {error}") from error


@contextmanager
def _locked(unfinished: Path) -> Iterator[None]:
    """Keep other processes out; the lock is the system's own, so that it goes when its process does."""
    try:
        (unfinished / RESUME).mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {unfinished}: cannot be written: {error}") from error
    lock = FileLock(unfinished / RESUME / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(f"--resume {unfinished}: another process is at work on it") from error
    try:
        yield
    finally:
        lock.release()


def _keep_or_remove(unfinished: Path, error: BaseException, removable: bool) -> None:
    """After an error: note where what was written lies and how to go on, or remove a folder without any work in it."""
    if any(file.name not in BEFORE_WORK for file in unfinished.rglob("*") if file.is_file()):
        error.add_note(f"what was written so far is kept in {unfinished}")
        if (unfinished / RESUME / OPTIONS).is_file() and not isinstance(error, UsageError | ArithmeticError):
            error.add_note(f"to go on: python -m harness.unlearn --resume {unfinished}")
    elif removable:
        shutil.rmtree(unfinished)


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


def keep_same(path: Path, content: dict[str, Any]) -> None:
    """Write what a run begins with as JSON; where it goes on, ask that it be the same.

    Raises:
        UsageError: it is not, as after a change to a file that an option names, or to the model.
    """
    content = json.loads(json.dumps(content))
    before = read_json(path) if path.is_file() else None
    if before is None:
        write_json(path, content)
    elif other := {key for key in before | content if before.get(key) != content.get(key)}:
        raise UsageError(
            f"--resume: not what this run began with, {path}: {', '.join(sorted(other))}; a file that an option "
            "names, or the model, has changed since: put it back, or start another run"
        )
