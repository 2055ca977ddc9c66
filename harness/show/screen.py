"""What a person reads of a run: rows of the log, why it ended, and the last screen."""

import importlib.metadata
import logging
import math
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch import Tensor

from harness.config import Config, flag_of, to_dict
from harness.judging.panel import METRICS
from harness.loss.calibration import Objective
from harness.loss.objective import Losses
from harness.loss.timesteps import bins
from harness.runs import processes

QUANTILES = (0.1, 0.5, 0.9)
INDISTINGUISHABLE = 0.05
DECADES = (-4, 3)
"""Of s, as far as the map of gradients goes; what lies outside is counted at its ends."""
CAME_BACK = 0.02
Row = dict[str, Any]


def quieten_libraries() -> None:
    """Keep the libraries' notes out of the screen; their errors still show."""
    diffusers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Seen:
    """What one or many steps saw, as one tensor of (steps, columns), which a checkpoint can hold.

    The columns: s, the time step and the concept of each target sample, then the erasure loss, the retention loss, the
    critic's estimate of D (nan without one), the gradient's norm, and 1 for a skipped step.
    """

    rows: Tensor

    @classmethod
    def of(cls, s: Tensor, timesteps: Tensor, concept: Tensor, *numbers: Tensor) -> "Seen":
        """One step's."""
        return cls(torch.cat([s, timesteps.to(s), concept.to(s), torch.stack([each.to(s) for each in numbers])])[None])

    def of_all(self) -> "Seen":
        """What the processes saw of one step together, from what each did: all samples, and the numbers' means."""
        if processes.count() == 1:
            return self
        parts = Seen(processes.gather(self.rows, processes.count()))
        columns = [each.flatten() for each in parts.samples()]
        return Seen(torch.cat([*columns, parts.numbers.mean(0)])[None])

    def samples(self) -> tuple[Tensor, Tensor, Tensor]:
        """s, time steps and concepts, (steps, targets) each."""
        s, timesteps, concept = self.rows[:, :-5].chunk(3, dim=1)
        return s, timesteps, concept

    @property
    def numbers(self) -> Tensor:
        """The other five columns, (steps, 5)."""
        return self.rows[:, -5:]

    @property
    def skipped(self) -> bool:
        """Whether the last step was left out, which one process is enough for; waits for the device."""
        return bool(self.rows[-1, -1])


def log_row(step: int, every: Sequence[Seen], objective: Objective) -> Row:
    """One row of steps.jsonl, of what was seen since the last; skipped steps are counted and otherwise left out.

    `divergence` is the mean of D(s), which `estimate`, a critic's, stays below but for sampling. `origin` says where
    the gradient came from: the shares of bins of the time step and decades of s, as [bin, decade, share].
    """
    rows, losses, schedule = torch.cat([seen.rows for seen in every]), objective.losses, objective.scale.schedule
    taken = Seen(rows[rows[:, -1] == 0].double().cpu())
    row: Row = {"step": step, "skipped": len(rows) - len(taken.rows)}
    if len(taken.rows) == 0:
        return row
    s, timesteps, concept = (column.flatten() for column in taken.samples())
    erase, retain, estimate, norm, _ = taken.numbers.mean(0).tolist()
    row |= {"s": _quantiles(s), "erase": erase, "gradient_norm": norm}
    if objective.retain_method != "none":
        row["retain"] = retain
    if not math.isnan(estimate):
        row["estimate"] = estimate
    weight, exact = (f(s, concept.long()) for f in (losses.relative_weight, losses.divergence))
    if weight is not None and exact is not None:
        row |= {"relative_weight": _quantiles(weight), "divergence": exact.mean().item()}
        times = timesteps.long().to(schedule.alpha_bar.device)
        # the gradient of D(s) in the noise prediction has the length 2 w(s) sqrt(s) times sqrt(ds / d squared error)
        length = objective.scale.precision(times).sqrt() * objective.sampler.weights(times)
        factor = torch.tensor(losses.weights, dtype=s.dtype)[concept.long()]
        row["origin"] = _shares(factor * weight * s.sqrt() * length.cpu(), bins(times, schedule.timesteps), s)
    return row


