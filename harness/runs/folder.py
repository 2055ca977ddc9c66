"""The run folder: written beside its final place, moved there whole, and until then ready to be gone on with."""

import glob
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from harness.runs import processes
from harness.config import MINIATURE, Config, UsageError, flag_of, from_dict

RESUME = "resume"
"""What an unfinished run goes on from lies in a folder of this name within its own."""
DELTA = "unet_delta.safetensors"
OPTIONS = "options.json"
PROMPTS = "prompts.json"
"""What was erased by which prompts and what was retained."""
INPUTS = "inputs.json"
LOCK = "lock"
MAY_CHANGE = ("device", "offline", "checkpoint_every", "save_pipeline", "overwrite")
"""Options that a resumed run may change: none that the result depends on, but for the device's last digits."""


def run_folder(config: Config, target: str, divergence: str) -> Path:
    """Where a run goes; UsageError if something is there already and may not be replaced."""
    name = re.sub(r"[^\w.=-]+", "-", f"{target[:60]}-{divergence[:60]}-{config.objective}".lower())
    folder = usable("--output", config.output or Path("runs") / name)
    there = os.path.lexists(folder)  # a dangling link is in the way too
    folder = folder.resolve() if folder.is_symlink() else folder
    if there and not config.overwrite:
        flag, way = ("--resume", "") if config.resume else ("--output", "choose another folder, or ")
        raise UsageError(f"{flag} {folder}: exists already; {way}--overwrite to replace it")
    if there and not (folder / "run.json").is_file():
        raise UsageError(f"--output {folder}: holds no run.json, so it is no run folder and will not be overwritten")
    for parent in folder.absolute().parents:
        if parent.exists():
            if not parent.is_dir() or not os.access(parent, os.W_OK):
                raise UsageError(f"--output {folder}: {parent} is no folder that can be written to")
            break
    for left in () if config.resume else sorted(folder.parent.glob(f".{glob.escape(folder.name)}.unfinished-*")):
        print(f"note: {left} is an unfinished run, which --resume goes on with", file=sys.stderr)
    return folder


def usable(flag: str, path: Path) -> Path:
    """The path with the user's home in it; UsageError for one that no file can have."""
    try:
        path = path.expanduser()
        with suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(path.with_name(f".{path.name}.unfinished-00000000"))
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{flag} {str(path)!r}: no name of a file: {error}") from error
    return path


def find_unfinished(run: Path) -> Path:
    """The unfinished folder that `--resume` means: that folder itself, or the one beside the run folder named.

    Raises:
        UsageError: there is none, or more than one.
    """
    run = usable("--resume", run).absolute()
    beside = run.parent.glob(f".{glob.escape(run.name)}.unfinished-*")
    found = [run] if ".unfinished-" in run.name else sorted(beside)
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
    content = read_json(folder / RESUME / OPTIONS, *(field.name for field in fields(Config)))
    name = re.sub(r"^\.|\.unfinished-.*", "", folder.name)
    return replace(from_dict(content), output=folder.with_name(name), resume=folder)


def finished(run: Path) -> dict[str, Any]:
    """The run.json of a finished run; UsageError where there is none, or no weights."""
    if not (run / "run.json").is_file() or not (run / DELTA).is_file():
        raise UsageError(f"{run}: no finished run, which has a run.json and a {DELTA}")
    return read_json(run / "run.json", "config", "ledger", "target", "anchor", "divergence")


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """A JSON object that has these keys; UsageError for anything else."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict) or not content.keys() >= set(keys):
        raise UsageError(f"{path}: damaged, or of another version: needed is a mapping with {', '.join(keys)}")
    return content


def continued_options(run: Path) -> Config:
    """The options that a run has, unless told otherwise, which goes on from a finished one: the same model."""
    before = from_dict(finished(run)["config"])
    return Config(model=before.model, variant=before.variant, revision=before.revision, continue_from=run)


def settled(config: Config) -> Config:
    """The options with the paths of what is read made absolute, so that a run can go on from any folder."""
    names = ("prompts", "concepts", "continue_from")
    paths = {name: path.absolute() for name in names if (path := getattr(config, name)) is not None}
    local = config.model != MINIATURE and os.path.exists(config.model)
    return replace(config, model=os.path.abspath(config.model) if local else config.model, **paths)


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
    ours = unfinished is None
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
        if any(file.name not in (LOCK, OPTIONS, PROMPTS, INPUTS) for file in unfinished.rglob("*") if file.is_file()):
            error.add_note(f"what was written so far is kept in {unfinished}")
            if (unfinished / RESUME / OPTIONS).is_file() and not isinstance(error, UsageError | ArithmeticError):
                error.add_note(f"to go on: python -m harness.unlearn --resume {unfinished}")
        elif ours:
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


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """A safetensors file whose metadata stand in the order of their keys.

    The library's own order is random, and equal results would differ in their bytes.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(stored, path, dict(metadata))
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        file.seek(8)
        file.write(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A safetensors file's tensors, on the CPU, and its metadata; UsageError for a damaged one."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path}: cannot be read as safetensors: {error}") from error


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write indented JSON, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    part.replace(path)
