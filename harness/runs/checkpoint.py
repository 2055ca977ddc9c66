"""Checkpoints of a training, from which it goes on bit for bit, and the signals that ask for one.

Each file of tensors carries its SHA-256 in its name and takes that name only once it is whole: a process may die
anywhere, and damage is noticed. The digest tells of accidents, not of someone who renames what they forged. Whatever
is no tensor is JSON in the file's own header, so there are no two files that could disagree.
"""

import hashlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.runs import processes
from harness.loss.calibration import Objective, sampler
from harness.config import Config, UsageError, to_dict
from harness.loss.critic import CriticTrainer
from harness.runs.folder import OPTIONS, RESUME, load_tensors, save_tensors, write_json
from harness.models.load import Denoiser, NoiseSchedule
from harness.loss.objective import Losses, Scale
from harness.show.screen import Seen

KEPT = 2
"""Checkpoints kept: the newest, and one to fall back on."""


class Saved(NamedTuple):
    """A checkpoint's content."""

    values: dict[str, Any]
    tensors: dict[str, Tensor]


@dataclass
class Training:
    """All that changes from step to step, which is all that a checkpoint holds."""

    denoiser: Denoiser
    optimizer: torch.optim.Optimizer
    critic: CriticTrainer | None
    noise: torch.Generator
    """Of the batches; the critic draws from torch's global one."""
    objective: Objective
    step: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Of steps.jsonl."""
    seen: list[Seen] = field(default_factory=list)
    """Of the steps since the last of the rows."""
    skipped: int = 0
    """How many of the last steps, in a row, were not finite."""
    stopped: str = ""
    """Why it ended before its last step."""

    def values(self) -> dict[str, Any]:
        """What is no tensor, as JSON values."""
        masses = self.objective.sampler.masses
        calibration = {
            "constants": self.objective.scale.constants,
            "masses": None if masses is None else masses.tolist(),
        }
        names = ("step", "rows", "skipped", "stopped")
        return calibration | {name: getattr(self, name) for name in names}

    def tensors(self) -> dict[str, Tensor]:
        """Copies or views of every tensor, by name."""
        result = {f"trained/{name}": parameter for name, parameter in self.denoiser.trained.items()}
        result |= _optimizer_tensors("optimizer", self.optimizer)
        if self.critic is not None:
            result |= {f"critic/{name}": each for name, each in self.critic.critic.state_dict().items()}
            result |= _optimizer_tensors("critic_optimizer", self.critic.optimizer)
        if self.seen:
            result["seen"] = torch.cat([each.rows for each in self.seen])
        result |= {"random/noise": self.noise.get_state(), "random/cpu": torch.get_rng_state()}
        if (device := self.denoiser.model.device).type == "cuda":
            result["random/cuda"] = torch.cuda.get_rng_state(device)
        return result

    @torch.no_grad()
    def restore(self, saved: Saved) -> None:
        """Become what was saved, to the last bit."""
        values, tensors = saved
        for name in ("step", "rows", "skipped", "stopped"):
            setattr(self, name, values[name])
        for name, parameter in self.denoiser.trained.items():
            parameter.copy_(tensors[f"trained/{name}"])
        _restore_optimizer("optimizer", self.optimizer, tensors)
        if self.critic is not None:
            self.critic.critic.load_state_dict(_below("critic", tensors))
            _restore_optimizer("critic_optimizer", self.critic.optimizer, tensors)
        device = self.denoiser.model.device
        self.seen = [Seen(rows) for rows in tensors["seen"].to(device).split(1)] if "seen" in tensors else []
        self.noise.set_state(tensors["random/noise"])
        torch.set_rng_state(tensors["random/cpu"])
        if device.type == "cuda" and "random/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random/cuda"], device)


def calibrated(saved: Saved, losses: Losses, schedule: NoiseSchedule, options: Config) -> Objective:
    """The objective of a run that was calibrated before it was saved."""
    constants, masses = saved.values["constants"], saved.values["masses"]
    plain = sampler(schedule, options)
    drawn = plain if masses is None else replace(plain, masses=torch.tensor(masses))
    scale = Scale(options.scale, schedule, tuple(constants))
    return Objective(losses, scale, drawn, options.retain_method, options.retain_weight)


def _optimizer_tensors(prefix: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{prefix}/{i}/{key}": tensor for i, entry in state.items() for key, tensor in entry.items()}


def _restore_optimizer(prefix: str, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below(prefix, tensors).items():
        i, key = name.split("/")
        state.setdefault(int(i), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}/"): each for name, each in tensors.items() if name.startswith(f"{prefix}/")}


class Store:
    """The checkpoints and sampled latents of an unfinished run."""

    def __init__(self, unfinished: Path, options: Config) -> None:
        """Keep them in `unfinished`, which `written_whole` gave, with the options of a run that begins there."""
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

    def save(self, training: Training) -> None:
        """Write a checkpoint, then drop all but the newest `KEPT`; a failure leaves those before as they were."""
        if not processes.is_main():
            return
        _write(self.folder, f"step-{training.step:09}", training.values() | _machine(), training.tensors())
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
        if (before := {name: saved.values.get(name) for name in _machine()}) != _machine():
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


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM."""

    def __init__(self, number: int) -> None:
        """Keep which of them."""
        super().__init__(f"by {signal.Signals(number).name}")
        self.number = number


@contextmanager
def on_signals(handler: Callable[[int], None]) -> Iterator[None]:
    """Have SIGINT and SIGTERM call `handler` with their number; only Python's main thread can ask for that."""
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {each: signal.signal(each, lambda number, _: handler(number)) for each in numbers}
    try:
        yield
    finally:
        for each, old in before.items():
            signal.signal(each, old)


def interrupt(number: int) -> None:
    """End what is going on at once."""
    raise Interrupted(number)


@contextmanager
def between_steps() -> Iterator[Callable[[], bool]]:
    """Hold SIGINT and SIGTERM back; the first is raised at the end, a second one to the same process at once.

    Yields a function that says whether one came to any of the processes, to be called by all of them after a step.

    Raises:
        Interrupted: at the end, for the first.
    """
    caught: list[int] = []
    of_all: list[int] = []

    def came() -> bool:
        of_all[:] = processes.everyones(list(caught))
        return bool(of_all)

    def hold(number: int) -> None:
        caught.append(number)
        if len(caught) > 1:
            interrupt(number)

    with on_signals(hold):
        yield came
    if first := (of_all or caught)[:1]:
        interrupt(*first)
