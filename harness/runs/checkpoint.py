"""Checkpoints of a training, from which it goes on bit for bit: named values and named tensors.

Each file of tensors carries its SHA-256 in its name and takes that name only once it is whole: a process may die
anywhere, and damage is noticed. The digest tells of accidents, not of someone who renames what they forged. Whatever
is no tensor is JSON in the file's own header, so there are no two files that could disagree.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.config import Config, UsageError, to_dict
from harness.runs import processes
from harness.runs.files import load_tensors, save_tensors, write_json
from harness.runs.folder import OPTIONS, RESUME

Tell = Callable[[int, Mapping[str, Any]], object]
"""Is told of a step by its number, and of a row that holds what was seen at it."""
KEPT = 2
"""Checkpoints kept: the newest, and one to fall back on."""


class Saved(NamedTuple):
    """A checkpoint's content."""

    values: dict[str, Any]
    tensors: dict[str, Tensor]


class Store:
    """The checkpoints and sampled latents of an unfinished run."""

    def __init__(self, unfinished: Path, options: Config, tell: Tell = lambda step, row: None) -> None:
        """Keep them in `unfinished`, which `written_whole` gave, with the options of a run that begins there.

        `tell` is told of each row of steps.jsonl; when a run goes on, of those that it had already too.
        """
        self.tell = tell
        self.folder, self.steps = unfinished / RESUME, unfinished / "steps.jsonl"
        if processes.is_main() and not (self.folder / OPTIONS).is_file():
            write_json(self.folder / OPTIONS, to_dict(options) | {"resume": None})

    def once(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """The tensor of that name: read if it was kept and is undamaged, else made and kept.

        Latents could be sampled again, bit for bit; but that costs a large model minutes, and keeping them megabytes.
        """
        kept = processes.on_main(lambda: next(filter(_whole, self.folder.glob(f"{name}-*.safetensors")), None))
        if kept:
            return _read(kept).tensors[name]
        made = make()
        if processes.is_main():
            _write(self.folder, name, {}, {name: made})
        return made.cpu()

    def log(self, row: dict[str, Any]) -> None:
        """Add a row to steps.jsonl."""
        if not processes.is_main():
            return
        with self.steps.open("a") as file:
            print(json.dumps(row, allow_nan=False), file=file)
        self.tell(row["step"], row)

    def save(self, step: int, content: Saved) -> None:
        """Write a checkpoint, then drop all but the newest `KEPT`; a failure leaves those before as they were."""
        if not processes.is_main():
            return
        _write(self.folder, f"step-{step:09}", content.values | _machine(), content.tensors)
        for old in self._checkpoints()[KEPT:]:
            old.unlink()

    def load(self) -> Saved | None:
        """The newest undamaged checkpoint, to which steps.jsonl is cut back; None if none was ever written.

        Raises:
            UsageError: every one is damaged.
        """
        whole = processes.on_main(self._newest)
        if whole is None:
            return None
        saved = _read(whole)
        before = {name: saved.values.get(name) for name in _machine()}
        if before != _machine():
            print(f"note: {before} is now {_machine()}; the result may differ in its last digits", file=sys.stderr)
        for row in saved.values["rows"]:
            self.log(row)
        return saved

    def _newest(self) -> Path | None:
        every = self._checkpoints()
        whole = next((path for path in every if _whole(path)), None)
        if every and whole is None:
            raise UsageError(
                f"--resume: every checkpoint in {self.folder} is damaged; delete them to begin again at step 0"
            )
        self.steps.unlink(missing_ok=True)
        for damaged in every[: every.index(whole) if whole else 0]:
            print(f"note: {damaged} is damaged; the checkpoint before it is taken", file=sys.stderr)
            damaged.rename(damaged.with_suffix(".damaged"))
        return whole

    def _checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.safetensors"), reverse=True)


def moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state as `PARAMETER/NAME`."""
    state = optimizer.state_dict()["state"]
    return {f"{i}/{key}": tensor for i, entry in state.items() for key, tensor in entry.items()}


def load_moments(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give an optimiser the state that `moments` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        i, key = name.split("/")
        state.setdefault(int(i), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _machine() -> dict[str, Any]:
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "processes": processes.count()}


def _whole(path: Path) -> bool:
    return path.stem.endswith(f"-{_digest(path)}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _write(folder: Path, name: str, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    part = folder / f"{name}.part"
    try:
        save_tensors(tensors, part, {"values": json.dumps(values, allow_nan=False)})
        part.replace(folder / f"{name}-{_digest(part)}.safetensors")
    finally:
        part.unlink(missing_ok=True)


def _read(path: Path) -> Saved:
    tensors, metadata = load_tensors(path)
    return Saved(json.loads(metadata["values"]), tensors)
