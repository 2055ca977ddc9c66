"""The same seeds before and after on one sheet, and each picture of it in a file of its own."""

import textwrap
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from PIL.Image import Image
from torch import Tensor

from harness.data.latents import seeds
from harness.data.pictures import images
from harness.judging.panel import COLUMNS, SEED, Line, Panel, lines
from harness.prompts.concepts import Concepts
from harness.runs.files import write_json
from harness.show.figures import escaped, save
from harness.show.screen import caption

INCHES, SMALL_INCHES = 1.9, 1.1
"""A picture's side: with its prompt over it, and without."""
WRAPPED = 30
"""Characters in a line of a prompt."""


def before_after(path: Path, panel: Panel, pictures: Mapping[str, Tensor | None], concepts: Concepts) -> None:
    """Draw the same seeds before and after: lines of targets, of earlier ones, and of what is retained.

    Of a model with a vocabulary each line is of one name, and of any other each picture has its prompt over it.

    Args:
        path: the PNG to write.
        panel: which prompt made which picture.
        pictures: by model, in the order of the rows, (prompts, 3, H, W) in [0, 1]; None for a model there is not.
        concepts: names the targets and the anchors.
    """
    rows = [(line, model) for line in lines(panel) for model in _models(pictures, line)]
    side = SMALL_INCHES if panel.labelled else INCHES
    width, height = COLUMNS * side + 1.6, len(rows) * side + 0.5
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(len(rows), COLUMNS, squeeze=False)
    shown = None
    for row, (line, model) in zip(axes, rows, strict=True):
        for cell in row:
            cell.axis("off")
        for cell, i in zip(row, line.places, strict=False):
            cell.imshow(_image(pictures[model], i), interpolation="nearest")
            if not line.name and line is not shown:
                cell.set_title(escaped(textwrap.fill(panel.prompts[i], WRAPPED)), fontsize=6, pad=2)
        shown = line
        label = f'"{line.name}"\n{model}' if line.name else f"{'target' if line.erased else 'retained'}\n{model}"
        row[0].text(-0.15, 0.5, escaped(label), ha="right", va="center", transform=row[0].transAxes, fontsize=10)
    title = f"{caption(concepts.directions)}, same seeds"
    if pictures.get("oracle") is not None:
        title += f'; oracle: never saw a "{concepts.target}"'
    figure.suptitle(escaped(title), fontsize=11, y=1 - 0.12 / height)
    space = 0.05 if panel.labelled else 0.22  # for the prompts
    margins = {
        "left": 1.5 / width,
        "right": 0.99,
        "bottom": 0.01,
        "top": 1 - (0.45 if panel.labelled else 0.85) / height,
    }
    figure.subplots_adjust(**margins, wspace=0.05, hspace=space)
    save(figure, path, 80 if panel.labelled else 100)


def _models(pictures: Mapping[str, Tensor | None], line: Line) -> list[str]:
    """Those that there are; of what is kept there is nothing to compare with the oracle."""
    return [model for model, there in pictures.items() if there is not None and (line.erased or model != "oracle")]


def save_pictures(folder: Path, panel: Panel, pictures: Mapping[str, Tensor | None]) -> None:
    """Write each picture of the sheet at its full size, and pictures.json, which says what prompt and seed made it.

    Args:
        folder: to fill with PLACE-MODEL.png.
        panel: which prompt made which picture.
        pictures: as for `before_after`.
    """
    folder.mkdir(exist_ok=True)  # a run that died after this writes the same again
    own = seeds(len(panel.rows), SEED)
    made = []
    for line in lines(panel):
        for model in _models(pictures, line):
            for i in line.places:
                name = f"{i:03}-{model}.png"
                _image(pictures[model], i).save(folder / name)
                made.append({"file": name, "model": model, "prompt": panel.prompts[i], "seed": own[i]})
    write_json(folder / "pictures.json", {"pictures": made})


def _image(pictures: Tensor | None, place: int) -> Image:
    """One of the pictures (n, 3, H, W) in [0, 1] of a model that there is."""
    assert pictures is not None
    return images(pictures[place : place + 1])[0]
