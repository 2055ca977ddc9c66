"""The run folder: written beside its final place and moved there whole."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.config import Config, UsageError


def run_folder(config: Config, target: str, divergence: str) -> Path:
    """Where a run goes; UsageError if something is there already and may not be replaced."""
    name = re.sub(r"[^\w.=-]+", "-", f"{target[:60]}-{divergence[:60]}-{config.objective}".lower())
    folder = (config.output or Path("runs") / name).expanduser()
    if folder.exists() and not config.overwrite:
        raise UsageError(f"--output {folder}: exists already; choose another folder, or --overwrite to replace it")
    if folder.exists() and not (folder / "run.json").is_file():
        raise UsageError(f"--output {folder}: holds no run.json, so it is no run folder and will not be overwritten")
    for parent in folder.absolute().parents:
        if parent.exists():
            if not parent.is_dir() or not os.access(parent, os.W_OK):
                raise UsageError(f"--output {folder}: {parent} is no folder that can be written to")
            break
    return folder


@contextmanager
def written_whole(folder: Path, replace: bool = False) -> Iterator[Path]:
    """Yield a folder to write into; at the end it moves to `folder` whole.

    After an exception, or when `folder` has come to exist meanwhile and may not be replaced, what was written stays
    where it is, and the exception's note says where. An empty one is removed.

    Raises:
        UsageError: something else was written to `folder` in the meantime.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.unfinished-", dir=folder.parent))
    try:
        yield unfinished
        if folder.exists() and not replace:
            raise UsageError(f"--output {folder}: another run has finished there meanwhile")
        _move(unfinished, folder)
    except BaseException as error:
        if any(unfinished.iterdir()):
            error.add_note(f"what was written so far is kept in {unfinished}")
        else:
            unfinished.rmdir()
        raise


def _move(unfinished: Path, folder: Path) -> None:
    unfinished.chmod(0o777 & ~_umask())  # mkdtemp makes folders private
    replaced = unfinished.with_name(unfinished.name.replace(".unfinished-", ".replaced-"))
    if folder.exists():
        folder.rename(replaced)
    try:
        unfinished.rename(folder)
    except OSError:
        if replaced.exists():
            replaced.rename(folder)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write indented JSON."""
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
