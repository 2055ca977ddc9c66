"""Pictures: divergences side by side, to choose by, and a refused generator with its counterexample.

matplotlib is imported when a picture is drawn; it comes with the `harness` extra.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mpmath
import numpy as np
from numpy.typing import NDArray

from fdiv.evidence.certificate import Certificate
from fdiv.evidence.signs import in_many_digits
from fdiv.record import Divergence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RATIOS = np.concatenate([np.geomspace(1e-4, 0.05, 40), np.linspace(0.05, 4, 159)[1:]])
_SLOPES = np.linspace(-3, 3, 121)
_S = np.geomspace(1e-3, 1e3, 121)
_HIGHEST = 1e30  # beyond the axes by far
_STYLES = ("-", "--", "-.", ":")


class PictureError(ValueError):
    """A picture cannot be drawn or written; the message says what is missing."""


def _figure(width: float, height: float, path: Path) -> Figure:
    """Return an empty figure that can be written to `path`."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise PictureError("a picture needs matplotlib: pip install 'fdiv-unlearning[harness]'") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    known = sorted(figure.canvas.get_supported_filetypes())
    if path.suffix.lower().removeprefix(".") not in known:
        raise PictureError(f"{path}: the ending says what to write; choose from .{', .'.join(known)}")
    return figure


def compare_pictures(divergences: list[Divergence], path: Path) -> None:
    """Draw f, f*, w(s)/w(0) and D(s) of certified divergences side by side; raises PictureError."""
    figure = _figure(17, 4.6, path)
    axes: list[Any] = list(figure.subplots(1, 4))
    titles = ("generator f(u)", "conjugate f*(t)", _weight_title(divergences), "D(s) between Gaussians")
    for axis, title, label in zip(axes, titles, "utss", strict=True):
        axis.set_title(title)
        axis.set_xlabel(label)
        axis.grid(alpha=0.25)
    for i, divergence in enumerate(divergences):
        style = {"color": f"C{i % 10}", "linestyle": _STYLES[i % 4], "label": divergence.spec}
        _draw_generator(axes[0], divergence, style)
        _draw_conjugate(axes[1], divergence, style)
        if divergence.gaussian.evaluable:
            _draw_gaussian(axes[2], axes[3], divergence, style)
    axes[0].set_ylim(-1.2, 4)
    axes[1].set_ylim(-3, 5)
    for axis in axes[2:]:
        axis.set(xscale="log", yscale="log", xlim=(_S[0], _S[-1]))
    axes[2].set_ylim(1e-4, 1e4)
    axes[3].set_ylim(1e-5, 1e4)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), frameon=False)
    _save(figure, path)


def _draw_generator(axis: Any, divergence: Divergence, style: dict[str, Any]) -> None:
    axis.plot(_RATIOS, generator_values(divergence, _RATIOS), **style)


def generator_values(divergence: Divergence, ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return f at the ratios; NaN where it is not a real number."""
    return _values(in_many_digits(divergence.generator), ratios)


def _values(function: Any, points: NDArray[np.float64]) -> NDArray[np.float64]:
    found = []
    with mpmath.workdps(30):
        for point in points.tolist():
            try:
                value = mpmath.mpmathify(function(mpmath.mpf(point)))
            except (ZeroDivisionError, ValueError, OverflowError, TypeError):
                value = mpmath.nan
            found.append(float(value) if isinstance(value, mpmath.mpf) else math.nan)
    return np.array(found)


def _draw_conjugate(axis: Any, divergence: Divergence, style: dict[str, Any]) -> None:
    """Draw f* where it is finite, with a dot at a closed end."""
    conjugate = divergence.conjugate
    end = float(conjugate.effective_domain.upper)
    near = [] if math.isinf(end) else [end - step for step in (1e-3, 1e-2, 3e-2, 6e-2)]
    points, values = np.unique([*_SLOPES, *near]), []
    for point in points.tolist():
        try:
            values.append(conjugate(point))
        except ArithmeticError:
            values.append(math.nan)
    axis.plot(points, np.where(np.isinf(values), np.nan, values), **style)
    if conjugate.effective_domain.upper_closed and _SLOPES[0] < end < _SLOPES[-1]:
        axis.plot([end], [float(conjugate.value_at_end)], marker="o", markersize=4, color=style["color"])


def weight_scale(divergence: Divergence) -> float:
    """w(0), or w(1) where w(0) is zero, infinite or two-sided."""
    return divergence.gaussian.gradient_weight(0.0 if divergence.reduces_to_mse else 1.0)


def _weight_title(divergences: list[Divergence]) -> str:
    scaled = {divergence.reduces_to_mse for divergence in divergences if divergence.gaussian.evaluable}
    if len(scaled) == 2:
        return "gradient weight w(s)/w(0); thin: w(s)/w(1)"
    return f"gradient weight w(s)/w({0 if True in scaled else 1})"


def _draw_gaussian(weights: Any, values: Any, divergence: Divergence, style: dict[str, Any]) -> None:
    gaussian = divergence.gaussian
    weight = np.array([gaussian.gradient_weight(s) for s in _S.tolist()])
    scale, width = (weight_scale(divergence), 1.5 if divergence.reduces_to_mse else 0.8)
    with np.errstate(all="ignore"):
        weights.plot(_S, np.where(weight < _HIGHEST, weight / scale, np.nan), **style, linewidth=width)
        value = np.array([gaussian(s) for s in _S.tolist()])
    values.plot(_S, np.where(value < _HIGHEST, value, np.nan), **style)


def evidence_picture(divergence: Divergence, certificate: Certificate, path: Path) -> None:
    """Draw f and f'' around the first counterexample, or the divergence itself if it is accepted."""
    shown = [claim for claim in certificate.objections if claim.counterexample is not None]
    if not shown:
        if not certificate.accepted:
            raise PictureError("there is no counterexample to draw: the claim was not settled, it was not refuted")
        compare_pictures([divergence], path)
        return
    claim, example = shown[0], shown[0].counterexample
    assert example is not None
    at = example.point
    ratios = np.linspace(at / 3, 2 * at, 501)
    figure = _figure(10, 4.2, path)
    left, right = figure.subplots(1, 2)
    value = generator_values(divergence, ratios)
    second = np.gradient(np.gradient(value, ratios), ratios)
    second[:2] = second[-2:] = np.nan  # one-sided differences
    panels = (
        (left, "f(u)", value),
        (right, "f''(u), by differences", second),
    )
    for axis, title, heights in panels:
        finite = heights[np.isfinite(heights)]
        axis.set(title=title, xlabel="u")
        axis.plot(ratios, heights, color="C0")
        axis.axvline(at, color="C3", linewidth=0.9, linestyle="--")
        if finite.size:
            low, high = np.percentile(finite, [2, 98])
            margin = 0.15 * (high - low) or 1.0
            axis.set_ylim(low - margin, high + margin)
        axis.grid(alpha=0.25)
    right.axhline(0, color="0.4", linewidth=0.8)
    right.fill_between(ratios, np.minimum(np.nan_to_num(second), 0), 0, color="C3", alpha=0.35, label="not convex")
    right.legend(frameon=False)
    figure.suptitle(f"{divergence.spec[:70]}: {claim.name} is refuted, {example}", fontsize=10)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise PictureError(f"cannot write {path}: {error}") from None
