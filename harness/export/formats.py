"""What an erasure is written as, opened again as a reader would, and undone."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoModel
from torch import Tensor, nn

from harness.config import Config, UsageError, from_dict
from harness.data.latents import encode, sample
from harness.models import load as models
from harness.models import lowrank
from harness.models.family import Family
from harness.models.source import resolve
from harness.models.weights import ORIGINAL, fingerprint, read_weights, save_pipeline
from harness.runs.command import quieten_libraries
from harness.runs.files import load_tensors, read_json, save_tensors
from harness.runs.folder import DELTA, finished, written_whole
from harness.show.card import model_card

LORA = "pytorch_lora_weights.safetensors"
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
CHECK_STEPS = 4
TOLERANCE = 1e-3
Metrics = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Form:
    """What is to be written, as `python -m harness.export` names it."""

    name: str
    """delta, lora or pipeline."""
    strength: float
    dtype: str
    rank: int


@dataclass(frozen=True)
class Erasure:
    """A finished run, read back, on the original model."""

    summary: dict[str, Any]
    metrics: Metrics
    options: Config
    model: Family
    frozen: dict[str, Tensor]
    trained: dict[str, Tensor]

    @classmethod
    def read(cls, run: Path, model: str, device: str) -> "Erasure":
        """Read a run folder and load the model it started from, which is at `model` if that says anything.

        Raises:
            UsageError: no finished run there, or the model is not the one that the run started from.
        """
        quieten_libraries()
        summary = finished(run)
        options = from_dict(summary["config"])
        source, place = resolve(model or options.model), models.resolve_device(device)
        family = models.load(source, place, options.variant, options.revision, options.offline)
        family = models.reading(family, options.max_sequence_length)
        frozen, trained = read_weights(run, family, options.parameter_group)
        metrics = read_json(run / "metrics.json") if (run / "metrics.json").is_file() else {}
        return cls(summary, metrics, options, family, frozen, trained)

    def sample(self, model: Family) -> Tensor:
        """Latents of the target's and the anchor's prompt after a few steps, on fixed seeds, (4, c, h, w)."""
        prompts = [self.summary["target"], self.summary["anchor"]] * 2
        few = replace(self.options, sampling_steps=min(CHECK_STEPS, self.options.sampling_steps))
        return sample(model, prompts, encode(model, [*prompts, ""]), few, seed=0, desc="verify").cpu()

    def put(self, weights: Mapping[str, Tensor]) -> None:
        """Load these over the denoiser's."""
        self.model.network.load_state_dict(dict(weights), strict=False)


def export(run: Path, output: Path, form: Form, model: str, device: str) -> str:
    """Write and verify; returns what to say of it.

    Args:
        run: folder of a finished run.
        output: folder to write.
        form: what to write.
        model: where the original is, if not where the run found it.
        device: as in `--device`.

    Raises:
        UsageError: no finished run, or a file that does not sample as the trained model does.
    """
    erasure = Erasure.read(run, model, device)
    pipeline = erasure.model.pipeline
    if form.name == "lora" and not hasattr(pipeline, "load_lora_weights"):
        raise UsageError(f"--format lora: diffusers' {type(pipeline).__name__} loads none; choose delta or pipeline")
    changed = lowrank.merged(erasure.frozen, erasure.trained, form.strength)
    original = erasure.sample(erasure.model)
    erasure.put(changed)
    expected = erasure.sample(erasure.model)
    erasure.put({name: erasure.frozen[name] for name in changed})
    with written_whole(output) as folder:
        lost = write(erasure, changed, form, folder)
        (folder / "README.md").write_text(
            model_card(erasure.summary, erasure.metrics, form.name, form.strength, lost, erasure.model.component)
        )
        difference = (reopened(erasure, form.name, folder) - expected).abs().max().item()
        if form.dtype == "fp32" and lost < TOLERANCE and not difference <= TOLERANCE * expected.abs().max():
            raise UsageError(f"{form.name}: samples differ from the trained model's by {difference:.3g}")
    moved = (expected - original).abs().max().item()
    left_out = f", without {lost:.2%} of the change's norm" if form.name == "lora" else ""
    left_out += "; a larger --rank leaves out less" if lost > TOLERANCE else ""
    return (
        f"Wrote {output}{left_out}. Opened again, its samples on the same seeds differ from those of the trained\n"
        f"model at strength {form.strength:g} by at most {difference:.3g} (latents); the erasure itself moves them "
        f"by {moved:.3g}."
    )


