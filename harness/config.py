"""The options of an erasure: one frozen dataclass from which flags, file and documentation derive."""

import argparse
import ast
import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro
import yaml

MINIATURE = "miniature"
ConceptType = Literal["object", "style", "person", "safety", "text"]


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
    """Concept or prompt put in its place, or `superclass`, `empty` or `near` (docs/erasure.md says when); by default
    the model's own, the first other value of the target's axis, or `superclass`."""
    concept_type: ConceptType = "object"
    """Whose prompt templates to use, for a model without a vocabulary."""
    prompts: Path | None = None
    """Text file of prompt templates instead, one a line: "a painting[ in the style of {}|]"."""
    concepts: Path | None = None
    """YAML file of many concepts: a list of target, anchor, concept_type, prompts, divergence, weight."""
    augment: bool = False
    """Shrink or enlarge latents at random, say so in both prompts, and mask the loss, as the official recipe does."""
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
    scale: Literal["auto", "binned", "posterior", "unit"] = "auto"
    """What turns a squared error into s: calibrated once, or in each tenth of the time steps, the scheduler's own
    variance, or the official recipe's 1."""
    timestep_sampling: Literal["uniform", "importance"] = "uniform"
    """Time steps drawn alike, or more often where calibration found the larger gradients, and weighted back."""
    timestep_window: tuple[float, float] = (0.0, 1.0)
    """Part of the noise schedule that time steps are drawn from: 0 is clean, 1 is noise."""
    timestep_weight: Literal["constant", "min_snr"] = "constant"
    """Weight of a time step's divergence: 1, or min(SNR, 5) / SNR."""
    anchor_guidance: float = 1.0
    """Classifier-free guidance on the anchor's frozen prediction; below 0, with the target as anchor, this is ESD."""
    steps: int = 150
    """Optimiser steps."""
    batch_size: int = 8
    """Target prompts per step; as many retained prompts go with them."""
    learning_rate: float = 1e-3
    """AdamW's learning rate, constant."""
    retain: tuple[str, ...] = ()
    """Prompts to keep; by default captions with the other values of the target's axis, or neighbours of the target,
    others at random, and the anchor."""
    retain_method: Literal["weight", "projection", "projection-per-tensor", "none"] = "weight"
    """Add the retained prompts' gradient, or first project the erasure's off it where the two conflict."""
    retain_weight: float = 1.0
    """Weight of the retained prompts' squared error against the erasure loss."""
    latents: int = 96
    """Latents sampled once per prompt set, anchor and retained, before training."""
    guidance_scale: float = 3.0
    """Classifier-free guidance of all sampling."""
    sampling_steps: int = 20
    """Denoising steps of all sampling."""
    stop_when: str = ""
    """Stop early once conditions hold, such as "UA>=0.95,CRA>=0.9"; the model's folder must hold a judge."""
    retention_budget: float = 0.05
    """With --stop-when: stop too once IRA or CRA has lost so much."""
    evaluate_every: int = 25
    """With --stop-when: steps between two evaluations."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the denoiser, and of all sampling; what trains, s and loss stay in fp32."""
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
    continue_from: Annotated[Path | None, tyro.conf.arg(name="continue")] = None
    """Finished run to go on from, with another concept: what it erased stays erased, and is evaluated again."""
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
    continued, rest = _take("--continue", rest)
    before = Config() if continued is None else folders.continued_options(continued)
    if resume is not None:
        before = folders.saved_options(resume)
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
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"--config {path}: not YAML: {' '.join(str(error).split())}") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise UsageError(f"--config {path}: expected a mapping of options, got a {type(content).__name__}")
    keys = [str(key.value).replace("-", "_") for key, _ in tree.value] if tree else []
    if repeated := [key for key in keys if keys.count(key) > 1]:
        raise UsageError(f"--config {path}: {repeated[0]!r} is given twice")
    choices, hints = [field.name for field in fields(Config)], get_type_hints(Config)
    result = []
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in choices:
            raise UsageError(f"--config {path}: unknown option {key!r}; choices: {', '.join(choices)}")
        flag = flag_of(name)
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str | int | float) for each in values):
            raise UsageError(f"--config {path}: {key}: expected a value or a list of values, got {value!r}")
        if isinstance(value, bool) and hints[name] is not bool:
            raise UsageError(f"--config {path}: {key}: YAML reads this as {value}; put it in quotes")
        if isinstance(value, bool):
            result.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, list):
            result += [flag, *map(str, values)]
        else:
            result.append(f"{flag}={value}")
    return result


def flag_of(name: str) -> str:
    """The flag of a field."""
    return "--" + name.removesuffix("_from").replace("_", "-")  # `continue` cannot be a field's name


def table() -> str:
    """The options as a Markdown table, from the dataclass's own source."""
    (body,) = [node.body for node in ast.walk(ast.parse(inspect.getsource(Config))) if isinstance(node, ast.ClassDef)]
    defaults, hints = {field.name: field.default for field in fields(Config)}, get_type_hints(Config)
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for node, below in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(below, ast.Expr):
            name, meaning = ast.unparse(node.target), ast.literal_eval(below.value)
            kind = hints[name]
            choices = ", ".join(f"`{each}`" for each in get_args(kind)) if get_origin(kind) is Literal else ""
            default = f"`{defaults[name]}`" if defaults[name] not in ("", None, ()) else ""
            text = " ".join(meaning.split()) + (f" ({choices})" if choices else "")
            lines.append(f"| `{flag_of(name)}` | {default} | {text} |")
    return "\n".join(lines)


def to_dict(config: Config) -> dict[str, Any]:
    """The options as plain JSON values."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}


def from_dict(content: Mapping[str, Any]) -> Config:
    """The options that `to_dict` gave; one that is not there has its default."""
    hints = get_type_hints(Config)
    known: dict[str, Any] = {}
    for field in fields(Config):
        value = content.get(field.name, field.default)
        if isinstance(value, list):
            value = tuple(value)
        known[field.name] = Path(value) if isinstance(value, str) and Path in get_args(hints[field.name]) else value
    return Config(**known)


def check(config: Config) -> None:
    """UsageError for a number out of its range."""
    counts = ("steps", "batch_size", "latents", "sampling_steps", "rank", "checkpoint_every", "evaluate_every")
    positive = ("learning_rate", "guidance_scale", "retain_weight", "retention_budget")
    ranges = {
        **dict.fromkeys(counts, (1, 10**9, "a count from 1")),
        **dict.fromkeys(positive, (1e-30, 1e30, "a finite number above 0")),
        "seed": (0, 2**60, "from 0 to 2^60"),
        "anchor_guidance": (-1e3, 1e3, "from -1000 to 1000"),
    }
    low, high = config.timestep_window
    if not 0 <= low < high <= 1:
        raise UsageError(f"--timestep-window {low} {high}: must be two fractions, 0 <= LOW < HIGH <= 1")
    for name, (least, most, words) in ranges.items():
        if not least <= (value := getattr(config, name)) <= most:
            raise UsageError(f"{flag_of(name)} {value}: must be {words}")
