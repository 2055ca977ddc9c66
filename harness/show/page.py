"""The report page: one file with nothing outside it, readable on a phone, in the dark and in print."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from torch import Tensor

from harness.data.pictures import images
from harness.judging.attack import attacks
from harness.judging.metric import metrics
from harness.judging.panel import COLUMNS, Gallery, Panel, lines
from harness.judging.result import Outcome
from harness.runs.folder import DELTA
from harness.show.screen import MODELS, Row, caption, directions_of, flags_chosen

SIDE = 128
"""Pixels along a side of the pictures shown; larger ones are reduced."""
GAPS = (("forgetting_gap", "Forgetting gap"), ("collateral_gap", "Collateral gap"))
Strip = tuple[str, list[tuple[str, str]]]
"""A model, and its pictures as data URLs, each with its prompt."""


@dataclass(frozen=True)
class Seen:
    """The pictures of an evaluation."""

    panel: Panel
    pictures: Mapping[str, Tensor | None]
    """By model, of the panel's prompts, (prompts, 3, H, W) in [0, 1]."""
    outcomes: Mapping[str, Mapping[str, Outcome]]
    """By attack and concept."""
    shown: Gallery | None = None
    """Of the user's own prompts."""

    @property
    def galleries(self) -> list[Gallery]:
        """All pictures but those of attacks."""
        judged = Gallery(self.panel, self.pictures)
        return [judged] if self.shown is None else [judged, self.shown]


def write_page(path: Path, title: str, content: Row, seen: Seen, run: Row | None = None, attack: str = "") -> None:
    """Write the page, whole or not at all.

    Args:
        path: the HTML file; `curves.png` beside it is taken in.
        title: what was erased.
        content: of metrics.json.
        seen: the pictures to show.
        run: of run.json, for a run of ours.
        attack: the command that would attack what was not attacked yet.
    """
    environment = Environment(
        loader=PackageLoader("harness.show", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["settings"] = _settings
    curves = path.with_name("curves.png")
    text = environment.get_template("report.html.j2").render(
        title=title,
        content=content,
        gaps=GAPS,
        unknown=_unknown(content),
        next="" if content.get("attacks") else attack,
        models=MODELS,
        panel=_panel(seen),
        metrics=[(metric, content[metric.name]) for metric in metrics() if metric.name in content],
        attacks=list(_attacks(seen.outcomes)),
        run=run and _run(run),
        curves=_url(curves.read_bytes(), "png") if run and curves.is_file() else "",
        load=_load(run) if run else "",
    )
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


def title_of(run: Row) -> str:
    """What a run erased, and by which divergence."""
    return f"{caption(directions_of(run))}, by {run['divergence']}"


def _unknown(content: Row) -> dict[str, str]:
    attacked = "attacks" in content
    return {
        "forgetting_gap": "there is no oracle, so there is no zero point" if attacked else "no attack was made",
        "collateral_gap": "there is no judge, or no oracle",
    }


def _settings(setting: Row) -> str:
    return ", ".join(f"{key} {value}" for key, value in setting.items())


def _panel(seen: Seen) -> list[tuple[str, list[Strip]]]:
    """What is erased, what is kept, what the user wished to see: by name the strips of the models."""
    result = []
    for gallery in seen.galleries:
        there = {model: each for model, each in gallery.pictures.items() if each is not None}
        for line in lines(gallery.panel):
            names = dict.fromkeys(gallery.panel.named[i] for i in line.places)
            words = [gallery.panel.prompts[i] for i in line.places]
            strips = [(model, _images(each[list(line.places)], words)) for model, each in there.items()]
            result.append((", ".join(names), strips))
    return result


def _attacks(outcomes: Mapping[str, Mapping[str, Outcome]]) -> Iterable[Row]:
    """What the page says of each attack on each concept."""
    every = attacks()
    for name, by_target in outcomes.items():
        for target, outcome in by_target.items():
            pictures = {model: result.pictures for model, result in outcome.headline.results.items()}
            yield {
                "name": name,
                "target": target,
                "source": every[name].source,
                "setting": _settings(outcome.headline.setting),
                "figures": [(figure.replace("_", " "), _figures(each)) for figure, each in outcome.figures.items()],
                "points": [
                    {"label": _settings(point.setting), "rates": point.to_json()["rates"]} for point in outcome.curve
                ],
                "pictures": [(model, _images(each, [name] * len(each))) for model, each in pictures.items()],
            }


def _figures(by_model: Mapping[str, float | None]) -> str:
    return ", ".join(
        f"{model} {'never' if value is None else format(value, '.3g')}" for model, value in by_model.items()
    )


def _images(pictures: Tensor, words: Sequence[str]) -> list[tuple[str, str]]:
    """Pictures (n, 3, H, W) in [0, 1] as data URLs."""
    result = []
    for image, prompt in zip(images(pictures[:COLUMNS]), words, strict=False):
        image.thumbnail((SIDE, SIDE))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=82)
        result.append((_url(file.getvalue(), "jpeg"), prompt or "no prompt"))
    return result


def _url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _run(run: Row) -> list[tuple[str, str]]:
    """What a reader wants to know of a training."""
    seconds = run["seconds"]
    return [
        ("steps", str(run["stopped"]["step"] if run["stopped"] else run["config"]["steps"])),
        ("options that are not the defaults", " ".join(flags_chosen(run["config"])) or "none"),
        *((f"recipe {name}", source) for name, source in run.get("presets", {}).items()),
        ("weights trained", f"{run['trained_weights']:,} ({run['config']['parameter_group']})"),
        ("scale of s", f"{run['scale']['kind']}, {run['scale']['constants'][0]:.3g}"),
        *([("training", f"{seconds['training']:.0f} s of {seconds['whole']:.0f} s")] if seconds else []),
        ("most memory", f"{run['peak_memory_bytes'] / 2**30:.1f} GiB"),
        ("device", run["device"]),
        ("versions", ", ".join(f"{name} {version}" for name, version in run["versions"].items() if version)),
        *([("note", run["warning"])] if run["warning"] else []),
    ]


def _load(run: Row) -> str:
    if run["config"]["parameter_group"] == "lora":
        return "python -m harness.export RUN --format lora\n\npipeline.load_lora_weights('RUN/export/lora')"
    component = run.get("component", "unet")  # which older runs do not say
    return (
        "from safetensors.torch import load_file\n\n"
        f"pipeline.{component}.load_state_dict(load_file('RUN/{DELTA}'), strict=False)"
    )
