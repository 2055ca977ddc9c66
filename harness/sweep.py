"""Compare divergences, objectives and scales on one concept; the original and the oracle are sampled once.

python -m harness.sweep --seeds 3 --output runs/sweep.json

Prints a table of medians over the seeds and writes every run's metrics to the output.
"""

import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import tyro

import fdiv
from harness import unlearn
from harness.config import Config, UsageError, check
from harness.data import latents
from harness.judging import panel as evaluate
from harness.models.weights import put_over
from harness.plan import Plan, prepare, sample_references
from harness.runs import folder as folders
from harness.show import screen as report

Row = dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """What is varied; everything else is as `base` says."""

    divergences: tuple[str, ...] = ("squared_hellinger", "kl", "pearson", "jensen_shannon")
    """Divergences trained in closed form, NAME or NAME:param=value."""
    variational: tuple[str, ...] = ("squared_hellinger",)
    """Divergences trained with a critic."""
    scales: tuple[str, ...] = ("unit", "auto")
    """Scales tried for each."""
    seeds: int = 3
    """Runs of each, with seeds 0, 1, ..."""
    output: Path = Path("runs/sweep.json")
    """Where every run's metrics go."""
    base: Config = field(default_factory=Config)


def configurations(sweep: Sweep) -> Iterator[Config]:
    """Every run's options, seed by seed, so that early results compare like with like."""
    kinds = [(name, "closed_form") for name in sweep.divergences] + [
        (name, "variational") for name in sweep.variational
    ]
    for seed, scale, (divergence, objective) in product(range(sweep.seeds), sweep.scales, kinds):
        yield replace(sweep.base, seed=seed, scale=scale, divergence=divergence, objective=objective)  # type: ignore[arg-type]


def run(sweep: Sweep) -> list[Row]:
    """Do every run; one row each, also written to `sweep.output` after each."""
    every = [(options, Plan.of(options).losses) for options in configurations(sweep)]
    setting = prepare(sweep.base, Plan.of(sweep.base))
    references = sample_references(setting, sweep.base)
    if sweep.base.continue_from:
        put_over(setting.model, sweep.base.continue_from)
    sampled: dict[int, latents.Sampled] = {}
    rows: list[Row] = []
    for options, losses in every:
        if options.seed not in sampled:
            sampled[options.seed] = latents.sample_kept(setting.model, setting.concepts, setting.embeddings, options)
        started = time.perf_counter()
        row: Row = {name: getattr(options, name) for name in ("divergence", "objective", "scale", "seed", "steps")}
        try:
            result = unlearn.train(setting, sampled[options.seed], losses, options)
        except unlearn.OverflowedError as error:
            error.denoiser.restore()
            rows.append(row | {"stopped": str(error)})
        else:
            row["seconds"] = time.perf_counter() - started
            pictures = setting.sample(options, "pictures after")
            row["metrics"] = evaluate.compare(pictures, references.oracle, setting.panel, references.held)
            rows.append(row)
            result.denoiser.restore()
        sweep.output.parent.mkdir(parents=True, exist_ok=True)
        folders.write_json(sweep.output, {"rows": rows})
        print(table(rows), flush=True)
    return rows


def table(rows: Sequence[Row]) -> str:
    """Medians over the seeds as a Markdown table, the original and the oracle in its last rows."""
    lines = ["| divergence | objective | scale | seeds | UA | IRA | CRA | KID | seconds |", "|" + "---|" * 9]
    keys = dict.fromkeys((row["divergence"], row["objective"], row["scale"]) for row in rows)
    for key in keys:
        group = [row for row in rows if (row["divergence"], row["objective"], row["scale"]) == key]
        done = [row for row in group if row.get("metrics")]
        if len(done) < len(group):
            lines.append(f"| {' | '.join(key)} | {len(group)} | stopped, or no judge | | | | |")
            continue
        cells = [_median([row["metrics"][metric]["erased"] for row in done]) for metric in evaluate.METRICS]
        lines.append(
            f"| {' | '.join(key)} | {len(done)} | {' | '.join(cells)} | {_median([row['seconds'] for row in done])} |"
        )
    first: Row = next((row["metrics"] for row in rows if row.get("metrics")), {})
    for model in ("original", "oracle"):
        cells = [
            _median([first[metric][model]]) if metric in first and first[metric][model] is not None else "-"
            for metric in evaluate.METRICS
        ]
        lines.append(f"| {model} | | | | {' | '.join(cells)} | |")
    return "\n".join(lines)


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3g}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    report.quieten_libraries()
    try:
        sweep = tyro.cli(Sweep, args=arguments, prog="python -m harness.sweep", description=__doc__)
        check(sweep.base)
        run(sweep)
    except (UsageError, fdiv.Refused, *unlearn.DIVERGENCE_ERRORS) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
