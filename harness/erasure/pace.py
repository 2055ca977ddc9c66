"""How long a planned run may take, told by an earlier one: nothing is loaded or timed for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.config import Config, UsageError
from harness.models.load import resolve_device
from harness.plan import Plan
from harness.runs import processes
from harness.runs.files import read_json
from harness.runs.folder import options_of
from harness.show.screen import device_name

SAME = (
    "model", "variant", "revision", "parameter_group", "rank", "precision", "max_sequence_length", "objective",
    "origin", "anchor_guidance", "adversary_every", "relearning_steps", "closed_form_every", "within", "resolution",
    "gradient_checkpointing", "watch", "stop_when", "evaluate_every",
)  # fmt: skip
"""Options of which a step's cost depends on each, beside the batch and whether anything is retained."""
NEEDED = ("seconds", "stopped", "device", "processes", "date")


def pace_lines(plan: Plan, folder: Path) -> list[str]:
    """The time to be expected, and what that rests on.

    Args:
        plan: of the run.
        folder: that it will be written to; earlier runs are looked for beside it.
    """
    options, found = plan.options, list(_alike(plan, folder.parent))
    if not found:
        return [
            f"The time is not known: in {folder.parent} is no run of this model, group and loop on such a machine. One "
            "with --steps 20 would tell."
        ]
    run, summary = max(found, key=lambda each: each[1]["date"])
    before, seconds = options_of(run), summary["seconds"]
    rows = summary["stopped"]["step"] if summary["stopped"] else before.steps
    training = seconds["training"] * options.steps * options.batch_size / (rows * before.batch_size)
    rest = seconds["whole"] - seconds["training"]
    return [
        f"About {_said(training)} of training, by {run}: {_said(seconds['training'])} for {rows} steps of a batch of "
        f"{before.batch_size}. All else, pictures, judging and attacks, took {_said(rest)} there."
    ]


def _alike(plan: Plan, folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Finished runs in a folder whose steps cost what the plan's do, but for the size of the batch."""
    try:
        device = device_name(resolve_device(plan.options.device))
    except UsageError:  # of another machine
        return
    for file in folder.glob("*/run.json"):
        try:
            summary, options = read_json(file, *NEEDED), options_of(file.parent)
        except UsageError:  # another version's, or no run's
            continue
        here = (summary["device"], summary["processes"]) == (device, processes.launched())
        whole = options.steps and not options.resume  # of one that was resumed only the last part was timed
        if here and whole and _cost(options) == _cost(plan.options):
            yield file.parent, summary


def _cost(options: Config) -> list[Any]:
    return [getattr(options, name) for name in SAME] + [options.retain_weight > 0]


def _said(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.2g} min" if seconds < 90 * 60 else f"{seconds / 3600:.3g} h"
