"""Files that are written whole or not at all, and read with an error that says what is wrong."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from harness.config import UsageError

if TYPE_CHECKING:
    from torch import Tensor


def usable(flag: str, path: Path) -> Path:
    """The path with the user's home in it; UsageError for one that no file can have."""
    try:
        path = path.expanduser()
        with suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(path.with_name(f".{path.name}.unfinished-00000000"))
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{flag} {str(path)!r}: no name of a file: {error}") from error
    return path


def read_lines(flag: str, path: Path) -> list[str]:
    """The lines that say something of a text file that an option names; UsageError where there are none."""
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UsageError(f"{flag} {path}: cannot be read as text: {error}") from error
    if not lines:
        raise UsageError(f"{flag} {path}: holds no line")
    return lines


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """A JSON object that has these keys; UsageError for anything else."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict) or not content.keys() >= set(keys):
        raise UsageError(f"{path}: damaged, or of another version: needed is a mapping with {', '.join(keys)}")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write indented JSON, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    part.replace(path)


def save_tensors(tensors: "Mapping[str, Tensor]", path: Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file whose metadata stand in the order of their keys.

    The library's own order is random, and equal results would differ in their bytes.
    """
    from safetensors.torch import save_file  # here, because options are read before torch is imported

    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(stored, path, dict(metadata))
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        file.seek(8)
        file.write(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length))


def load_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a safetensors file's tensors, of which none is read; UsageError for a damaged one."""
    try:
        with safe_open(path, "np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path}: cannot be read as safetensors: {error}") from error


def load_tensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """A safetensors file's tensors, on the CPU, and its metadata; UsageError for a damaged one."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path}: cannot be read as safetensors: {error}") from error
