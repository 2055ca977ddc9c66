"""The weights that an erasure changed: read over the model that a run started from, and written."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from harness.config import UsageError
from harness.models.denoiser import Denoiser
from harness.models.family import Family
from harness.models.layouts import lowrank
from harness.models.layouts.narrow import Exact, is_narrow, put, widen
from harness.models.source import forget_places
from harness.runs import processes
from harness.runs.files import load_tensors, save_tensors
from harness.runs.folder import ADAPTERS, DELTA, finished, weights_file

ORIGINAL = "original.safetensors"
"""In an exported pipeline: the original's values of the tensors that changed, so that `--undo` is exact."""


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A SHA-256 of tensors and their names, the same in any order and on any device."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def put_over(model: Family, run: Path) -> dict[str, Tensor]:
    """Load a finished run's weights over the model that it started from; returns the values that were there.

    Raises:
        UsageError: no finished run, or it started from other weights.
    """
    frozen, trained = read_weights(run, model, finished(run)["config"]["parameter_group"])
    put(model.network, lowrank.merged(frozen, trained))
    return frozen


@contextmanager
def over(model: Family, changed: Mapping[str, Tensor]) -> Iterator[None]:
    """Within this, other weights stand over some of the denoiser's own, which come back bit for bit."""
    state = Exact.of(model.network)
    own = {name: state[name].clone() for name in changed}
    put(model.network, changed)
    try:
        yield
    finally:
        put(model.network, own)


@contextmanager
def erased_by(model: Family, run: Path) -> Iterator[None]:
    """Within this, the model is what a finished run made of it; before and after, what that started from."""
    frozen, trained = read_weights(run, model, finished(run)["config"]["parameter_group"])
    with over(model, lowrank.merged(frozen, trained)):
        yield


def read_weights(run: Path, model: Family, parameter_group: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The model's own weights that a run changed, copied, and what it made of them.

    Raises:
        UsageError: the model is not the one that the run started from.
    """
    (trained, metadata), state = load_tensors(weights_file(run)), Exact.of(model.network)
    changed = model.parameters_of(parameter_group) if parameter_group == "lora" else trained
    frozen = {name: state[name].clone() for name in changed if name in state}
    if metadata.get("original_sha256") != fingerprint(frozen):
        raise UsageError(f"--model: not the weights that {run} started from; name that model")
    return frozen, trained


def save_trained(denoiser: Denoiser, run: Path, metadata: Mapping[str, str], base: Mapping[str, Tensor]) -> None:
    """Write all that differs from the original as it is now, and a digest of the original's values; the main process.

    Args:
        denoiser: as trained.
        run: the folder to write into; adapters have a file name of their own.
        metadata: goes into it.
        base: the original's values of what earlier runs changed, which training started from.
    """
    if processes.is_main():
        file = run / (ADAPTERS if denoiser.adapted else DELTA)
        write_delta(_earlier(denoiser, base) | denoiser.weights(), {**denoiser.frozen, **base}, file, metadata)


def write_delta(
    weights: Mapping[str, Tensor], original: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]
) -> None:
    """Write changed weights, or adapters' factors, and a digest of the original's values of what they change."""
    save_tensors(weights, path, {"format": "pt", "original_sha256": fingerprint(original), **metadata})


def _earlier(denoiser: Denoiser, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What earlier runs changed and this one did not train."""
    state = Exact.of(denoiser.network)
    return {name: state[name].cpu().clone() for name in base if name not in denoiser.trained}


def changes(denoiser: Denoiser, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put the original's weights back, and give what differs from them as trained; the denoiser trains no more.

    Args:
        denoiser: as trained.
        base: the original's values of what earlier runs changed, which training started from.
    """
    trained = {name: each.clone() for name, each in denoiser.weights().items()}  # restoring would overwrite them
    denoiser.restore()
    changed = _earlier(denoiser, base) | lowrank.merged(denoiser.frozen, trained)
    put(denoiser.network, base)
    return changed


def save_pipeline(model: Family, changed: Mapping[str, Tensor], folder: Path, dtype: torch.dtype) -> None:
    """Write a pipeline with `changed` over its denoiser's weights, and beside it the original values of these."""
    if any(map(is_narrow, model.network.parameters())):
        widen(model.network.to("cpu"))
    model.pipeline.to(dtype)
    state = model.network.state_dict()
    metadata = {"component": model.component, "dtype": str(dtype).split(".")[-1], "sha256": fingerprint(state)}
    original = {name: state[name].detach().cpu().clone() for name in changed}
    model.network.load_state_dict(dict(changed), strict=False)
    model.pipeline.save_pretrained(folder, safe_serialization=True)
    forget_places(folder)
    save_tensors(original, folder / ORIGINAL, metadata)


def save_configurations(pipeline: DiffusionPipeline, folder: Path) -> None:
    """Write all of a pipeline but its weights: what a checkpoint in a single file needs beside it to be read."""
    pipeline.save_config(folder)
    for name, part in pipeline.components.items():
        if hasattr(part, "save_config"):
            part.save_config(folder / name)
        elif part is not None:
            getattr(part, "config", part).save_pretrained(folder / name)  # a text encoder's, or a tokenizer itself
    forget_places(folder)
