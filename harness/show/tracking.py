"""The trackers of accelerate that are told of a run as it goes on; whatever we tell them is in the run folder too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import Config, UsageError, to_dict
from harness.judging.metric import metric_rows
from harness.runs import processes
from harness.runs.places import public

if TYPE_CHECKING:
    from harness.runs.checkpoint import Tell

PACKAGES = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
    "comet_ml": ("comet_ml",),
    "aim": ("aim",),
    "clearml": ("clearml",),
    "dvclive": ("dvclive",),
    "swanlab": ("swanlab",),
    "trackio": ("trackio",),
}
"""Of each tracker that accelerate knows, the packages of which one has to be there, the usual one first."""
PROJECT = "fdiv-unlearning"
FOLDER = "trackers"
"""In the run folder, for those that write files where they are told to."""
SPREAD = ("10", "50", "90")
"""Percentages whose quantiles a row holds as a list."""


def check_trackers(names: Sequence[str]) -> None:
    """UsageError for one that there is not, or that is not installed; imports none."""
    for name in names:
        if name not in PACKAGES:
            raise UsageError(f"--track {name!r}: no such tracker; choices: {', '.join(PACKAGES)}")
        # a folder of that name, as wandb leaves, is found too, but nothing to import in it
        if not any((spec := find_spec(package)) and spec.origin for package in PACKAGES[name]):
            raise UsageError(f"--track {name}: is not installed; pip install {' or '.join(PACKAGES[name])}")


@contextmanager
def tracked(options: Config, out: Path) -> Iterator[Tell]:
    """Begin the run's trackers, in the main process alone, and end them; yields what tells them all.

    Raises:
        UsageError: one that cannot begin, as without its account.
    """
    if not options.track or not processes.is_main():
        yield lambda step, row: None
        return
    trackers = [_begun(name, options, out) for name in dict.fromkeys(options.track)]

    def tell(step: int, row: Mapping[str, Any]) -> None:
        for each in trackers:
            each.log(scalars(row), step=step)

    try:
        yield tell
    finally:
        for each in trackers:
            each.finish()


def _begun(name: str, options: Config, out: Path) -> Any:
    """A tracker that knows the run's options, without the folders of this machine."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    where = {"logging_dir": str(out / FOLDER)} if kind.requires_logging_directory else {}
    said = public(to_dict(options))
    try:
        tracker = kind(PROJECT, **where)
        tracker.start()
        tracker.store_init_configuration({key: _plain(value) for key, value in said.items()})
    except Exception as error:
        raise UsageError(f"--track {name}: cannot begin: {' '.join(str(error).split())[:300]}") from error
    return tracker


def _plain(value: Any) -> bool | str | float | int:
    """An option as every tracker takes it."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else value


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row of steps.jsonl by name; of three quantiles `NAME/10`, `NAME/50` and `NAME/90`."""
    found: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{key}": each for key, each in value.items()}
        elif isinstance(value, int | float) and name != "step":
            found[name] = value
        elif isinstance(value, list) and len(value) == len(SPREAD) and not isinstance(value[0], list):
            found |= {f"{name}/{share}": each for share, each in zip(SPREAD, value, strict=True)}
    return found


def final(content: Mapping[str, Any]) -> dict[str, Any]:
    """Of the content of metrics.json each metric and each attack's rate of the erased model, as a row."""
    attacks = {name: found["erased"] for name, found in content.get("attacks", {}).items()}
    return {
        "erased": {name: row["erased"] for name, row in metric_rows(content).items()},
        "attacked": {name: rate for name, rate in attacks.items() if rate is not None},
    }