def write(erasure: Erasure, changed: Mapping[str, Tensor], form: Form, folder: Path) -> float:
    """Write one format; returns the share of the change that it leaves out, in the Frobenius norm."""
    dtype, names = DTYPES[form.dtype], {key: erasure.summary[key] for key in ("target", "anchor", "divergence")}
    metadata = {"format": "pt", "strength": str(form.strength), "base": erasure.options.model, **names}
    match form.name:
        case "delta":
            save_tensors({name: each.to(dtype) for name, each in changed.items()}, folder / DELTA, metadata)
        case "lora":
            kinds: dict[str, nn.Module] = dict(erasure.model.network.named_modules())
            factors, lost = lowrank.factors(erasure.frozen, erasure.trained, form.strength, form.rank, kinds)
            prefix = erasure.model.component
            save_tensors({f"{prefix}.{k}": each.to(dtype) for k, each in factors.items()}, folder / LORA, metadata)
            return lost
        case "pipeline":
            save_pipeline(erasure.model, changed, folder, dtype)
    return 0.0


def reopened(erasure: Erasure, form: str, folder: Path) -> Tensor:
    """The samples of what was written, opened as its readers do: over the original in `erasure`, or on its own."""
    model = erasure.model
    if form == "pipeline":
        return erasure.sample(models.reading(models.load(folder, model.device), model.max_sequence_length))
    if form == "delta":
        erasure.put(load_tensors(folder / DELTA)[0])
    else:
        model.pipeline.load_lora_weights(folder, weight_name=LORA)
    return erasure.sample(model)


def undo(folder: Path) -> Path:
    """Put the original weights back into an exported pipeline; returns its folder.

    Raises:
        UsageError: no such pipeline, or its other weights have changed since; then nothing is touched.
    """
    folder = next((each for each in (folder, folder / "pipeline") if (each / ORIGINAL).is_file()), folder)
    if not (folder / ORIGINAL).is_file():
        raise UsageError(
            f"--undo {folder}: no exported pipeline with an {ORIGINAL}; a delta or a LoRA changes no file of the "
            "original, so loading that again, or `unload_lora_weights`, undoes it"
        )
    quieten_libraries()
    original, metadata = load_tensors(folder / ORIGINAL)
    if missing := {"component", "dtype", "sha256"} - metadata.keys():
        raise UsageError(f"--undo {folder}: {ORIGINAL} is damaged: it does not say {', '.join(sorted(missing))}")
    component, dtype = folder / metadata["component"], getattr(torch, metadata["dtype"])
    try:
        network = AutoModel.from_pretrained(str(component), use_safetensors=True).to(dtype)
    except models.LOADING_ERRORS as error:
        raise UsageError(f"--undo {folder}: {component} cannot be read: {' '.join(str(error).split())}") from error
    network.load_state_dict(original, strict=False)
    if fingerprint(network.state_dict()) != metadata["sha256"]:
        raise UsageError(f"--undo {folder}: its weights were changed after the export; nothing was undone")
    with written_whole(component, replace=True) as out:
        network.save_pretrained(out, safe_serialization=True)
        for there in component.iterdir():  # what someone else put there stays
            if not (out / there.name).exists() and there.suffix != ".safetensors":
                shutil.copy2(there, out)
    for file in (ORIGINAL, "README.md"):
        (folder / file).unlink(missing_ok=True)
    return folder
