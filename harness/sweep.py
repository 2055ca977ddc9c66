"""Which divergence? Many erasures of one concept, side by side, each a run folder with its report.

    python -m harness.sweep --seeds 3 --output runs/sweep --base.attacks completion inversion relearning
    python -m harness.sweep --output runs/sweep --part 2/4 --base.device cuda:1      # the second quarter of the runs

Every divergence is trained at each scale and from each origin, and beside them concept ablation (2303.13516), ESD
(2303.07345) and UCE (2308.14761) at some learning rates each. Runs that are finished are not run again, and one that
was killed goes on; what no erasure changes is sampled once for all (the user's cache). At the end there are rows.json,
table.md and pareto.png in the output, of all finished runs there, those of earlier sweeps too: medians over the seeds,
with the lowest and the highest.
"""

import json
import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import tyro

from harness.config import Config, UsageError
from harness.plan import Plan
from harness.runs.ends import run_command
from harness.runs.files import read_json, write_json
from harness.runs.folder import find_unfinished, options_of, unfinished
from harness.runs.places import LOCAL, public

VARIED = ("divergence", "objective", "scale", "origin")
KIND = ("method", *VARIED)
Row = dict[str, Any]
BASELINES: dict[str, dict[str, Any]] = {
    "concept_ablation": {"origin": "anchor"},
    "esd": {"origin": "target", "anchor_guidance": -1.0},
    "uce": {"origin": "anchor", "start": "closed-form", "steps": 0},
}
"""What each changes of the defaults, beside keys and values alone as parameter group, KL at the official scale and no
adversary; ESD's anchor is the target itself, by its guidance."""
RATES = (3e-4, 1e-3)
"""Learning rates that a baseline with steps is tried at."""
SHOWN = {
    "unlearning_accuracy": "UA",
    "in_domain_retain_accuracy": "IRA",
    "cross_domain_retain_accuracy": "CRA",
    "attribute_binding": "BIND",
}
GAPS = ("forgetting_gap", "collateral_gap")


@dataclass(frozen=True)
class Sweep:
    """What is varied; everything else is as `base` says."""

    divergences: tuple[str, ...] = ("squared_hellinger", "kl", "pearson", "jensen_shannon")
    """Divergences trained in closed form, NAME or NAME:param=value."""
    variational: tuple[str, ...] = ("squared_hellinger",)
    """Divergences trained with a critic."""
    scales: tuple[str, ...] = ("unit", "auto")
    """Scales tried for each."""
    origins: tuple[str, ...] = ("target",)
    """Whose pictures are noised, tried for each."""
    baselines: tuple[str, ...] = ()
    """Of concept_ablation, esd and uce."""
    seeds: int = 3
    """Runs of each, with seeds 0, 1, ..."""
    part: str = "1/1"
    """Which of how many equal parts of the runs to do, for several processes or GPUs; the last to end has the table."""
    output: Path = Path("runs/sweep")
    """Folder of the runs."""
    base: Config = field(default_factory=Config)


@dataclass(frozen=True)
class Run:
    """One of a sweep's runs."""

    method: str
    """A baseline's name with its learning rate, or `ours`."""
    options: Config

    @property
    def folder(self) -> Path:
        """Where it goes."""
        assert self.options.output is not None
        return self.options.output

    @property
    def key(self) -> tuple[str, ...]:
        """All but its seed."""
        return (self.method, *_varied(self.options))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    return run_command(
        lambda: run(tyro.cli(Sweep, args=arguments, prog="python -m harness.sweep", description=__doc__))
    )


def run(sweep: Sweep) -> list[Row]:
    """Do the runs that are not done; gives a row for each that is, and writes the table and the picture.

    Raises:
        UsageError: an option that cannot be used, or a folder that holds a run with other options.
    """
    # refuses what cannot be used before anything is run
    runs = [replace(each, options=Plan.of(each.options).options) for each in configurations(sweep)]
    ours = [each for each in _part(runs, sweep.part) if not _finished(each)]
    for i, each in enumerate(ours, 1):
        print(f"run {i} of {len(ours)}: {each.folder}", file=sys.stderr)
        _do(each)
    sweep.output.mkdir(parents=True, exist_ok=True)
    (sweep.output / ".gitignore").write_text(f"{LOCAL}\n")  # a hub reads that of the uploaded folder alone
    rows = collected(sweep.output)
    write_json(sweep.output / "rows.json", {"rows": rows})
    (sweep.output / "table.md").write_text(table(rows) + "\n")
    pareto(sweep.output / "pareto.png", rows)
    print(table(rows))
    return rows


