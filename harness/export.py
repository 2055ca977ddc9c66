"""What an erasure leaves for others: the change of the UNet's weights, or a whole pipeline."""

from pathlib import Path

from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

from harness.models import Denoiser


def save_delta(denoiser: Denoiser, path: Path, metadata: dict[str, str]) -> None:
    """Write trained minus original weights of the parameter group; added to the original UNet they erase."""
    save_file(denoiser.delta(), path, metadata={"format": "pt", **metadata})


def save_pipeline(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Write the pipeline, erased UNet included, as `from_pretrained` reads it."""
    pipeline.save_pretrained(folder, safe_serialization=True)
