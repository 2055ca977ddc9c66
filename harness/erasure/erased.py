"""What `harness.erase` gives back: what was found, and the pipeline's weights in hand."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

from diffusers import DiffusionPipeline
from PIL import Image
from torch import Tensor

from harness.config import UsageError
from harness.erasure import callers
from harness.erasure.outcome import CURVES, PICTURE, REPORT, Outcome
from harness.models.layouts import lowrank
from harness.models.weights import fingerprint, write_delta
from harness.runs.ends import between_steps
from harness.runs.files import usable, write_json
from harness.runs.folder import ADAPTERS, DELTA, PROMPTS, written_whole
from harness.show.screen import caption, directions_of, metric_lines

MOST = 1.5
"""Strength: beyond it there are no pictures."""


@final
class Erased:
    """An erasure in a pipeline that is in memory: what was found of it, and a hand on its strength.

    Strength 1 is the erasure as trained, as which it comes, and 0 the pipeline as it was.
    """

    def __init__(self, pipe: DiffusionPipeline, component: str, outcome: Outcome) -> None:
        """Put the erasure into a pipeline; if that is interrupted, the pipeline is as it was.

        Args:
            pipe: the caller's.
            component: the denoiser's name in it.
            outcome: of a training on this denoiser's weights.
        """
        self.pipe, self.outcome = pipe, outcome
        self._component = component
        self._original = callers.values(pipe, component, outcome.changed)
        self._left = fingerprint(self._original)
        self.strength(1.0)

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json: unlearning and retain accuracies, attacks, gaps and the verdict."""
        return self.outcome.examined.content

    @property
    def summary(self) -> dict[str, Any]:
        """The content of run.json: options, versions, seconds, memory."""
        return self.outcome.summary

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The rows of steps.jsonl: s, w(s)/w(0), what was retained, as training went."""
        return self.outcome.rows

    def __str__(self) -> str:
        """What was erased by what, how well, and the verdict."""
        said = self.summary
        head = f"{caption(directions_of(said))} with {said['divergence']}"
        return "\n".join([head, *metric_lines(self.metrics), self.metrics["verdict"]])

    def pictures(self) -> Image.Image:
        """The same seeds before and after, of the target and of what is retained, as one picture."""
        with tempfile.TemporaryDirectory() as folder:
            self.outcome.draw(Path(folder) / PICTURE)
            with Image.open(Path(folder) / PICTURE) as picture:
                return picture.copy()

    def report(self, path: str | Path = REPORT) -> Path:
        """Write the report, one page with nothing outside it, over what is there; returns where.

        Raises:
            UsageError: no name of a file, or a folder that is not there.
        """
        path = usable("report", Path(path))
        if not path.parent.is_dir():
            raise UsageError(f"report {path}: no folder {path.parent}")
        with tempfile.TemporaryDirectory() as folder:
            self.outcome.draw_curves(Path(folder) / CURVES)
            self.outcome.write_report(Path(folder) / REPORT)
            shutil.copyfile(Path(folder) / REPORT, path)
        return path

    def save(self, folder: str | Path) -> Path:
        """Write a run folder as the command line does, for `harness.evaluate` and `harness.export`; returns where.

        Its weights are those of strength 1.

        Raises:
            UsageError: something is there already, or nothing can be written there.
        """
        folder = usable("save", Path(folder))
        if folder.exists():
            raise UsageError(f"save {folder}: exists already; choose another folder")
        outcome = self.outcome
        names = {name: self.summary[name] for name in ("target", "anchor", "divergence")}
        file = DELTA if outcome.trained.keys() == outcome.frozen.keys() else ADAPTERS
        with written_whole(folder) as out:
            write_json(out / PROMPTS, asdict(outcome.concepts))
            (out / "steps.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in outcome.rows))
            write_delta(outcome.trained, outcome.frozen, out / file, names)
            outcome.write(out, folder.name)
        return folder

    def undo(self) -> None:
        """Put the original weights back, bit for bit; `strength` puts the erasure in again.

        Raises:
            UsageError: something else has changed these weights since.
        """
        self.strength(0.0)

    def strength(self, value: float) -> None:
        """Erase more or less: from 0, the pipeline as it was, to 1, as trained, and a little beyond.

        Raises:
            UsageError: out of this range, or something else has changed these weights since.
        """
        if not 0 <= value <= MOST:
            raise UsageError(f"strength {value}: must be from 0 to {MOST}")
        before = callers.values(self.pipe, self._component, self._original)
        if fingerprint(before) != self._left:
            raise UsageError(
                "the pipeline's weights were changed after this erasure, by another one perhaps: undo that first"
            )
        self._put(self._original if value == 0 else self._weights(value), before)

    def _weights(self, value: float) -> Mapping[str, Tensor]:
        """Those of a strength, in fp32."""
        if value == 1:
            return self.outcome.changed
        return lowrank.merged(self.outcome.frozen, self.outcome.trained, value)

    def _put(self, weights: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> None:
        """Write weights over the pipeline's, all of them or, if that is interrupted, none."""
        try:
            with between_steps():  # a signal waits until all are written
                callers.write(self.pipe, self._component, weights)
                left = fingerprint(callers.values(self.pipe, self._component, weights))
        except BaseException:
            callers.write(self.pipe, self._component, before)
            raise
        self._left = left