def configurations(sweep: Sweep) -> Iterator[Run]:
    """Every run, seed by seed, so that early results compare like with like.

    Raises:
        UsageError: no such baseline.
    """
    kinds = [(name, "closed_form") for name in sweep.divergences]
    kinds += [(name, "variational") for name in sweep.variational]
    for seed in range(sweep.seeds):
        for origin, scale, (divergence, objective) in product(sweep.origins, sweep.scales, kinds):
            varied: dict[str, Any] = {
                "divergence": divergence,
                "objective": objective,
                "scale": scale,
                "origin": origin,
            }
            yield _placed("ours", replace(sweep.base, seed=seed, **varied), sweep.output)
        for name in sweep.baselines:
            yield from _baseline(name, seed, sweep)


def _baseline(name: str, seed: int, sweep: Sweep) -> Iterator[Run]:
    """One baseline's runs."""
    if name not in BASELINES:
        raise UsageError(f"--baselines {name!r}: choices: {', '.join(BASELINES)}")
    common = {"divergence": "kl", "scale": "unit", "parameter_group": "cross-attention-kv"}
    unopposed = {"adversary_every": 0, "closed_form_every": 0, "relearning_steps": 0}
    options = replace(sweep.base, seed=seed, **(common | unopposed | BASELINES[name]))
    for rate in RATES if options.steps else RATES[:1]:
        method = f"{name}-{rate:g}" if options.steps else name
        yield _placed(method, replace(options, learning_rate=rate), sweep.output)


def collected(output: Path) -> list[Row]:
    """A row for each finished run in the folder: ours before the baselines, and seed by seed."""
    runs = []
    for file in output.glob("*/run.json"):
        folder, options = file.parent, options_of(file.parent)
        runs.append(Run(folder.name.removesuffix(_ending(options)), replace(options, output=folder)))
    return [_row(each) for each in sorted(runs, key=lambda each: (each.method != "ours", each.key, each.options.seed))]


def _placed(method: str, options: Config, output: Path) -> Run:
    """The run with a folder of its own."""
    return Run(method, replace(options, output=output / (method + _ending(options))))


def _varied(options: Config) -> list[str]:
    """What is varied, for others to read."""
    return list(public({name: getattr(options, name) for name in VARIED}).values())


def _ending(options: Config) -> str:
    """How the folder's name ends after the method: what is varied, and the seed."""
    return re.sub(r"[^\w.=-]+", "-", "-".join(["", *_varied(options), str(options.seed)]))


def _part(runs: Sequence[Run], part: str) -> Sequence[Run]:
    """Those that this process does."""
    found = re.fullmatch(r"(\d+)/(\d+)", part)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"--part {part!r}: needed is which of how many, such as 1/4")
    return runs[int(found[1]) - 1 :: int(found[2])]


def _finished(each: Run) -> bool:
    """Whether its folder is there; UsageError if that run had other options."""
    file = each.folder / "run.json"
    if not file.is_file():
        return False
    before = options_of(each.folder)
    ours = {name: getattr(each.options, name) for name in vars(each.options) if name not in ("resume", "output")}
    if other := [name for name, value in ours.items() if getattr(before, name) != value]:
        raise UsageError(f"--output {each.folder}: a run with another {other[0]}; choose another folder")
    return True


def _do(each: Run) -> None:
    """Run it, from where it was interrupted if it was; one that overflows stays unfinished."""
    from harness.train import OverflowedError
    from harness.unlearn import run as unlearn

    options = each.options
    if unfinished(each.folder.absolute()):
        options = replace(options, resume=find_unfinished(each.folder))
    try:
        unlearn(options)
    except OverflowedError as error:
        print(f"{each.folder}: {error}", file=sys.stderr)


