"""What a person sees of a run: rows of the log, pictures, curves, and the last screen."""

import importlib.metadata
import logging
import math
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import matplotlib
import torch
import transformers
from torch import Tensor

from fdiv.losses import GaussianLoss
from harness.concepts import Concepts
from harness.evaluate import METRICS, Panel

matplotlib.use("Agg")
import matplotlib.pyplot as plt

QUANTILES = (0.1, 0.5, 0.9)
INDISTINGUISHABLE = 0.05
SHOWN = 8
Row = dict[str, Any]


def quieten_libraries() -> None:
    """Keep the libraries' notes out of the screen; their errors still show."""
    diffusers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def log_row(step: int, seen: Tensor, loss: GaussianLoss | None, reference: float) -> Row:
    """One row of steps.jsonl.

    Args:
        step: the optimiser step it ends at.
        seen: one row a step since the last: the s of each target sample, then the erasure loss, the retention loss,
            the gradient's norm and 1 for a skipped step.
        loss: gives w(s), or None where the divergence has no finite one.
        reference: w(0), which w(s) is held against.

    Skipped steps are counted and otherwise left out; a row with no other has no more to say.
    """
    taken = seen[seen[:, -1] == 0].double().cpu()
    row: Row = {"step": step, "skipped": len(seen) - len(taken)}
    if len(taken) == 0:
        return row
    s, (erase, retain, norm) = taken[:, :-4].flatten(), taken[:, -4:-1].mean(0).tolist()
    row |= {"s": _quantiles(s), "erase": erase, "retain": retain, "gradient_norm": norm}
    if loss is not None:
        row |= {"relative_weight": _quantiles(loss.gradient_weight(s) / reference), "divergence": loss(s).mean().item()}
    return row


def _quantiles(values: Tensor) -> list[float]:
    return values.quantile(torch.tensor(QUANTILES, dtype=values.dtype)).tolist()


def regime_warning(rows: Sequence[Row], loss: GaussianLoss | None) -> str | None:
    """Say so when the quantiles of w(s)/w(0) never left 5 % of 1: then the loss was MSE under another name."""
    taken = [row for row in rows if "s" in row]
    ratios = [ratio for row in taken for ratio in row.get("relative_weight", ())]
    if loss is None or not ratios or any(abs(ratio - 1) > INDISTINGUISHABLE for ratio in ratios):
        return None
    weight = loss.divergence.gaussian.gradient_weight_formula
    if weight is not None and weight.is_number:
        return f"{loss.divergence.spec} between Gaussians is MSE itself, by theorem"
    largest = max(row["s"][-1] for row in taken)
    return (
        f"s stayed below {largest:.2g} (90 % quantile), where {loss.divergence.spec} is within 5 % of MSE: "
        "the choice of divergence made no difference; --scale auto puts s where it does"
    )


def overflow_message(step: int, skipped: int, last: Tensor, precision: str) -> str:
    """Why a run stopped after so many skipped steps; `last` is the row of the last one, as in `log_row`."""
    s = last[:-4].double().cpu()
    low, middle, high = s.nan_to_num(math.inf, math.inf).quantile(
        torch.tensor(QUANTILES).double(), interpolation="nearest"
    )
    named = dict(zip(("erasure loss", "retention loss", "gradient"), last[-4:-1].isfinite().tolist(), strict=True))
    wrong = [] if s.isfinite().all() else ["s"]
    wrong += [name for name, finite in named.items() if not finite]
    return (
        f"{skipped} steps in a row were not finite, up to step {step}: {', '.join(wrong)} in {precision}; s was "
        f"{low:.3g}, {middle:.3g}, {high:.3g} at its 10, 50 and 90 % quantiles, beyond what this divergence, or its "
        "critic, can hold; use --scale auto, a lower --learning-rate, or a divergence whose w(s) stays bounded"
        + ("" if precision == "fp32" else ", or --precision fp32")
    )


def shortage(error: BaseException) -> str | None:
    """What helps where disk or memory is full; None for any other error."""
    if isinstance(error, torch.OutOfMemoryError):
        return (
            "what helps in another run: a lower --batch-size, --precision bf16, or --parameter-group cross-attention-kv"
        )
    if re.search("no space left|quota exceeded", str(error), re.IGNORECASE):
        return "the disk is full: make room first"
    return None


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


