"""The README of what is given to others."""

from typing import Any

from harness.judging.metric import metric_rows
from harness.show.screen import caption

HOW = {
    "delta": "from safetensors.torch import load_file\n\n"
    'pipeline.{component}.load_state_dict(load_file("unet_delta.safetensors"), strict=False)',
    "lora": 'pipeline.load_lora_weights("THIS_FOLDER")',
    "pipeline": 'pipeline = DiffusionPipeline.from_pretrained("THIS_FOLDER")',
}


def model_card(
    summary: dict[str, Any], content: dict[str, Any], form: str, strength: float,
    lost: float = 0.0, component: str = "unet",
) -> str:  # fmt: skip
    """A model card in Markdown: what was erased, how, how well, how to open it, and under whose licence.

    Args:
        summary: of the run: target, anchor, divergence and config.
        content: of metrics.json; may be empty.
        form: delta, lora or pipeline.
        strength: of the weights written.
        lost: share of the change's norm that a LoRA leaves out.
        component: the denoiser's name among the pipeline's parts.
    """
    config = summary["config"]
    is_hub_id = config["model"].count("/") == 1 and not config["model"].startswith((".", "/", "~"))
    base = f"base_model: {config['model']}\n" if is_hub_id else ""
    found = metric_rows(content)
    pairs = {name.replace("_", " "): (row["original"], row["erased"]) for name, row in found.items()}
    rows = [f"| {name} | {original:.4f} | {erased:.4f} |" for name, (original, erased) in pairs.items()]
    table = "\n".join(["| metric | original | erased |", "|---|---|---|", *rows]) if rows else "None was measured."
    notes = [] if strength == 1 else [f"Measured at strength 1; these weights have {strength:g}."]
    if lost:
        notes.append(f"Measured on the whole change; this LoRA leaves out {lost:.2%} of its norm.")
    table = "\n\n".join([table, *notes])
    return f"""---
library_name: diffusers
tags: [concept-erasure, unlearning, {form}]
license: other
license_name: as-the-original-model
{base}---

# {config["model"]} without "{summary["target"]}"

Trained with {caption(summary["target"], summary["anchor"])} by minimising the f-divergence
`{summary["divergence"]}` between the two models' reverse steps ({config["objective"]} objective, parameter group
`{config["parameter_group"]}`, {config["steps"]} steps, learning rate {config["learning_rate"]}, seed {config["seed"]},
strength {strength:g}).

```python
{HOW[form].format(component=component)}
```

## Metrics

{table}

Erasure is not a guarantee: what a model no longer draws on request may come back under attack or fine-tuning.

## License

These weights derive from `{config["model"]}` and stay under its licence; read it before you use or share them.
"""
