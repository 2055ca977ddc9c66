"""What a step costs, side by side with a loop that does as the official recipe does.

    python -m harness.benchmark                                     # the miniature, on this machine
    python -m harness.benchmark --shape flux                        # FLUX.1 dev, on a GPU; or sd15, sdxl, sd3

Prints a table of seconds, bytes and FLOPs, and writes them to the output.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from harness.config import ParameterGroup
from harness.runs.ends import run_command
from harness.runs.files import write_json


@dataclass(frozen=True)
class Benchmark:
    """Compare the cost of a step, and of a whole job, with the official recipe's."""

    shape: Literal["miniature", "sd15", "sdxl", "sd3", "flux"] = "miniature"
    """The embedded model, or random weights in the shape of Stable Diffusion 1.5, XL, 3 medium or FLUX.1 dev. What is
    not said of a step is the shape's own: docs/cost.md."""
    resolution: int | None = None
    """Pixels along a side."""
    batch_size: int | None = None
    """Target prompts per step."""
    parameter_group: ParameterGroup | None = None
    """What our loop trains; the reference trains keys and values."""
    gradient_checkpointing: bool | None = None
    """Compute activations again in our backward pass."""
    steps: int = 20
    """Timed steps in a round, after two that are not."""
    rounds: int = 3
    """Rounds of each loop, in turn."""
    precision: Literal["fp32", "bf16"] | None = None
    """Arithmetic of the forward passes of both loops."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    peak_tflops: float = 0.0
    """The device's peak in this precision, for the FLOP utilisation; by default what is known of the device in bf16."""
    growth: bool = False
    """Measure our step at other batch sizes, resolutions and numbers of concepts too."""
    output: Path = Path("runs/benchmark.json")
    """Where the figures go as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    return run_command(lambda: run(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> Benchmark:
    return tyro.cli(Benchmark, args=arguments, prog="python -m harness.benchmark", description=__doc__)


def run(options: Benchmark) -> dict[str, Any]:
    """Measure, write, print and return the figures: seconds, bytes and FLOPs."""
    from harness.benchmark import loops  # here, because both import torch
    from harness.benchmark.flops import peak_tflops

    asked = ("resolution", "batch_size", "precision", "parameter_group", "gradient_checkpointing")
    size = loops.Size.of(options.shape, **{name: getattr(options, name) for name in asked})
    result = {
        "options": {name: str(value) for name, value in (vars(options) | vars(size)).items()},
        **loops.figures(size, options.device, options.steps, options.rounds, options.growth),
    }
    seconds = result["step_seconds"]["ours"]
    peak = options.peak_tflops or peak_tflops(result["device"], size.precision)
    result["flop_utilisation"] = result["step_flops"] / seconds / peak / 1e12 if peak else None
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, result)
    print("\n".join(rows(result)))
    return result


def rows(result: dict[str, Any]) -> Iterator[str]:
    """The figures as a table for people."""
    yield f"{'':28}{'ours':>12}{'reference':>12}{'ratio':>8}"
    tables = {"step, s": result["step_seconds"], "whole job from parts, s": result["job_seconds_from_parts"]}
    if result["peak_bytes"]:
        tables["peak memory, GiB"] = {name: value / 2**30 for name, value in result["peak_bytes"].items()}
    for name, pair in tables.items():
        yield f"{name:28}" + (_pair(pair) if pair else "not measured: the memory is too small for it")
    for name, ratio in result["divergence_ratio"].items():
        yield f"{name + ' against kl':28}{'':24}{ratio:8.3f}"
    yield f"{result['step_flops']:.4g} FLOPs a step of ours"
    if result["flop_utilisation"] is not None:
        yield f"FLOP utilisation {result['flop_utilisation']:.2f}"
    for row in result["growth"] or []:
        memory = "" if row["peak_bytes"] is None else f", {row['peak_bytes'] / 2**30:.2f} GiB"
        yield f"{row['grown']} {row['to']}: {row['step_seconds']:.4g} s{memory}"


def _pair(pair: dict[str, float]) -> str:
    """Ours, the reference's and their ratio; `no room` for a loop that ran out of memory."""
    if "reference" not in pair:
        return f"{pair['ours']:12.4g}{'no room':>12}"
    return f"{pair['ours']:12.4g}{pair['reference']:12.4g}{pair['ours'] / pair['reference']:8.3f}"


if __name__ == "__main__":
    sys.exit(main())
