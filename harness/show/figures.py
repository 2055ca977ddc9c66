"""What a person sees of a run: the same seeds before and after, and curves of the training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from harness.judging.panel import Panel
from harness.prompts.concepts import Concepts
from harness.show.screen import caption
from harness.show.steps import BINS, DECADES, Row

SHOWN = 8
Range = tuple[float, float, float]
"""Lowest, middle and highest value."""


def before_after(path: Path, panel: Panel, pictures: Mapping[str, Tensor | None], concepts: Concepts) -> None:
    """Draw the same seeds before and after: rows of targets, of earlier ones, and of retained values, labelled.

    Args:
        path: the PNG to write.
        panel: which prompt made which picture.
        pictures: by model, in the order of the rows, (prompts, 3, H, W) in [0, 1]; None for a model there is not.
        concepts: names the targets, the anchors and what was retained.
    """
    rows = _rows(panel, [model for model, there in pictures.items() if there is not None])
    figure = Figure(figsize=(SHOWN * 1.1 + 1.6, len(rows) * 1.1 + 0.5))
    axes = figure.subplots(len(rows), SHOWN, squeeze=False)
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
    title = f"{caption(concepts.target, concepts.anchor)}, same seeds"
    if pictures.get("oracle") is not None:
        title += f'; oracle: never saw a "{concepts.target}"'
    figure.suptitle(_escaped(title), fontsize=11, y=1 - 0.12 / height)
    margins = {"left": 1.5 / (SHOWN * 1.1 + 1.6), "right": 0.99, "bottom": 0.01, "top": 1 - 0.45 / height}
    figure.subplots_adjust(**margins, wspace=0.05, hspace=0.05)
    figure.savefig(path, dpi=80)


def _rows(panel: Panel, models: Sequence[str]) -> list[tuple[list[int], str]]:
    """The rows of the picture, each the places of one name's prompts in the panel and a model.

    Six erased names and three kept ones have room; of what is kept there is nothing to compare with the oracle.
    """
    gone = list(dict.fromkeys(panel.named[: panel.retained]))[:6]
    kept = list(dict.fromkeys(panel.named[panel.retained :]))[:3]
    rows = []
    for name in (*gone, *kept):
        group = [i for i, value in enumerate(panel.named) if value == name]
        rows += [(group, model) for model in models if name in gone or model != "oracle"]
    return rows


def _escaped(words: str) -> str:
    """Two dollars would begin and end a formula."""
    return words.replace("$", r"\$")


def curves(path: Path, rows: Sequence[Row], title: str) -> None:
    """Draw s, w(s)/w(0), the drift of what is retained, D with its estimate, and in which (t, s) gradients came up."""
    rows = [row for row in rows if "s" in row]
    if not rows:  # no step was taken, so there is nothing to see
        return
    figure = Figure(figsize=(18, 3.4))
    distance, weight, retained, divergence, origin = figure.subplots(1, 5)
    distance.set(title="s of the target prompts", xlabel="step", yscale="log")
    _quantiles(distance, rows, "s")
    weight.set(title="w(s) / w(0)", xlabel="step")
    _quantiles(weight, rows, "relative_weight")
    if _line(retained, rows, "retain"):
        retained.set(title="relative drift of retained predictions (mean)", xlabel="step")
    else:
        retained.set(title="no prompts retained", xticks=(), yticks=())
    divergence.set(title="D(s) of the target prompts (mean)", xlabel="step")
    _line(divergence, rows, "divergence", "exact")
    _line(divergence, rows, "estimate", "the critic's estimate")
    if divergence.lines:
        divergence.legend()
    _origin(origin, rows)
    figure.suptitle(_escaped(title))
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def trade_off(path: Path, points: Mapping[tuple[str, str], tuple[Range, Range]]) -> None:
    """Draw the forgetting gap against the collateral gap.

    Args:
        path: of the picture.
        points: by kind of run and origin of its pictures, the range of both gaps.
    """
    figure = Figure(figsize=(9, 6))
    axis = figure.subplots()
    markers = {"target": "o", "anchor": "s"}
    for (label, origin), (forgetting, collateral) in points.items():
        middle = forgetting[1], collateral[1]
        across, up = ([[m - low], [high - m]] for low, m, high in (forgetting, collateral))
        axis.errorbar(*middle, yerr=up, xerr=across, fmt=markers[origin], capsize=2, elinewidth=0.7)
        axis.annotate(_escaped(label), middle, (4, 4), textcoords="offset points", fontsize=8)
    axis.set(xlabel="forgetting gap", ylabel="collateral gap", title="nearer to the origin is nearer to the oracle")
    axis.plot([], [], "ko", label="origin: target")
    axis.plot([], [], "ks", label="origin: anchor")
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _quantiles(axis: Any, rows: Sequence[Row], key: str) -> None:
    """Draw the median and the range of a quantity whose rows hold three quantiles, if they have it."""
    if key in rows[0]:
        steps = [row["step"] for row in rows]
        low, middle, high = zip(*(row[key] for row in rows), strict=True)
        axis.fill_between(steps, low, high, alpha=0.25, linewidth=0, label="10 % to 90 %")
        axis.plot(steps, middle, label="median")
        axis.legend()


def _line(axis: Any, rows: Sequence[Row], key: str, label: str | None = None) -> bool:
    """Draw a quantity of the rows, if they have it; says whether they do."""
    if key in rows[0]:
        axis.plot([row["step"] for row in rows], [row[key] for row in rows], label=label)
    return key in rows[0]


def _origin(axis: Any, rows: Sequence[Row]) -> None:
    shares = torch.zeros(DECADES[1] - DECADES[0] + 1, BINS)
    for i, decade, share in (cell for row in rows for cell in row.get("origin", ())):
        shares[int(decade) - DECADES[0], int(i)] += share / len(rows)
    axis.imshow(shares.numpy(), origin="lower", aspect="auto", extent=(0, 1, DECADES[0], DECADES[1] + 1), cmap="Blues")
    axis.set(title="where the gradient came from", xlabel="time step / noise schedule", ylabel="log10 s")
