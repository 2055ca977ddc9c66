"""How a miniature is built: the options, and the checks that come before any training."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from harness.config import UsageError

JUDGE = Path("judge") / "judge.safetensors"
"""The judge's weights, within a miniature's folder."""


@dataclass(frozen=True)
class Build:
    """How a miniature is built."""

    output: Path
    """Folder to write; parts that stand there already are kept."""
    denoiser: Literal["unet", "sd3"] = "unet"
    """A UNet of noise, as in Stable Diffusion 1, or a transformer of a flow's velocity, as in Stable Diffusion 3."""
    without: tuple[str, ...] = ()
    """Concepts left out of the pictures: what is trained on them never sees one."""
    encoders: Path | None = None
    """Another miniature whose tokenizer, text encoder, autoencoder and judge are used; only the denoiser is trained."""
    seed: int = 0
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    judge_steps: int = 2_500
    text_steps: int = 500
    autoencoder_steps: int = 3_000
    denoiser_steps: int = 0
    """0 for its own number: 10,000 of the UNet, 16,000 of the transformer."""
    pictures: int = 24_000
    """Pictures that the denoiser is trained on."""
    renders: int = 4_000
    """Pictures that the judge is measured on at the end."""
    samples: int = 960
    """Pictures sampled at the end to measure quality."""


def check(options: Build) -> None:
    """UsageError for an unknown concept, an axis left empty, no encoders, or parts that other options made."""
    from harness.miniature import world  # here, as it imports torch and who looks for a judge alone need not

    known = [value for values in world.AXES.values() for value in values]
    if unknown := [concept for concept in options.without if concept not in known]:
        raise UsageError(f"--without {unknown[0]!r}: choices: {', '.join(known)}")
    for axis, values in world.AXES.items():
        if set(values) <= set(options.without):
            raise UsageError(f"--without: leaves no {axis} to draw")
    if options.encoders is not None and not (options.encoders / "model_index.json").is_file():
        raise UsageError(f"--encoders {options.encoders}: no miniature there; give a folder that `build` wrote")
    record = options.output / "build.json"
    before = json.loads(record.read_text()) if record.is_file() else None
    if before not in (None, recipe(options)):
        different = [name.replace("_", "-") for name, value in recipe(options).items() if before.get(name) != value]
        raise UsageError(f"--output {options.output}: its parts were built with another --{' --'.join(different)}")


def recipe(options: Build) -> dict[str, object]:
    """The options that decide what is trained; the encoders by digest, as what is built may be given to others."""
    left_out = ("output", "device", "renders", "samples")
    return {k: v for k, v in asdict(options).items() if k not in left_out} | {
        "encoders": options.encoders and _digest(options.encoders),
        "without": sorted(options.without),
    }


def _digest(miniature: Path) -> str:
    """SHA-256 of the parts that a denoiser is trained on."""
    files = sorted(file for part in ("text_encoder", "vae") for file in (miniature / part).glob("*.safetensors"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
