"""Small figures of one style, without a display."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def figure(path: Path, columns: int) -> Iterator[tuple[Any, ...]]:
    """Yield `columns` axes side by side and write them to `path` as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(4.2 * columns, 3.4), layout="constrained")
    FigureCanvasAgg(drawing)
    axes = drawing.subplots(1, columns, squeeze=False)[0]
    for one in axes:
        one.grid(alpha=0.3)
    yield tuple(axes)
    drawing.savefig(path, dpi=80, metadata={"Software": None})
