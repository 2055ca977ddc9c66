"""The same seeds before and after on one sheet, and each picture of it in a file of its own."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL.Image import Image
from torch import Tensor

from harness.data.latents import seeds
from harness.data.pictures import images
from harness.judging.panel import COLUMNS, SEED, Gallery, Line, lines
from harness.prompts.concepts import Concepts
from harness.runs.files import write_json
from harness.show.figures import escaped, save
from harness.show.screen import caption

INCHES, SMALL_INCHES = 1.9, 1.1
"""A picture's side: with its prompt over it, and without."""
WRAPPED = 30
"""Characters in a line of a prompt."""


def before_after(path: Path, galleries: Sequence[Gallery], concepts: Concepts) -> None:
    """Draw the same seeds before and after: lines of targets, of earlier ones, of what is retained, of own prompts.

    Of a model with a vocabulary each line is of one name, and of any other each picture has its prompt over it.

    Args:
        path: the PNG to write.
        galleries: the pictures that are judged, and perhaps those of own prompts.
        concepts: names the targets and the anchors.
    """
    every = [(gallery, line) for gallery in galleries for line in lines(gallery.panel)]
    rows = [(gallery, line, model) for gallery, line in every for model in _models(gallery.pictures, line)]
    prompted = any(not line.name for _, line in every)
    side = INCHES if prompted else SMALL_INCHES
    width, height = COLUMNS * side + 1.6, len(rows) * side + 0.5
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(len(rows), COLUMNS, squeeze=False)
    shown = None
    for row, (gallery, line, model) in zip(axes, rows, strict=True):
        for cell in row:
            cell.axis("off")
        for cell, i in zip(row, line.places, strict=False):
            cell.imshow(_image(gallery.pictures[model], i), interpolation="nearest")
            if not line.name and line is not shown:
                cell.set_title(escaped(textwrap.fill(gallery.panel.prompts[i], WRAPPED)), fontsize=6, pad=2)
        shown = line
        kind = "target" if line.erased else gallery.panel.named[line.places[0]]
        label = f'"{line.name}"\n{model}' if line.name else f"{kind}\n{model}"
        row[0].text(-0.15, 0.5, escaped(label), ha="right", va="center", transform=row[0].transAxes, fontsize=10)
    title = f"{caption(concepts.directions)}, same seeds"
    if galleries[0].pictures.get("oracle") is not None:
        title += f'; oracle: never saw a "{concepts.target}"'
    figure.suptitle(escaped(title), fontsize=11, y=1 - 0.12 / height)
    space = 0.22 if prompted else 0.05  # for the prompts
    margins = {
        "left": 1.5 / width,
        "right": 0.99,
        "bottom": 0.01,
        "top": 1 - (0.85 if prompted else 0.45) / height,
    }
    figure.subplots_adjust(**margins, wspace=0.05, hspace=space)
    save(figure, path, 100 if prompted else 80)


def _models(pictures: Mapping[str, Tensor | None], line: Line) -> list[str]:
    """Those that there are; of what is kept there is nothing to compare with the oracle."""
    return [model for model, there in pictures.items() if there is not None and (line.erased or model != "oracle")]


def save_pictures(folder: Path, galleries: Sequence[Gallery]) -> None:
    """Write each picture of the sheet at its full size, and pictures.json, which says what prompt and seed made it.

    Args:
        folder: to fill with PLACE-MODEL.png, of own prompts with show-PLACE-MODEL.png.
        galleries: as for `before_after`.
    """
    folder.mkdir(exist_ok=True)  # a run that died after this writes the same again
    made = []
    for gallery in galleries:
        prompts, own = gallery.panel.prompts, seeds(len(gallery.panel.rows), SEED)
        for line in lines(gallery.panel):
            for model in _models(gallery.pictures, line):
                for i in line.places:
                    name = f"{gallery.prefix}{i:03}-{model}.png"
                    _image(gallery.pictures[model], i).save(folder / name)
                    made.append({"file": name, "model": model, "prompt": prompts[i], "seed": own[i]})
    write_json(folder / "pictures.json", {"pictures": made})


def _image(pictures: Tensor | None, place: int) -> Image:
    """One of the pictures (n, 3, H, W) in [0, 1] of a model that there is."""
    assert pictures is not None
    return images(pictures[place : place + 1])[0]