def _row(each: Run) -> Row:
    """What a finished run found."""
    metrics, summary = (read_json(each.folder / name) for name in ("metrics.json", "run.json"))
    file = each.folder / "steps.jsonl"  # which a run without steps has not
    steps = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    weights = [row["relative_weight"] for row in steps if "relative_weight" in row]
    return {
        **dict(zip(KIND, each.key, strict=True)),
        "seed": each.options.seed,
        "seconds": summary["seconds"]["training"],
        "weights": [statistics.mean(column) for column in zip(*weights, strict=True)] if weights else None,
        "metrics": {short: metrics[name]["erased"] for name, short in SHOWN.items() if name in metrics},
        "attacks": {name: found["erased"] for name, found in metrics.get("attacks", {}).items()},
        "gaps": {name: metrics[name] and {key: metrics[name][key] for key in ("value", "interval")} for name in GAPS},
    }


def table(rows: Sequence[Row]) -> str:
    """A Markdown table of each kind of run: medians over its seeds with the lowest and the highest.

    The gaps of a kind with one seed come with their own 95 % interval, which is over the pictures.
    """
    attacks = list(dict.fromkeys(name for row in rows for name in row["attacks"]))
    heads = [*KIND, "seeds", *SHOWN.values(), *attacks, *GAPS, "w(s)/w(0), 10, 50, 90 %", "training, s"]
    lines = [" | ".join(heads).replace("_", " "), "|".join(["---"] * len(heads))]
    for kind, group in _by_kind(rows).items():
        cells = [*kind, str(len(group))]
        cells += [_median([row["metrics"].get(short) for row in group]) for short in SHOWN.values()]
        cells += [_median([row["attacks"].get(name) for row in group]) for name in attacks]
        cells += [_gap([row["gaps"][name] for row in group]) for name in GAPS]
        weights = [row["weights"] for row in group if row["weights"]]
        cells.append(", ".join(f"{statistics.median(column):.2g}" for column in zip(*weights, strict=True)) or "-")
        lines.append(" | ".join([*cells, f"{statistics.median(row['seconds'] for row in group):.0f}"]))
    return "\n".join(f"| {line} |" for line in lines)


def _by_kind(rows: Sequence[Row]) -> dict[tuple[str, ...], list[Row]]:
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in KIND), []).append(row)
    return found


def _gap(gaps: Sequence[Row | None]) -> str:
    """A gap's range in words; a dash for none."""
    there = [gap for gap in gaps if gap is not None]
    if not there:
        return "-"
    low, middle, high = _range(there)
    return f"{middle:.3f} ({'95 %: ' if len(there) == 1 else ''}{low:.3f} to {high:.3f})"


def _range(gaps: Sequence[Row]) -> tuple[float, float, float]:
    """Lowest, median and highest of several seeds; of one its value between the ends of its own interval."""
    values = [gap["value"] for gap in gaps]
    low, high = gaps[0]["interval"] if len(gaps) == 1 else (min(values), max(values))
    return low, statistics.median(values), high


def _median(values: Sequence[float | None]) -> str:
    """The median, and the lowest and highest of several; a dash for none."""
    there = sorted(value for value in values if value is not None)
    if not there:
        return "-"
    spread = f" ({there[0]:.3f} to {there[-1]:.3f})" if len(there) > 1 else ""
    return f"{statistics.median(there):.3f}{spread}"


def pareto(path: Path, rows: Sequence[Row]) -> None:
    """Draw the forgetting gap against the collateral gap, a point for each kind of run, with its range.

    Runs without a gap, as those beside no oracle, have no part in it, as in the table.
    """
    from harness.show.figures import trade_off

    points = {}
    for (method, divergence, objective, scale, origin), group in _by_kind(rows).items():
        found = [[row["gaps"][name] for name in GAPS] for row in group if all(row["gaps"][name] for name in GAPS)]
        if found:
            label = f"{divergence}, {scale}" if method == "ours" else method
            forgetting, collateral = (_range(gaps) for gaps in zip(*found, strict=True))
            points[f"{label}, critic" if objective == "variational" else label, origin] = forgetting, collateral
    if points:
        trade_off(path, points)


if __name__ == "__main__":
    sys.exit(main())
