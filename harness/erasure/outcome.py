"""What is known of an erasure once it is done, and the files that say so to others."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.examine import Examined
from harness.prompts.concepts import Concepts
from harness.runs.files import write_json
from harness.runs.places import keep
from harness.show import figures, sheet
from harness.show.page import title_of, write_page
from harness.show.screen import caption, directions_of
from harness.show.steps import Row

PICTURE, PICTURES, CURVES, REPORT = "before_after.png", "pictures", "curves.png", "report.html"


@dataclass(frozen=True)
class Outcome:
    """An erasure that is done; holds no model."""

    concepts: Concepts
    examined: Examined
    rows: list[Row]
    """Of steps.jsonl."""
    summary: dict[str, Any]
    """Of run.json."""
    places: dict[str, Any]
    """What of the options others may not read: the places of this machine that the run read from."""
    frozen: dict[str, Tensor]
    """The values that the trained weights had, or for adapters those that they adapt, on the CPU."""
    trained: dict[str, Tensor]
    """The weights as trained, or the adapters' factors, on the CPU."""
    changed: dict[str, Tensor]
    """All that differs from the original, adapters multiplied out."""

    def write(self, out: Path, name: str) -> None:
        """Write metrics, pictures, curves, page and summary into a run folder whose name will be `name`."""
        write_json(out / "metrics.json", self.examined.content)
        self.draw(out / PICTURE)
        sheet.save_pictures(out / PICTURES, self.examined.seen.galleries)
        self.draw_curves(out / CURVES)
        attack = f"python -m harness.evaluate {shlex.quote(name)}"
        self.write_report(out / REPORT, attack)
        keep(out, self.places)
        write_json(out / "run.json", self.summary)

    def draw(self, path: Path) -> None:
        """The same seeds before and after, as a PNG."""
        sheet.before_after(path, self.examined.seen.galleries, self.concepts)

    def draw_curves(self, path: Path) -> None:
        """How the training went, as a PNG; none where no step was taken."""
        said, config = self.summary, self.summary["config"]
        what = f"{caption(directions_of(said))}: {said['divergence']}"
        figures.curves(path, self.rows, f"{what}, {config['objective']}, scale {config['scale']}")

    def write_report(self, path: Path, attack: str = "") -> None:
        """The page, with the curves that lie beside it; `attack` is the command that would attack the result."""
        examined = self.examined
        write_page(path, title_of(self.summary), examined.content, examined.seen, self.summary, attack)
