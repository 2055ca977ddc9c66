"""What an erasure is written as, and opened again as a reader would."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.config import Config, UsageError
from harness.data.latents import encode, sample
from harness.models import load as models
from harness.models.edits import Fit, edit
from harness.models.family import Family
from harness.models.layouts import kohya, lowrank, original
from harness.models.source import resolve
from harness.models.weights import fingerprint, read_weights, save_configurations, save_pipeline
from harness.runs.command import quieten_libraries
from harness.runs.files import read_json, save_tensors
from harness.runs.folder import DELTA, PROMPTS, finished, options_of, written_whole
from harness.runs.places import where_model_is
from harness.show.card import Written, model_card

LORA = "pytorch_lora_weights.safetensors"
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
OF_UNETS = ("kohya", "diff", "single-file")
"""Formats whose names for a denoiser's modules are those of Stable Diffusion's UNets."""
CHECK_STEPS = 4
TOLERANCE = 1e-3
Metrics = dict[str, dict[str, Any]]
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Form:
    """What is to be written, as `python -m harness.export` names it."""

    name: str
    """delta, lora, kohya, diff, single-file or pipeline."""
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
    frozen: Weights
    trained: Weights
    prompts: tuple[str, str]
    """The first of the target's with its anchor's."""

    @classmethod
    def read(cls, run: Path, model: str, device: str) -> "Erasure":
        """Read a run folder and load the model it started from, which is at `model` if that says anything.

        Raises:
            UsageError: no finished run there, or the model is not the one that the run started from.
        """
        quieten_libraries()
        summary = finished(run)
        options = options_of(run)
        source = resolve(model or where_model_is(run, options.model, "--model"), options.variant)
        place = models.resolve_device(device)
        family = models.load(source, place, options.variant, options.revision, options.offline)
        family = models.told(family, options)
        frozen, trained = read_weights(run, family, options.parameter_group)
        metrics = read_json(run / "metrics.json") if (run / "metrics.json").is_file() else {}
        concept = read_json(run / PROMPTS, "erased")["erased"][0]
        prompts = concept["target_prompts"][0], concept["anchor_prompts"][0]
        return cls(summary, metrics, options, family, frozen, trained, prompts)

    @property
    def metadata(self) -> dict[str, str]:
        """What a file says of itself: the original by its name and a digest of what has changed, not by its place."""
        said = {key: self.summary[key] for key in ("target", "anchor", "divergence")}
        base = self.summary["config"]["model"]
        return {"format": "pt", "original_sha256": fingerprint(self.frozen), **said, "base": base}

    def file(self, form: str) -> str:
        """The name of the file that has all weights; where a UI shows it to choose from, it says what is gone."""
        gone = re.sub(r"\W+", "-", self.summary["target"][:60].lower()).strip("-")
        return {"delta": DELTA, "lora": LORA}.get(form, f"without-{gone}.safetensors")

    def sample(self, model: Family) -> Tensor:
        """Latents of a prompt of the target's and of its anchor's after a few steps, on fixed seeds, (4, c, h, w).

        In fp32: bf16 rounds adapters beside the weights to something else than their sum.
        """
        prompts, steps = [*self.prompts] * 2, min(CHECK_STEPS, self.options.sampling_steps)
        few = replace(self.options, sampling_steps=steps, precision="fp32")
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
        UsageError: no finished run, a format that the model has no names for, a type too narrow for the numbers, or a
            file that is not read whole or does not sample as the trained model does.
    """
    erasure = Erasure.read(run, model, device)
    if form.name in OF_UNETS and erasure.model.component != "unet":
        raise UsageError(
            f"--format {form.name}: has names for Stable Diffusion's UNets, and this model's denoiser is a "
            f"{erasure.model.component}; choose delta, lora or pipeline"
        )
    pipeline = erasure.model.pipeline
    if form.name == "lora" and not hasattr(pipeline, "load_lora_weights"):
        raise UsageError(f"--format lora: diffusers' {type(pipeline).__name__} loads none; choose delta or pipeline")
    changed = lowrank.merged(erasure.frozen, erasure.trained, form.strength)
    before = erasure.sample(erasure.model)
    erasure.put(changed)
    expected = erasure.sample(erasure.model)
    erasure.put({name: erasure.frozen[name] for name in changed})
    with written_whole(output) as folder:
        lost = write(erasure, changed, form, folder)
        found, fit = reopened(erasure, form.name, folder)
        difference = (found - expected).abs().max().item()
        _check(form, lost, fit, difference, expected.abs().max().item())
        family, file = erasure.model, erasure.file(form.name)
        kind = family.pipeline_class.__name__
        told = Written(form.name, form.strength, lost, family.component, file, kind, family.absent)
        (folder / "README.md").write_text(model_card(erasure.summary | erasure.metadata, erasure.metrics, told))
    return _said(output, form, lost, fit, difference, (expected - before).abs().max().item())


