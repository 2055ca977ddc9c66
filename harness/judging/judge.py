"""What may judge pictures: a protocol, and the first of the folder `judges` that finds itself in a model's folder.

A file of `judges` has two functions: `present(folder)` says whether the model's folder holds such a judge, without
reading it, and `load(folder)` reads it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from safetensors import SafetensorError

from harness.config import UsageError
from harness.discovery import modules

if TYPE_CHECKING:
    from torch import Tensor

JUDGES = "harness.judging.judges"


class Judge(Protocol):
    """A classifier of pictures."""

    def features(self, pictures: "Tensor") -> "Tensor":
        """Pictures (n, 3, H, W) in [0, 1] to features (n, d), between which a kernel distance means something."""

    def values(self, pictures: "Tensor") -> dict[str, list[str]]:
        """By axis of the model's vocabulary the value that each of n pictures shows."""


def present(folder: Path | None) -> bool:
    """Whether a model's folder holds a judge; nothing is loaded."""
    return folder is not None and any(module.present(folder) for module in modules(JUDGES))


def find(folder: Path | None) -> Judge | None:
    """The judge in a model's folder, or None.

    Raises:
        UsageError: there is one that cannot be read.
    """
    if folder is None:
        return None
    for module in modules(JUDGES):
        if module.present(folder):
            try:
                return module.load(folder)
            except (OSError, RuntimeError, SafetensorError) as error:
                reason = " ".join(str(error).split())
                raise UsageError(f"--model: {folder / 'judge'} cannot be read: {reason}") from error
    return None
