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
from typing import TYPE_CHECKING, Any

import tyro

from harness.config import Config, check
from harness.judging.metric import metrics
from harness.plan import Plan
from harness.runs.ends import run_command
from harness.runs.files import write_json

if TYPE_CHECKING:
    from harness.data.latents import Sampled
    from harness.judging.references import References
    from harness.prepare import Prepared

VARIED = ("divergence", "objective", "scale")
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    return run_command(lambda: run(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> Sweep:
    sweep = tyro.cli(Sweep, args=arguments, prog="python -m harness.sweep", description=__doc__)
    check(sweep.base)
    return sweep


def run(sweep: Sweep) -> list[Row]:
    """Do every run; one row each, also written to `sweep.output` after each."""
    plans = [Plan.of(options) for options in configurations(sweep)]
    base = Plan.of(sweep.base)

    from harness.data.kept import sample_kept
    from harness.models.weights import put_over
    from harness.prepare import prepare

    prepared = prepare(base)
    references = prepared.references()
    if sweep.base.continue_from:
        put_over(prepared.model, sweep.base.continue_from)
    sampled: dict[int, Sampled] = {}
    rows: list[Row] = []
    for plan in plans:
        seed = plan.options.seed
        if seed not in sampled:
            sampled[seed] = sample_kept(prepared.model, prepared.concepts, prepared.embeddings, plan.options)
        rows.append(_erase(plan, prepared, sampled[seed], references))
        sweep.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(sweep.output, {"rows": rows})
        print(table(rows), flush=True)
    return rows


def configurations(sweep: Sweep) -> Iterator[Config]:
    """Every run's options, seed by seed, so that early results compare like with like."""
    kinds = [(name, "closed_form") for name in sweep.divergences] + [
        (name, "variational") for name in sweep.variational
    ]
    for seed, scale, (divergence, objective) in product(range(sweep.seeds), sweep.scales, kinds):
        yield replace(sweep.base, seed=seed, scale=scale, divergence=divergence, objective=objective)  # type: ignore[arg-type]


def _erase(plan: Plan, prepared: "Prepared", sampled: "Sampled", references: "References") -> Row:
    """Train, measure, and put the original weights back."""
    from harness.judging.comparison import compare
    from harness.judging.references import SEED
    from harness.loss.objective import Losses
    from harness.train import OverflowedError, Trainer

    options = plan.options
    row: Row = {name: getattr(options, name) for name in (*VARIED, "seed", "steps")}
    losses = Losses.of(plan.divergences, plan.weights, options.objective)
    started = time.perf_counter()
    trainer = Trainer(prepared.model, sampled, losses, options)
    try:
        trainer.train()
        row["seconds"] = time.perf_counter() - started
        row["metrics"] = compare(
            prepared.draw(prepared.panel.prompts, SEED, "pictures after"), prepared.panel, references
        )
    except OverflowedError as error:
        row["stopped"] = str(error)
    trainer.denoiser.restore()
    return row


def table(rows: Sequence[Row]) -> str:
    """Medians over the seeds as a Markdown table, the original and the oracle in its last rows."""
    names = {metric.name: metric.short for metric in metrics()}
    columns = [*VARIED, "seeds", *names.values(), "seconds"]
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for key in dict.fromkeys(tuple(row[name] for name in VARIED) for row in rows):
        group = [row for row in rows if tuple(row[name] for name in VARIED) == key]
        done = [row for row in group if row.get("metrics")]
        if len(done) < len(group):
            lines.append(f"| {' | '.join(key)} | {len(group)} | stopped, or no judge |" + " |" * len(names))
            continue
        cells = [_median([row["metrics"][name]["erased"] for row in done if name in row["metrics"]]) for name in names]
        cells.append(_median([row["seconds"] for row in done]))
        lines.append(f"| {' | '.join(key)} | {len(done)} | {' | '.join(cells)} |")
    first: Row = next((row["metrics"] for row in rows if row.get("metrics")), {})
    for model in ("original", "oracle"):
        values = [first[name][model] if name in first else None for name in names]
        cells = [_median([value] if value is not None else []) for value in values]
        lines.append(f"| {model} | | | | {' | '.join(cells)} | |")
    return "\n".join(lines)


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3g}" if values else "-"


if __name__ == "__main__":
    sys.exit(main())