def _check(form: Form, lost: float, fit: Fit, difference: float, size: float) -> None:
    if not math.isfinite(lost):
        raise UsageError(f"--dtype {form.dtype}: too narrow for these weights; choose bf16 or fp32")
    if fit.found < fit.whole:
        raise UsageError(f"{form.name}: read back, {fit}; nothing was written")
    if form.dtype == "fp32" and lost < TOLERANCE and not difference <= TOLERANCE * size:
        raise UsageError(f"{form.name}: samples differ from the trained model's by {difference:.3g}")


def _said(output: Path, form: Form, lost: float, fit: Fit, difference: float, moved: float) -> str:
    rank = f" of rank {form.rank}" if form.name in ("lora", "kohya") else ""
    more = "; a larger --rank leaves out less" if rank and lost > TOLERANCE else ""
    return (
        f"Wrote {output}: {form.name}{rank} in {form.dtype}, without {lost:.2%} of the change's norm{more}.\n"
        f"Opened again, {fit}; its samples on the same seeds differ from those of the trained model at strength "
        f"{form.strength:g} by at most {difference:.3g} (latents); the erasure itself moves them by {moved:.3g}."
    )


def write(erasure: Erasure, changed: Mapping[str, Tensor], form: Form, folder: Path) -> float:
    """Write one format; returns the share of the change that it leaves out, in the Frobenius norm."""
    dtype, model, frozen = DTYPES[form.dtype], erasure.model, erasure.frozen
    stored = {name: each.to(dtype) for name, each in changed.items()}
    written = {name: each.float() for name, each in stored.items()}
    match form.name:
        case "diff":
            stored = {name: (each - frozen[name]).to(dtype) for name, each in changed.items()}
            written = {name: frozen[name] + each.float() for name, each in stored.items()}
            stored = kohya.differences(model, stored)
        case "lora" | "kohya":
            kinds: dict[str, nn.Module] = dict(model.network.named_modules())
            factors = lowrank.factors(frozen, erasure.trained, form.strength, form.rank, kinds)
            stored = {name: each.to(dtype) for name, each in factors.items()}
            written = lowrank.adapted(frozen, stored)
            stored = _named(erasure, form, stored)
        case "pipeline":
            save_pipeline(model, changed, folder, dtype)
        case "single-file":
            model.pipeline.to(dtype)
            erasure.put(changed)
            stored = original.checkpoint(model.pipeline)
            save_configurations(model.pipeline, (folder / erasure.file(form.name)).with_suffix(""))
    if form.name != "pipeline":
        metadata = erasure.metadata | {"strength": str(form.strength)}
        save_tensors(stored, folder / erasure.file(form.name), metadata)
    return lowrank.left_out(frozen, changed, written)


def _named(erasure: Erasure, form: Form, factors: Weights) -> Weights:
    """A LoRA's factors by the names of diffusers, or of kohya; UsageError for a change that is all biases."""
    if not factors:
        raise UsageError(f"--format {form.name}: nothing that changed can be put into a LoRA; choose delta or diff")
    if form.name == "kohya":
        return kohya.adapters(erasure.model, factors)
    return {f"{erasure.model.component}.{name}": each for name, each in factors.items()}


def reopened(erasure: Erasure, form: str, folder: Path) -> tuple[Tensor, Fit]:
    """The samples of what was written, opened as its readers do, and how much of it they found a place for."""
    place = folder / erasure.file(form)
    if form not in ("pipeline", "single-file"):
        over, fit = edit(erasure.model, f"--format {form}:", place)
        with over():
            return erasure.sample(erasure.model), fit
    other = models.load(folder if form == "pipeline" else place, erasure.model.device)
    other = models.told(other, erasure.options)
    ours, theirs = (_every_weight(each) for each in (erasure.model, other))
    equal = sum(name in theirs and torch.equal(each.float(), theirs[name]) for name, each in ours.items())
    return erasure.sample(other), Fit(f"a {form}", equal, len(ours), "tensors")


def _every_weight(model: Family) -> Weights:
    """Of all parts of a pipeline."""
    parts = {name: part for name, part in model.pipeline.components.items() if isinstance(part, nn.Module)}
    return {f"{part}.{name}": each for part in parts for name, each in parts[part].state_dict().items()}
