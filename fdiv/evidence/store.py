"""Certificates kept on disk between runs: JSON, never anything that is executed when it is read.

A file is found by a key over the generator, the spec, the versions of all that computes and the sources of `fdiv`
itself, and it repeats that key and a digest of its content. A file that is corrupt, of other sources, of another
divergence, or that another user could have written is as good as none. The digest holds no secret: it keeps
accidents out, not somebody who may write your files. Therefore `certify` never takes from here what admits a
divergence, and finds its foundations (f(1) = 0, finite, convex) anew each time.

Only what was accepted and settled is kept, so that a failure of one run is not another's verdict.

The folder is $FDIV_CACHE, or the `fdiv` folder in $XDG_CACHE_HOME or ~/.cache; FDIV_CACHE= (empty) turns it off.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import stat
import tempfile
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sympy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fdiv.record import Divergence

_LARGEST = 1 << 20  # bytes; a certificate has about 10,000
_COMPUTING = ("sympy", "python-flint", "mpmath", "numpy", "scipy")


def fingerprint(generator: sympy.Expr) -> str:
    """Return the SHA-256 of the generator's `srepr`."""
    return hashlib.sha256(sympy.srepr(generator).encode()).hexdigest()


@cache
def versions() -> tuple[tuple[str, str], ...]:
    """Return the versions of fdiv, Python and all that computes for it."""
    installed = [(name, _version(name)) for name in _COMPUTING]
    return (("fdiv", _version("fdiv-unlearning")), ("python", platform.python_version()), *installed)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


@cache
def _sources() -> str:
    """Return the SHA-256 of fdiv's own sources."""
    return digest_of_sources(Path(__file__).parents[1])


def digest_of_sources(root: Path, patterns: Iterable[str] = ("**/*.py",)) -> str:
    """Return the SHA-256 of every Python file below a folder that one of the patterns fits, with their names."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in root.glob(pattern)}):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def key(divergence: Divergence) -> str:
    """Return what a stored certificate must be about."""
    about = [divergence.spec, fingerprint(divergence.generator), versions(), _sources()]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def folder() -> Path | None:
    """Return where certificates are kept, and what else this project keeps, or None if nothing is."""
    chosen = os.environ.get("FDIV_CACHE")
    if chosen == "":
        return None
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        if chosen:
            return Path(chosen).expanduser()
        return (Path(base) if base else Path.home() / ".cache") / "fdiv"
    except RuntimeError:  # no home
        return None


def load(key: str) -> Any | None:
    """Return the content stored under the key; None if there is none that can be believed."""
    place = folder()
    if place is None:
        return None
    try:
        # a pipe at that place would be waited for
        with open(os.open(place / f"{key}.json", os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            status = os.fstat(file.fileno())
            if not is_ours(status) or status.st_size > _LARGEST:
                return None
            data = json.loads(file.read())
        content = data["content"]
        return content if (data["key"], data["digest"]) == (key, _digest(key, content)) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def is_ours(status: os.stat_result) -> bool:
    """Whether it is a plain file that only this user can have written."""
    if not stat.S_ISREG(status.st_mode):
        return False
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def save(key: str, content: Any) -> None:
    """Store the content whole or not at all; a folder that cannot be written is no error."""
    place = folder()
    if place is None:
        return
    data = json.dumps({"key": key, "digest": _digest(key, content), "content": content})
    temporary = None
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=place, prefix=f".{key[:16]}-", suffix=".tmp")
        with os.fdopen(handle, "w") as file:
            file.write(data)
        os.replace(temporary, place / f"{key}.json")
    except OSError:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _digest(key: str, content: Any) -> str:
    return hashlib.sha256((key + json.dumps(content, sort_keys=True)).encode()).hexdigest()