def before_after(path: Path, panel: Panel, pictures: dict[str, Tensor | None], concepts: Concepts) -> None:
    """Draw the same seeds before and after: the target's rows, then those of three retained values, labelled.

    Args:
        path: the PNG to write.
        panel: which prompt made which picture.
        pictures: by model, in the order of the rows, (prompts, 3, H, W) in [0, 1]; None for a model there is not.
        concepts: names the target, the anchor and what was retained.
    """
    groups = [list(range(panel.targets))]
    kept = list(dict.fromkeys(panel.named[panel.targets :]))
    groups += [[i for i, value in enumerate(panel.named) if value == name] for name in kept[:3]]
    rows = [(group, model) for k, group in enumerate(groups) for model in pictures if k == 0 or model != "oracle"]
    rows = [(group, model) for group, model in rows if pictures[model] is not None and len(group) > 0]
    figure, axes = plt.subplots(len(rows), SHOWN, figsize=(SHOWN * 1.1 + 1.6, len(rows) * 1.1 + 0.5), squeeze=False)
    for row, (group, model) in zip(axes, rows, strict=True):
        # Strides that share no factor with the group, so that every axis of a world varies along the row.
        stride = next(prime for prime in (7, 11, 13, 1) if len(group) % prime or prime == 1)
        chosen = [group[stride * k % len(group)] for k in range(min(SHOWN, len(group)))]
        for cell in row:
            cell.axis("off")
        for cell, i in zip(row, chosen, strict=False):
            cell.imshow(pictures[model][i].permute(1, 2, 0).numpy(), interpolation="nearest")  # type: ignore[index]
        label = f'"{panel.named[group[0]]}"\n{model}'
        row[0].text(-0.15, 0.5, label, ha="right", va="center", transform=row[0].transAxes, fontsize=10)
    height = figure.get_size_inches()[1]
    figure.suptitle(f'"{concepts.target}" brought to "{concepts.anchor}", same seeds', fontsize=12, y=1 - 0.12 / height)
    margins = {"left": 1.5 / (SHOWN * 1.1 + 1.6), "right": 0.99, "bottom": 0.01, "top": 1 - 0.45 / height}
    figure.subplots_adjust(**margins, wspace=0.05, hspace=0.05)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def curves(path: Path, rows: Sequence[Row], title: str) -> None:
    """Draw s, w(s)/w(0) and the retained error over the steps, with their 10 % to 90 % range."""
    rows = [row for row in rows if "s" in row]
    steps = [row["step"] for row in rows]
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4))
    panels = [("s", "s of the target prompts", True), ("relative_weight", "w(s) / w(0)", False)]
    for axis, (key, label, logarithmic) in zip(axes, panels, strict=False):
        axis.set(title=label, xlabel="step", yscale="log" if logarithmic else "linear")
        if key in rows[0]:
            low, middle, high = zip(*(row[key] for row in rows), strict=True)
            axis.fill_between(steps, low, high, alpha=0.25, linewidth=0)
            axis.plot(steps, middle)
    axes[2].plot(steps, [row["retain"] for row in rows])
    axes[2].set(title="s of the retained prompts (mean)", xlabel="step")
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def last_screen(folder: Path, summary: Row, metrics: dict[str, dict[str, Any]]) -> str:
    """What was erased, how well, at what cost, and where to look."""
    lines = [
        "",
        f'Erased "{summary["target"]}" towards "{summary["anchor"]}" with {summary["divergence"]}.',
        "",
    ]
    if metrics:
        lines.append(f"{'':32}{'original':>10}{'erased':>10}{'oracle':>10}   95 % interval")
    for name in (name for name in METRICS if name in metrics):
        cells = [metrics[name][model] for model in ("original", "erased", "oracle")]
        shown = "".join(f"{'-' if cell is None else format(cell, '.4f'):>10}" for cell in cells)
        low, high = metrics[name]["interval"]
        lines.append(f"{name.replace('_', ' '):32}{shown}   {low:.4f} to {high:.4f}")
    if not metrics:
        lines.append("No accuracies: this model's folder holds no judge. Look at the pictures.")
    seconds = summary["seconds"]
    lines += [
        "",
        f"Cost: {seconds['training']:.0f} s of training in {seconds['whole']:.0f} s, "
        f"{summary['peak_memory_bytes'] / 2**30:.1f} GiB, {summary['trained_weights']:,} weights, "
        f"on {summary['device']}.",
    ]
    if summary["warning"]:
        lines.append(f"Note: {summary['warning']}.")
    lines.append(f"Look at {folder / 'before_after.png'} and {folder / 'curves.png'}; everything is in {folder}.")
    return "\n".join(lines)