def _shares(pull: Tensor, rows: Tensor, s: Tensor) -> list[list[float]]:
    total = pull.sum().item()
    cells: dict[tuple[int, int], float] = {}
    for each, i, x in zip(pull.tolist(), rows.tolist(), s.tolist(), strict=True):
        if each > 0:
            place = (i, max(DECADES[0], min(DECADES[1], math.floor(math.log10(x)))))
            cells[place] = cells.get(place, 0.0) + each / total
    return [[*place, share] for place, share in sorted(cells.items())]


def _quantiles(values: Tensor) -> list[float]:
    return values.quantile(torch.tensor(QUANTILES, dtype=values.dtype)).tolist()


def regime_warning(rows: Sequence[Row], losses: Losses) -> str | None:
    """Say so when the quantiles of w(s)/w(0) never left 5 % of 1: then the loss was MSE under another name."""
    taken = [row for row in rows if "s" in row]
    ratios = [ratio for row in taken for ratio in row.get("relative_weight", ())]
    if not ratios or any(abs(ratio - 1) > INDISTINGUISHABLE for ratio in ratios):
        return None
    weights = [divergence.gaussian.gradient_weight_formula for divergence in losses.divergences]
    if all(weight is not None and weight.is_number for weight in weights):
        return f"{losses.spec} between Gaussians is MSE itself, by theorem"
    largest = max(row["s"][-1] for row in taken)
    return (
        f"s stayed below {largest:.2g} (90 % quantile), where {losses.spec} is within 5 % of MSE: "
        "the choice of divergence made no difference; --scale auto puts s where it does"
    )


def overflow_message(step: int, skipped: int, last: Seen, precision: str) -> str:
    """Why a run stopped after so many skipped steps; `last` is what the last one saw."""
    s = last.samples()[0].flatten().double().cpu()
    low, middle, high = s.nan_to_num(math.inf, math.inf).quantile(
        torch.tensor(QUANTILES).double(), interpolation="nearest"
    )
    erase, retain, _, norm, _ = last.numbers[-1].isfinite().tolist()
    named = {"erasure loss": erase, "retention loss": retain, "gradient": norm}
    wrong = [] if s.isfinite().all() else ["s"]
    wrong += [name for name, finite in named.items() if not finite]
    return (
        f"{skipped} steps in a row were not finite, up to step {step}: {', '.join(wrong)} in {precision}; s was "
        f"{low:.3g}, {middle:.3g}, {high:.3g} at its 10, 50 and 90 % quantiles, beyond what this divergence, or its "
        "critic, can hold; use --scale auto, a lower --learning-rate, or a divergence whose w(s) stays bounded"
        + ("" if precision == "fp32" else ", or --precision fp32")
    )


def say(verdict: str, error: BaseException, code: int) -> int:
    """Print in one line why a command ends; returns its exit code, or that of the process that failed first."""
    line, code = processes.first_failure(f"{verdict}: {error}", code)
    line = "; ".join([line, *getattr(error, "__notes__", [])])
    print(" ".join(line.split()), file=sys.stderr)
    return code


def say_shortage(error: BaseException) -> int:
    """Say that disk or memory is full, and what helps; any other error is raised again."""
    if isinstance(error, torch.OutOfMemoryError):
        error.add_note(
            "what helps in another run: a lower --batch-size, --precision bf16, or --parameter-group cross-attention-kv"
        )
    elif re.search("no space left|quota exceeded|file too large", str(error), re.IGNORECASE):
        error.add_note("the disk is full, or a limit on files is reached: make room first")
    else:
        raise error
    return say("stopped", error, 4)


def environment(device: torch.device) -> Row:
    """Versions, machine and peak memory of this process."""
    packages = ["torch", "diffusers", "transformers", "sympy", "numpy", "fdiv-unlearning"]
    if device.type == "cuda":
        peak, name = torch.cuda.max_memory_allocated(device), torch.cuda.get_device_name(device)
    else:
        peak, name = _peak_memory(), platform.processor() or platform.machine()
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "device": f"{device} ({name}, {torch.get_num_threads()} threads)",
        "processes": processes.count(),
        "peak_memory_bytes": peak,
    }


