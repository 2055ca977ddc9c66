"""The options of an erasure: one frozen dataclass from which flags, file and documentation derive."""

import argparse
import ast
import inspect
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
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
    """Pipeline folder in the diffusers layout, SD 1.x .safetensors file, hub id, or `miniature`, the embedded one."""
    target: str = ""
    """Concept to erase; by default the model's own default (miniature: star)."""
    anchor: str = ""
    """Concept put in its place; by default the model's own default, or the first other value of the target's axis."""
    divergence: str = "squared_hellinger"
    """NAME or NAME:param=value of `python -m fdiv list`, FILE.py:NAME, or a generator such as "u*log(u) - u + 1"."""
    objective: Literal["closed_form", "variational"] = "closed_form"
    """D(s) between the two reverse steps, or its variational lower bound with a trained critic."""
    parameter_group: Literal["cross-attention-kv", "cross-attention", "attention", "full", "lora"] = (
        "cross-attention-kv"
    )
    """What trains of the denoiser; `lora`: adapters of all attention layers; `full` has to keep every weight twice."""
    rank: int = 8
    """Rank of each adapter of the group `lora`."""
    scale: Literal["auto", "posterior", "unit"] = "auto"
    """What turns a squared error into s: calibrated once, the scheduler's own variance, or the official recipe's 1."""
    steps: int = 150
    """Optimiser steps."""
    batch_size: int = 8
    """Target prompts per step; as many retained prompts go with them."""
    learning_rate: float = 1e-3
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
    variant: str = ""
    """Variant of the weights' files, such as fp16."""
    revision: str = ""
    """Branch, tag or commit on the hub."""
    offline: bool = False
    """Read models from the local cache alone."""
    output: Path | None = None
    """Run folder; by default runs/TARGET-DIVERGENCE-OBJECTIVE."""
    overwrite: bool = False
    """Replace an existing run folder."""
    checkpoint_every: int = 50
    """Steps between two checkpoints of an unfinished run."""
    resume: Path | None = None
    """Go on with an unfinished run, named by its run folder or its unfinished one; its options are those it had."""
    save_pipeline: bool = False
    """Write the whole erased pipeline too, for diffusers to load."""


def parse(arguments: Sequence[str] | None = None) -> Config:
    """Read the flags; those of an optional `--config FILE.yaml` come first, so the command line goes over them.

    Raises:
        UsageError: an unreadable file, a number out of range, or an option that the run to resume had another value
            of. Wrong flags end the process with exit code 2.
    """
    from harness import folders  # here, since it imports this module

    path, rest = _take("--config", sys.argv[1:] if arguments is None else arguments)
    resume, rest = _take("--resume", rest if path is None else [*flags(path), *rest])
    before = Config() if resume is None else folders.saved_options(resume)
    description = f"{Config.__doc__}\n\n--config FILE.yaml reads any of these options from a file; flags go over it."
    config = tyro.cli(Config, args=rest, prog="python -m harness.unlearn", description=description, default=before)
    if resume is not None:
        folders.check_unchanged(before, config)
    check(config)
    return config


def _take(flag: str, arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """A flag's path, if it is there, and the other arguments."""
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    reader.add_argument(flag, type=Path, dest="path")
    known, rest = reader.parse_known_args(list(arguments))
    return known.path, rest


def flags(path: Path) -> list[str]:
    """A YAML mapping of options, `retain_weight` or `retain-weight` alike, as command-line flags."""
    if not path.is_file():
        raise UsageError(f"--config {path}: no such file")
    try:
        text = path.read_text()
        content, tree = yaml.safe_load(text), yaml.compose(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path}: not YAML: {' '.join(str(error).split())}") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise UsageError(f"--config {path}: expected a mapping of options, got a {type(content).__name__}")
    keys = [key.value for key, _ in tree.value] if tree else []
    if repeated := [key for key in keys if keys.count(key) > 1]:
        raise UsageError(f"--config {path}: {repeated[0]!r} is given twice")
    choices = [field.name for field in fields(Config)]
    result = []
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in choices:
            raise UsageError(f"--config {path}: unknown option {key!r}; choices: {', '.join(choices)}")
        flag = name.replace("_", "-")
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str | int | float) for each in values):
            raise UsageError(f"--config {path}: {key}: expected a value or a list of values, got {value!r}")
        if isinstance(value, bool):
            result.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            result += [f"--{flag}", *map(str, values)]
    return result


def table() -> str:
    """The options as a Markdown table, from the dataclass's own source."""
    (body,) = [node.body for node in ast.walk(ast.parse(inspect.getsource(Config))) if isinstance(node, ast.ClassDef)]
    defaults = {field.name: field.default for field in fields(Config)}
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for node, below in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(below, ast.Expr):
            name, meaning = ast.unparse(node.target), ast.literal_eval(below.value)
            kind = ast.unparse(node.annotation)
            choices = f" ({kind[8:-1]})".replace("'", "`") if kind.startswith("Literal") else ""
            default = f"`{defaults[name]}`" if defaults[name] not in ("", None, ()) else ""
            lines.append(f"| `--{name.replace('_', '-')}` | {default} | {meaning}{choices} |")
    return "\n".join(lines)


def to_dict(config: Config) -> dict[str, Any]:
    """The options as plain JSON values."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}


def check(config: Config) -> None:
    """UsageError for a number out of its range."""
    ranges = {
        **dict.fromkeys(
            ("steps", "batch_size", "latents", "sampling_steps", "rank", "checkpoint_every"),
            (1, 10**9, "a count from 1"),
        ),
        "seed": (0, 2**60, "from 0 to 2^60"),
        "retain_weight": (0, 1e30, "a finite number, 0 or more"),
        "learning_rate": (1e-30, 1e30, "a finite number above 0"),
        "guidance_scale": (1e-30, 1e30, "a finite number above 0"),
    }
    for name, (least, most, words) in ranges.items():
        if not least <= (value := getattr(config, name)) <= most:
            raise UsageError(f"--{name.replace('_', '-')} {value}: must be {words}")
