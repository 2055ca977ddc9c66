"""What an erasure leaves for others: the weights that changed, or a whole pipeline."""

from pathlib import Path

from diffusers import DiffusionPipeline
from safetensors.torch import save_file

from harness.models import Denoiser


def save_delta(denoiser: Denoiser, path: Path, metadata: dict[str, str]) -> None:
    """Write the trained weights of the parameter group as they are now: load them over the original's."""
    save_file(denoiser.weights(), path, metadata={"format": "pt", **metadata})


def save_pipeline(pipeline: DiffusionPipeline, folder: Path) -> None:
    """Write the pipeline, erased UNet included, as `from_pretrained` reads it."""
    pipeline.save_pretrained(folder, safe_serialization=True)