def _peak_memory() -> int:
    """The largest memory that this process ever held, in bytes."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def ledger_lines(ledger: Sequence[Row]) -> list[str]:
    """For people: what a model has lost, run by run, and what of it came back; nothing to say of a single erasure."""
    lines = []
    for entry in ledger if len(ledger) > 1 else ():
        before, now, then = entry["when_erased"], entry["now"], entry["sampling"]
        line = f'"{entry["target"]}": ' + ("not judged" if now is None else f"unlearning accuracy {now:.3f}")
        if now is not None and before is not None and now < before - CAME_BACK:
            line += f", was {before:.3f} when erased: some of it came back"
            if then != ledger[-1]["sampling"]:
                line += f", or the samples, then of {then[0]} steps at guidance {then[1]:g}, are no longer as good"
        lines.append(line)
    return lines


def led(target: str, anchor: str) -> str:
    """What an erasure does, as a caption; with guidance below 0 the target is its own anchor."""
    away = "away from themselves" if "," in target else "away from itself"
    return f'"{target}" led ' + (away if target == anchor else f'towards "{anchor}"')


def flags_chosen(config: Row) -> list[str]:
    """The options of a run that are not the defaults, but for what the last screen says anyway."""
    defaults, said = to_dict(Config()), ("target", "anchor", "divergence", "output", "overwrite", "resume")
    changed = {name: value for name, value in config.items() if name not in said and value != defaults[name]}
    return [shlex.join([flag_of(name), *_words(value)]) for name, value in changed.items()]


def _words(value: Any) -> list[str]:
    """An option's values; a truth that is no default has none."""
    values = value if isinstance(value, list | tuple) else [] if value is True else [value]
    return [str(each) for each in values]


def last_screen(folder: Path, summary: Row, metrics: dict[str, dict[str, Any]]) -> str:
    """What was trained for what, how well, at what cost, and where to look."""
    steps = summary["stopped"]["step"] if summary["stopped"] else summary["config"]["steps"]
    lines = [
        "",
        f"{led(summary['target'], summary['anchor'])} with {summary['divergence']}, {steps} step{'s' * (steps != 1)}.",
    ]
    if chosen := flags_chosen(summary["config"]):
        lines.append(f"Options: {' '.join(chosen)}")
    lines.append("")
    if metrics:
        lines.append(f"{'':32}{'original':>10}{'erased':>10}{'oracle':>10}   95 % interval")
    for name in (name for name in METRICS if name in metrics):
        cells = [metrics[name][model] for model in ("original", "erased", "oracle")]
        shown = "".join(f"{'-' if cell is None else format(cell, '.4f'):>10}" for cell in cells)
        low, high = metrics[name]["interval"]
        lines.append(f"{name.replace('_', ' '):32}{shown}   {low:.4f} to {high:.4f}")
    if len(summary["ledger"]) > 1:
        lines.append("No oracle: there are such models for a single concept alone.")
    elif metrics and all(row["oracle"] is None for row in metrics.values()):
        lines.append(f"No oracle: this model's folder holds none that never knew {summary['target']}.")
    if not metrics:
        lines.append("No accuracies: this model's folder holds no judge. Look at the pictures.")
    seconds, resumed = summary["seconds"], ", since it was resumed" if summary["config"]["resume"] else ""
    lines += [
        "",
        f"Cost: {seconds['training']:.0f} s of training in {seconds['whole']:.0f} s, "
        f"{summary['peak_memory_bytes'] / 2**30:.1f} GiB, {summary['trained_weights']:,} weights, "
        f"on {summary['device']}{resumed}.",
    ]
    lines += [f"Ledger: {line}." for line in ledger_lines(summary["ledger"])]
    if summary["stopped"]:
        lines.append(f"Stopped at step {summary['stopped']['step']}: {summary['stopped']['reason']}.")
    if summary["warning"]:
        lines.append(f"Note: {summary['warning']}.")
    lines.append(f"Look at {folder / 'before_after.png'} and {folder / 'curves.png'}; everything is in {folder}.")
    return "\n".join(lines)
