"""What a person sees of a run: the same seeds before and after, and curves of the training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor

from harness.judging.panel import Panel
from harness.loss.timesteps import BINS
from harness.prompts.concepts import Concepts
from harness.show.screen import DECADES, Row, led

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SHOWN = 8


def before_after(path: Path, panel: Panel, pictures: dict[str, Tensor | None], concepts: Concepts) -> None:
    """Draw the same seeds before and after: rows of targets, of earlier ones, and of retained values, labelled.

    Args:
        path: the PNG to write.
        panel: which prompt made which picture.
        pictures: by model, in the order of the rows, (prompts, 3, H, W) in [0, 1]; None for a model there is not.
        concepts: names the targets, the anchors and what was retained.
    """
    gone = list(dict.fromkeys(panel.named[: panel.retained]))
    kept = list(dict.fromkeys(panel.named[panel.retained :]))
    groups = [[i for i, value in enumerate(panel.named) if value == name] for name in (*gone[:6], *kept[:3])]
    rows = [
        (group, model) for k, group in enumerate(groups) for model in pictures if k < len(gone[:6]) or model != "oracle"
    ]
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
        label = _escaped(f'"{panel.named[group[0]]}"\n{model}')
        row[0].text(-0.15, 0.5, label, ha="right", va="center", transform=row[0].transAxes, fontsize=10)
    height = figure.get_size_inches()[1]
    title = f"{led(concepts.target, concepts.anchor)}, same seeds"
    if pictures.get("oracle") is not None:
        title += f'; oracle: never saw a "{concepts.target}"'
    figure.suptitle(_escaped(title), fontsize=11, y=1 - 0.12 / height)
    margins = {"left": 1.5 / (SHOWN * 1.1 + 1.6), "right": 0.99, "bottom": 0.01, "top": 1 - 0.45 / height}
    figure.subplots_adjust(**margins, wspace=0.05, hspace=0.05)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _escaped(words: str) -> str:
    """Two dollars would begin and end a formula."""
    return words.replace("$", r"\$")


def curves(path: Path, rows: Sequence[Row], title: str) -> None:
    """Draw s, w(s)/w(0), the retained error, D and its estimate, and where in (time step, s) the gradient came from."""
    rows = [row for row in rows if "s" in row]
    steps = [row["step"] for row in rows]
    figure, axes = plt.subplots(1, 5, figsize=(18, 3.4))
    panels = [("s", "s of the target prompts", True), ("relative_weight", "w(s) / w(0)", False)]
    for axis, (key, label, logarithmic) in zip(axes, panels, strict=False):
        axis.set(title=label, xlabel="step", yscale="log" if logarithmic else "linear")
        if key in rows[0]:
            low, middle, high = zip(*(row[key] for row in rows), strict=True)
            axis.fill_between(steps, low, high, alpha=0.25, linewidth=0, label="10 % to 90 %")
            axis.plot(steps, middle, label="median")
            axis.legend()
    if "retain" in rows[0]:
        axes[2].plot(steps, [row["retain"] for row in rows])
        axes[2].set(title="s of the retained prompts (mean)", xlabel="step")
    else:
        axes[2].set(title="no prompts retained", xticks=(), yticks=())
    for key, label in (("divergence", "exact"), ("estimate", "the critic's estimate")):
        if key in rows[0]:
            axes[3].plot(steps, [row[key] for row in rows], label=label)
    axes[3].set(title="D(s) of the target prompts (mean)", xlabel="step")
    if axes[3].lines:
        axes[3].legend()
    _origin(axes[4], rows)
    figure.suptitle(_escaped(title))
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _origin(axis: Any, rows: Sequence[Row]) -> None:
    shares = torch.zeros(DECADES[1] - DECADES[0] + 1, BINS)
    for i, decade, share in (cell for row in rows for cell in row.get("origin", ())):
        shares[int(decade) - DECADES[0], int(i)] += share / len(rows)
    axis.imshow(shares.numpy(), origin="lower", aspect="auto", extent=(0, 1, DECADES[0], DECADES[1] + 1), cmap="Blues")
    axis.set(title="where the gradient came from", xlabel="time step / noise schedule", ylabel="log10 s")
