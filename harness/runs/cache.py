"""Samples kept on disk between runs, for all runs of this user: safetensors, never anything that runs when it is read.

They lie in the folder `samples` of the one where certificates are kept (`fdiv.evidence.store`): $FDIV_CACHE, or `fdiv`
in $XDG_CACHE_HOME or ~/.cache; FDIV_CACHE= (empty) turns both off. A file is found by its key, a digest of all that
determines what is in it, and its name carries a digest of key and content: one that is damaged, cut off, renamed, or
that another user could have written is as good as none, and what it should have held is sampled again. A file takes
its name only once it is whole. Together they have at most `LARGEST` bytes: those go first that were used last longest
ago.
"""

import hashlib
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from harness.runs.files import save_tensors

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 1 << 30
"""Bytes of all files; the miniature's pictures of one panel have 16 million."""
NAME = "samples"
"""Of the folder, and of the tensor in each file."""
ABANDONED = 3600
"""Seconds after which an unfinished file is taken for one whose writer was killed."""


def folder() -> Path | None:
    """Where samples are kept, or None if they are not."""
    from fdiv.evidence import store

    place = store.folder()
    return place and place / NAME


def load(key: str) -> "Tensor | None":
    """The samples kept under the key, on the CPU; None if there are none that can be believed."""
    place = folder()
    for path in sorted(place.glob(f"{key}-*.safetensors")) if place else []:
        data = _read(path)
        if data is not None and path.stem == _stem(key, data):
            from safetensors.torch import load as tensors_of

            with suppress(OSError):
                os.utime(path)  # used now
            return tensors_of(data)[NAME]
    return None


def _read(path: Path) -> bytes | None:
    """A file's content, if it is a plain file that only this user can have written, and not too large."""
    from fdiv.evidence.store import is_ours

    try:
        # a pipe at that place would be waited for
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            status = os.fstat(file.fileno())
            return file.read() if is_ours(status) and status.st_size <= LARGEST else None
    except OSError:
        return None


def save(key: str, samples: "Tensor") -> None:
    """Keep them whole or not at all, and drop what is too much; a folder that cannot be written is no error."""
    place = folder()
    if place is None or samples.nbytes > LARGEST:
        return
    part = None
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=place, prefix=f".{key[:16]}-", suffix=".part")
        os.close(handle)
        part = Path(name)
        save_tensors({NAME: samples}, part, {"format": "pt"})
        part.chmod(0o600)
        part.replace(place / f"{_stem(key, part.read_bytes())}.safetensors")
        _drop_what_is_too_much(place)
    except (OSError, SafetensorError):
        pass
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def _stem(key: str, data: bytes) -> str:
    return f"{key}-{hashlib.sha256(key.encode() + data).hexdigest()[:32]}"


def _drop_what_is_too_much(place: Path) -> None:
    """Delete the files that were used last longest ago, until the rest has room, and what killed writers left."""
    room, now = LARGEST, time.time()
    known = [(path, path.stat()) for path in place.iterdir() if path.suffix in (".safetensors", ".part")]
    for path, status in sorted(known, key=lambda each: each[1].st_mtime, reverse=True):
        room -= status.st_size
        if room < 0 or (path.suffix == ".part" and now - status.st_mtime > ABANDONED):
            path.unlink(missing_ok=True)
