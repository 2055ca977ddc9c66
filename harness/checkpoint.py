"""The run folder: written beside its final place and moved there whole."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.config import Config, UsageError


def run_folder(config: Config, target: str, divergence: str) -> Path:
    """Where a run goes; UsageError if something is there already and may not be replaced."""
    name = re.sub(r"[^\w.=-]+", "-", f"{target}-{divergence}-{config.objective}".lower())
    folder = config.output or Path("runs") / name
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
def written_whole(folder: Path) -> Iterator[Path]:
    """Yield a folder to write into; at the end it takes the place of `folder` in one move.

    After an exception what was written stays where it is, and the exception's note says where.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}.unfinished-{os.getpid()}")
    unfinished.mkdir()
    try:
        yield unfinished
    except BaseException as error:
        error.add_note(f"what the run had written is kept in {unfinished}")
        raise
    replaced = folder.with_name(f".{folder.name}.replaced-{os.getpid()}")
    if folder.exists():
        folder.rename(replaced)
    unfinished.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write indented JSON."""
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
