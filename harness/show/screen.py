"""What a person reads of a run once it is done: what was trained for what, how well, at what cost."""

import importlib.metadata
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from fdiv.evidence.store import digest_of_sources
from harness.config import to_flags
from harness.judging.intervals.measure import Measure, difference
from harness.judging.metric import metric_rows
from harness.judging.metric import metrics as every_metric
from harness.prompts.concepts import towards
from harness.runs import processes

MODELS = ("original", "erased", "oracle")
SAID_ANYWAY = ("target", "anchor", "divergence", "output", "overwrite", "resume")
"""Options that the last screen need not list: they are named in it, or say nothing of the result."""
Row = dict[str, Any]


def environment(device: torch.device) -> Row:
    """Date, versions, a digest of our own sources, machine and peak memory of this process."""
    packages = ["torch", "diffusers", "transformers", "sympy", "numpy", "fdiv-unlearning"]
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _peak_memory()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "sources": digest_of_sources(Path(__file__).parents[2], ("fdiv/**/*.py", "harness/**/*.py")),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "device": device_name(device),
        "processes": processes.count(),
        "peak_memory_bytes": peak,
    }


def device_name(device: torch.device) -> str:
    """What computes, with the processor's name and the number of threads."""
    own = platform.processor() or platform.machine()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else own
    return f"{device} ({name}, {torch.get_num_threads()} threads)"


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
    if len(ledger) < 2:
        return []
    lines = []
    for entry in ledger:
        before, now, then = entry["when_erased"], entry["now"], entry["sampling"]
        line = f'"{entry["target"]}": ' + ("not judged" if now is None else f"unlearning accuracy {now:.3f}")
        if _came_back(entry):
            line += f", was {before:.3f} when erased: some of it came back"
            if then != ledger[-1]["sampling"]:
                line += f", or the samples, then of {then[0]} steps at guidance {then[1]:g}, are no longer as good"
        lines.append(line)
    return lines


def _came_back(entry: Row) -> bool:
    """Whether a concept's unlearning accuracy has fallen since it was erased, by the interval of the difference."""
    before, now = _measure(entry, "when_erased"), _measure(entry, "now")
    return before is not None and now is not None and difference(before, now).interval[0] > 0


def _measure(entry: Row, name: str) -> Measure | None:
    """A figure of the ledger; None where it was not judged, or by a version that kept no interval."""
    interval = entry.get(f"{name}_interval")
    return None if interval is None else Measure(entry[name], tuple(interval))


def caption(directions: Sequence[Sequence[str]]) -> str:
    """What an erasure does, in characters that print: each target with where it is led, those of one way together."""
    targets: dict[str, list[str]] = {}
    for target, direction in directions:
        targets.setdefault(direction, []).append(f'"{target}"')
    ways = [f"{', '.join(each)}{' each' * (len(each) > 1)} led {way}" for way, each in targets.items()]
    return _printable("; ".join(ways))


def directions_of(run: Row) -> list[list[str]]:
    """Those of a run's summary, or of one that an older version wrote."""
    return run.get("directions") or [[run["target"], towards(run["target"], run["anchor"], run["anchor"])]]


