"""What a person sees of a training: its curves; and of a sweep: what was forgotten against what was lost."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from harness.show.steps import BINS, DECADES, Row

Range = tuple[float, float, float]
"""Lowest, middle and highest value."""
LINEAR = 0.05
"""Gaps are drawn to scale up to here, and by their logarithm beyond."""


def escaped(words: str) -> str:
    """Two dollars would begin and end a formula."""
    return words.replace("$", r"\$")


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a figure as a PNG; a character that matplotlib's font lacks becomes a box without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        figure.savefig(path, dpi=dpi)


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
    figure.suptitle(escaped(title))
    figure.tight_layout()
    save(figure, path, 110)


def trade_off(path: Path, points: Mapping[tuple[str, str], tuple[Range, Range]]) -> None:
    """Draw the forgetting gap against the collateral gap.

    Args:
        path: of the picture.
        points: by kind of run and origin of its pictures, the range of both gaps.
    """
    figure = Figure(figsize=(11, 6))
    axis = figure.subplots()
    # as many shapes as share no factor with the ten colours, or every tenth run would look like another
    shapes = {"target": "osD^vph", "anchor": "xP*"}
    for i, ((label, origin), (forgetting, collateral)) in enumerate(points.items()):
        middle = forgetting[1], collateral[1]
        across, up = ([[m - low], [high - m]] for low, m, high in (forgetting, collateral))
        shape = shapes[origin][i % len(shapes[origin])]
        said = escaped(f"{label}, the {origin}'s pictures")
        axis.errorbar(*middle, yerr=up, xerr=across, fmt=shape, capsize=2, elinewidth=0.7, label=said)
    axis.set(xlabel="forgetting gap", ylabel="collateral gap", title="nearer to the origin is nearer to the oracle")
    for scaled in (axis.set_xscale, axis.set_yscale):
        scaled("symlog", linthresh=LINEAR)
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(FixedLocator([0, LINEAR / 2, LINEAR, 0.1, 0.2, 0.5, 1]))
        side.set_major_formatter(ScalarFormatter())
        side.set_minor_locator(NullLocator())
    axis.set(xlim=(-LINEAR / 8, 1), ylim=(-LINEAR / 8, 1))
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8)
    figure.tight_layout()
    save(figure, path, 110)


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
