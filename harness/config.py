"""The options of an erasure: one frozen dataclass from which flags, file and documentation derive."""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import tyro
import yaml

MINIATURE = "miniature"


class UsageError(ValueError):
    """Input that cannot be used: the message names the value, the choices and the reason."""


@dataclass(frozen=True)
class Config:
    """Erase a concept from a Stable Diffusion model with an f-divergence.

    With no options, the embedded miniature forgets its stars: python -m harness.unlearn
    """

    model: str = MINIATURE
    """Pipeline folder in the diffusers layout, hub id, or `miniature` for the embedded one."""
    target: str = ""
    """Concept to erase; by default the model's own default (miniature: star)."""
    anchor: str = ""
    """Concept put in its place; by default the model's own default, or the first other value of the target's axis."""
    divergence: str = "squared_hellinger"
    """NAME or NAME:param=value, one of `python -m fdiv list`."""
    objective: Literal["closed_form", "variational"] = "closed_form"
    """D(s) between the two reverse steps, or its variational lower bound with a trained critic."""
    parameter_group: Literal["cross-attention-kv", "cross-attention", "full"] = "cross-attention-kv"
    """Which weights of the UNet train."""
    scale: Literal["auto", "posterior", "unit"] = "auto"
    """What turns a squared error into s: calibrated once, the scheduler's own variance, or the official recipe's 1."""
    steps: int = 100
    """Optimiser steps."""
    batch_size: int = 8
    """Target prompts per step; as many retained prompts go with them."""
    learning_rate: float = 5e-4
    """AdamW's learning rate, constant."""
    retain: tuple[str, ...] = ()
    """Prompts to keep; by default the captions of the other values of the target's axis, where the model lists them."""
    retain_weight: float = 1.0
    """Weight of the retained prompts' squared error against the erasure loss; 0 leaves them out."""
    latents: int = 96
    """Latents sampled once per prompt set, anchor and retained, before training."""
    guidance_scale: float = 3.0
    """Classifier-free guidance of all sampling."""
    sampling_steps: int = 20
    """Denoising steps of all sampling."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the UNet's forward pass; weights, s and loss stay in fp32."""
    output: Path | None = None
    """Run folder; by default runs/TARGET-DIVERGENCE-OBJECTIVE."""
    overwrite: bool = False
    """Replace an existing run folder."""
    save_pipeline: bool = False
    """Write the whole erased pipeline too, for diffusers to load."""


def parse(arguments: Sequence[str] | None = None) -> Config:
    """Read the flags; those of an optional `--config FILE.yaml` come first, so the command line goes over them.

    Raises:
        UsageError: an unreadable file or a number out of range. Wrong flags end the process with exit code 2.
    """
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    reader.add_argument("--config", type=Path)
    known, rest = reader.parse_known_args(sys.argv[1:] if arguments is None else list(arguments))
    from_file = [] if known.config is None else flags(known.config)
    description = f"{Config.__doc__}\n\n--config FILE.yaml reads any of these options from a file; flags go over it."
    config = tyro.cli(Config, args=[*from_file, *rest], prog="python -m harness.unlearn", description=description)
    _check(config)
    return config


def flags(path: Path) -> list[str]:
    """A YAML mapping of options, `retain_weight` or `retain-weight` alike, as command-line flags."""
    if not path.is_file():
        raise UsageError(f"--config {path}: no such file")
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"--config {path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UsageError(f"--config {path}: expected a mapping of options, got a {type(content).__name__}")
    choices = [field.name for field in fields(Config)]
    result = []
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in choices:
            raise UsageError(f"--config {path}: unknown option {key!r}; choices: {', '.join(choices)}")
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            result.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            result += [f"--{flag}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    return result


def to_dict(config: Config) -> dict[str, Any]:
    """The options as plain JSON values."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}


def _check(config: Config) -> None:
    for name, least in [
        ("steps", 1),
        ("batch_size", 1),
        ("latents", 1),
        ("sampling_steps", 1),
        ("retain_weight", 0),
    ]:
        if (value := getattr(config, name)) < least:
            raise UsageError(f"--{name.replace('_', '-')} {value}: must be at least {least}")
    for name in ["retain_weight", "learning_rate", "guidance_scale"]:
        if not math.isfinite(value := getattr(config, name)) or (name == "learning_rate" and value <= 0):
            raise UsageError(f"--{name.replace('_', '-')} {value}: must be a finite number above 0")