def _printable(text: str) -> str:
    """Text whose control characters, which could steer a terminal, are spelt out."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def flags_chosen(options: Row) -> list[str]:
    """The options of a run that are not the defaults, but for what the last screen says anyway."""
    return to_flags({name: value for name, value in options.items() if name not in SAID_ANYWAY})


def command_of(options: Row) -> str:
    """The command line of a run with these options, however they were given."""
    asked = {name: value for name, value in options.items() if name not in ("overwrite", "resume")}
    return " ".join(["python -m harness.unlearn", *to_flags(asked)])


def metric_lines(content: Row) -> list[str]:
    """A table of three models' metrics with the erased one's interval; nothing where there are none."""
    if not (rows := metric_rows(content)):
        return []
    lines = [f"{'':32}{'original':>10}{'erased':>10}{'oracle':>10}   95 % interval; better is"]
    better = {metric.name: "higher" if metric.higher_is_better else "lower" for metric in every_metric()}
    for name, row in rows.items():
        cells = [row[model] for model in MODELS]
        shown = "".join(f"{'-' if cell is None else format(cell, '.4f'):>10}" for cell in cells)
        low, high = row["interval"]
        lines.append(f"{name.replace('_', ' '):32}{shown}   {low:.4f} to {high:.4f}; {better[name]}")
    return lines


def attack_lines(content: Row) -> list[str]:
    """Each attack's rates on three models, the erased one's excess over the oracle, and both gaps."""
    lines = []
    if attacks := content.get("attacks"):
        lines = [
            "",
            f"{'share judged the target':32}{'original':>10}{'erased':>10}{'oracle':>10}   "
            "erased over oracle, 95 % interval; setting",
        ]
    for name, row in (attacks or {}).items():
        cells = "".join(f"{'-' if row[model] is None else format(row[model], '.3f'):>10}" for model in MODELS)
        setting = ", ".join(f"{key} {value}" for key, value in row["setting"].items())
        excess = _with_interval(row["excess"], row["interval"])
        lines.append(f"{name.replace('_', ' '):32}{cells}   {excess}; {setting}")
    for name in ("forgetting_gap", "collateral_gap"):
        if gap := content.get(name):
            what = f"{name.replace('_', ' ')}: {_with_interval(gap['value'], gap['interval'])}"
            lines.append(f"{what}, mean over {len(gap['over'])}; 0 is the oracle's")
    return lines


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None or interval is None:
        return "no oracle"
    return f"{value:+.3f} ({interval[0]:+.3f} to {interval[1]:+.3f})"


def last_screen(folder: Path, summary: Row, content: Row) -> str:
    """What was trained for what, how well, at what cost, where to look, the verdict, and what to do next."""
    metrics = metric_rows(content)
    steps = summary["stopped"]["step"] if summary["stopped"] else summary["config"]["steps"]
    what = caption(directions_of(summary))
    lines = ["", f"{what} with {summary['divergence']}, {steps} step{'s' * (steps != 1)}."]
    if chosen := flags_chosen(summary["config"]):
        lines.append(f"Options: {' '.join(chosen)}")
    lines += ["", *metric_lines(content), *attack_lines(content)]
    if len(summary["ledger"]) > 1:
        lines.append("No oracle: there are such models for a single concept alone.")
    elif metrics and all(row["oracle"] is None for row in metrics.values()):
        lines.append(f"No oracle: this model's folder holds none that never knew {summary['target']}.")
    if not metrics:
        lines.append("No accuracies: this model's folder holds no judge, and --judge names none. Look at the pictures.")
    seconds, resumed = summary["seconds"], ", since it was resumed" if summary["config"]["resume"] else ""
    lines += [
        "",
        f"Cost: {seconds['training']:.0f} s of training in {seconds['whole']:.0f} s, "
        f"{summary['forwards']:,} forward passes of a sample in it, "
        f"{summary['peak_memory_bytes'] / 2**30:.1f} GiB, {summary['trained_weights']:,} weights, "
        f"on {summary['device']}{resumed}.",
    ]
    lines += [f"Ledger: {line}." for line in ledger_lines(summary["ledger"])]
    if summary["stopped"]:
        lines.append(f"Stopped at step {summary['stopped']['step']}: {summary['stopped']['reason']}.")
    elif rule := summary["config"]["stop_when"]:
        lines.append(f"--stop-when {rule} was never met: all {steps} steps were taken.")
    if summary["warning"]:
        lines.append(f"Note: {summary['warning']}.")
    lines.append(f"Look at {folder / 'report.html'} and {folder / 'before_after.png'}; everything is in {folder}.")
    lines += ["", content["verdict"]]
    if metrics and "attacks" not in content:
        lines.append(f"Next: python -m harness.evaluate {shlex.quote(str(folder))}")
    return "\n".join(lines)
