"""One erasure, three ways for others to open it: the changed weights, a LoRA, a whole pipeline.

    python -m harness.export RUN --format lora --strength 0.8
    python -m harness.export RUN/export/pipeline --undo

What is written is opened again as a reader would, samples on the seeds of the trained model, and the largest
difference is printed.
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from diffusers import AutoModel
from huggingface_hub import HfApi
from torch import Tensor, nn

from harness.config import Config, UsageError, from_dict
from harness.data.latents import encode, sample
from harness.models import load as models
from harness.models import lowrank
from harness.models.family import Family
from harness.models.source import resolve
from harness.models.weights import ORIGINAL, fingerprint, read_weights, save_pipeline
from harness.runs.command import quieten_libraries
from harness.runs.ends import run_command
from harness.runs.files import load_tensors, read_json, save_tensors
from harness.runs.folder import DELTA, finished, written_whole
from harness.show.card import model_card

LORA = "pytorch_lora_weights.safetensors"
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
CHECK_STEPS = 4
TOLERANCE = 1e-3
Metrics = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Export:
    """Write a finished run's erasure for others to open, or undo it in a pipeline that was written so."""

    run: tyro.conf.Positional[Path]
    """Run folder; with --undo a pipeline that was exported, or a run folder with one."""
    format: Literal["delta", "lora", "pipeline"] = "delta"
    """The changed weights alone, a LoRA for `load_lora_weights`, or a whole pipeline."""
    strength: float = 1.0
    """How far from the original, 0, to the trained weights, 1, and beyond, up to 1.5."""
    dtype: Literal["fp32", "fp16", "bf16"] = "fp32"
    """Type of the numbers written."""
    rank: int = 16
    """Largest rank of a LoRA; a run of the group `lora` keeps its own, without loss."""
    output: Path | None = None
    """Folder to write; by default RUN/export/FORMAT."""
    model: str = ""
    """Where the original model is now, if not where the run found it."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    undo: bool = False
    """Put the original weights back into an exported pipeline, bit for bit; it needs nothing but that folder."""
    push_to_hub: str = ""
    """Also upload what was written to this hub repository, OWNER/NAME, private if it is new."""


@dataclass(frozen=True)
class Erasure:
    """A finished run, read back, on the original model."""

    summary: dict[str, Any]
    metrics: Metrics
    config: Config
    model: Family
    frozen: dict[str, Tensor]
    trained: dict[str, Tensor]

    @classmethod
    def read(cls, options: Export) -> "Erasure":
        """Read a run folder and load the model it started from.

        Raises:
            UsageError: no finished run there, or the model is not the one that the run started from.
        """
        run, device, summary = options.run, models.resolve_device(options.device), finished(options.run)
        config = from_dict(summary["config"])
        source = resolve(options.model or config.model)
        model = models.load(source, device, config.variant, config.revision, config.offline)
        frozen, trained = read_weights(run, model, config.parameter_group)
        metrics = read_json(run / "metrics.json") if (run / "metrics.json").is_file() else {}
        return cls(summary, metrics, config, model, frozen, trained)

    def sample(self, model: Family) -> Tensor:
        """Latents of the target's and the anchor's prompt after a few steps, on fixed seeds, (4, c, h, w)."""
        prompts = [self.summary["target"], self.summary["anchor"]] * 2
        few = replace(self.config, sampling_steps=min(CHECK_STEPS, self.config.sampling_steps))
        return sample(model, prompts, encode(model, [*prompts, ""]), few, seed=0, desc="verify").cpu()

    def put(self, weights: Mapping[str, Tensor]) -> None:
        """Load these over the denoiser's."""
        self.model.network.load_state_dict(dict(weights), strict=False)


def export(options: Export) -> Path:
    """Write, verify and report; returns the folder written.

    Raises:
        UsageError: no finished run, an output that exists, a number out of range, or a file that does not sample as
            the trained model does.
    """
    if not 0 <= options.strength <= 1.5:
        raise UsageError(f"--strength {options.strength}: must be from 0 to 1.5")
    if options.rank < 1:
        raise UsageError(f"--rank {options.rank}: must be a count from 1")
    output = options.output or options.run / "export" / options.format
    if output.exists():
        raise UsageError(f"--output {output}: exists already; choose another folder")
    erasure = Erasure.read(options)
    changed = lowrank.merged(erasure.frozen, erasure.trained, options.strength)
    original = erasure.sample(erasure.model)
    erasure.put(changed)
    expected = erasure.sample(erasure.model)
    erasure.put({name: erasure.frozen[name] for name in changed})
    with written_whole(output) as folder:
        lost = write(erasure, changed, options, folder)
        (folder / "README.md").write_text(
            model_card(erasure.summary, erasure.metrics, options.format, options.strength, lost)
        )
        difference = (reopened(erasure, options.format, folder) - expected).abs().max().item()
        if options.dtype == "fp32" and lost < TOLERANCE and not difference <= TOLERANCE * expected.abs().max():
            raise UsageError(f"{options.format}: samples differ from the trained model's by {difference:.3g}")
    moved = (expected - original).abs().max().item()
    left_out = f", without {lost:.2%} of the change's norm" if options.format == "lora" else ""
    left_out += "; a larger --rank leaves out less" if lost > TOLERANCE else ""
    print(
        f"Wrote {output}{left_out}. Opened again, its samples on the same seeds differ from those of the trained\n"
        f"model at strength {options.strength:g} by at most {difference:.3g} (latents); the erasure itself moves them "
        f"by {moved:.3g}."
    )
    return output


def write(erasure: Erasure, changed: Mapping[str, Tensor], options: Export, folder: Path) -> float:
    """Write one format; returns the share of the change that it leaves out, in the Frobenius norm."""
    dtype, names = DTYPES[options.dtype], {key: erasure.summary[key] for key in ("target", "anchor", "divergence")}
    metadata = {"format": "pt", "strength": str(options.strength), "base": erasure.config.model, **names}
    match options.format:
        case "delta":
            save_tensors({name: each.to(dtype) for name, each in changed.items()}, folder / DELTA, metadata)
        case "lora":
            kinds: dict[str, nn.Module] = dict(erasure.model.network.named_modules())
            factors, lost = lowrank.factors(erasure.frozen, erasure.trained, options.strength, options.rank, kinds)
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
        return erasure.sample(models.load(folder, model.device))
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    quieten_libraries()
    options = tyro.cli(Export, args=arguments, prog="python -m harness.export", description=__doc__)
    return run_command(lambda: _run(options))


def _run(options: Export) -> None:
    """Do what the options say."""
    if options.undo:
        print(f"The original weights are back, bit for bit in the type exported, in {undo(options.run)}.")
        return
    folder = export(options)
    if options.push_to_hub:
        HfApi().create_repo(options.push_to_hub, private=True, exist_ok=True)
        HfApi().upload_folder(repo_id=options.push_to_hub, folder_path=folder)


if __name__ == "__main__":
    sys.exit(main())
