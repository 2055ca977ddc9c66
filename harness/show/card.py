"""The README of what is given to others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.judging.metric import metric_rows
from harness.runs.places import is_hub_id
from harness.show.screen import caption, directions_of

LORA_FOLDERS = (
    "In ComfyUI `{file}` goes into `models/loras`, in A1111 and Forge into `models/Lora`; at strength 1 it is what was "
    "exported."
)
CODE = {
    "delta": "from safetensors.torch import load_file\n\n"
    'pipeline.{component}.load_state_dict(load_file("THIS_FOLDER/{file}"), strict=False)',
    "lora": 'pipeline.load_lora_weights("THIS_FOLDER")',
    "kohya": 'pipeline.load_lora_weights("THIS_FOLDER", weight_name="{file}")',
    "single-file": 'pipeline = {pipeline}.from_single_file("THIS_FOLDER/{file}", config="THIS_FOLDER/{stem}")',
    "pipeline": 'pipeline = DiffusionPipeline.from_pretrained("THIS_FOLDER"{without})',
}
WORDS = {
    "kohya": LORA_FOLDERS,
    "diff": f"{LORA_FOLDERS} It holds whole matrices, which diffusers does not read.",
    "single-file": "In ComfyUI `{file}` goes into `models/checkpoints`, in A1111 and Forge into "
    "`models/Stable-diffusion`.",
}


@dataclass(frozen=True)
class Written:
    """What a card is about."""

    form: str
    """A format of `python -m harness.export`."""
    strength: float = 1.0
    lost: float = 0.0
    """Share of the change's norm that it leaves out."""
    component: str = "unet"
    """The denoiser's name among the pipeline's parts."""
    file: str = ""
    """The file that has all weights, where there is one."""
    pipeline: str = "StableDiffusionPipeline"
    """diffusers' class."""
    absent: Sequence[str] = ()
    """Parts that the pipeline was saved without, which diffusers has to be told."""

    @property
    def how(self) -> str:
        """How to open it, in Markdown."""
        names = {"component": self.component, "file": self.file, "pipeline": self.pipeline}
        names["without"] = "".join(f", {name}=None" for name in self.absent)
        names["stem"] = self.file.removesuffix(".safetensors")
        code = f"```python\n{CODE[self.form]}\n```" if self.form in CODE else ""
        return "\n\n".join(filter(None, (code, WORDS.get(self.form)))).format(**names)


def model_card(summary: dict[str, Any], content: dict[str, Any], written: Written) -> str:
    """A model card in Markdown: what was erased, how, how well, how to open it, and under whose licence.

    Args:
        summary: of the run, for others to read: target, anchor, divergence and config; and the digest of what it
            changed, if known.
        content: of metrics.json; may be empty.
        written: what the card is about.
    """
    config, form, strength = summary["config"], written.form, written.strength
    name = config["model"]
    base = f"base_model: {name}\n" if is_hub_id(name) else ""
    digest = summary.get("original_sha256")
    known_by = f" (SHA-256 of what was changed in it: `{digest}`)" if digest else ""
    found = metric_rows(content)
    pairs = {metric.replace("_", " "): (row["original"], row["erased"]) for metric, row in found.items()}
    rows = [f"| {metric} | {original:.4f} | {erased:.4f} |" for metric, (original, erased) in pairs.items()]
    table = "\n".join(["| metric | original | erased |", "|---|---|---|", *rows]) if rows else "None was measured."
    notes = [] if strength == 1 else [f"Measured at strength 1; these weights have {strength:g}."]
    if written.lost >= 0.00005:
        notes.append(f"Measured on the whole change; this file leaves out {written.lost:.2%} of its norm.")
    if tokens := config.get("max_sequence_length"):
        notes.append(f"Measured with `max_sequence_length={tokens}`, which a pipeline's call has to be told.")
    table = "\n\n".join([table, *notes])
    return f"""---
library_name: diffusers
tags: [concept-erasure, unlearning, {form}]
license: other
license_name: as-the-original-model
{base}---

# {name} without "{summary["target"]}"

Trained with {caption(directions_of(summary))} by minimising the f-divergence
`{summary["divergence"]}` between the two models' reverse steps ({config["objective"]} objective, parameter group
`{config["parameter_group"]}`, {config["steps"]} steps, learning rate {config["learning_rate"]}, seed {config["seed"]},
strength {strength:g}).

{written.how}

## Metrics

{table}

Erasure is not a guarantee: what a model no longer draws on request may come back under attack or fine-tuning.

## License

These weights derive from `{name}`{known_by} and stay under its licence; read it before you use or share them.
"""
