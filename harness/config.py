"""The options of an erasure: one frozen dataclass from which flags, file and documentation derive."""

import ast
import inspect
from collections.abc import Mapping
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
    concept_type: ConceptType | None = None
    """Whose prompt templates to use, for a model without a vocabulary; by default those of an object."""
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


def read_yaml(flag: str, path: Path) -> Any:
    """The mapping, or list of mappings, in a file that an option names; numbers and truth values stay text.

    Keys without a value are left out.

    Raises:
        UsageError: no such file, no YAML, or a key that is there twice.
    """
    try:
        text = path.read_text("utf-8-sig")
        top = yaml.compose(text, yaml.BaseLoader)
        for node in top.value if isinstance(top, yaml.SequenceNode) else [top]:
            keys = [key.value for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
            if repeated := [key for key in keys if keys.count(key) > 1]:
                raise UsageError(f"{flag} {path}: {repeated[0]!r} is given twice")
        content = yaml.load(text, yaml.BaseLoader)
    except (OSError, yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise UsageError(f"{flag} {path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    return [_said(each) for each in content] if isinstance(content, list) else _said(content)


def _said(mapping: Any) -> Any:
    """A mapping without the keys that YAML gives no value."""
    if not isinstance(mapping, dict):
        return mapping
    return {key: value for key, value in mapping.items() if value not in ("", "~", "null")}


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
            kinds = [kind for kind in (hints[name], *get_args(hints[name])) if get_origin(kind) is Literal]
            choices = ", ".join(f"`{each}`" for kind in kinds for each in get_args(kind))
            default = f"`{defaults[name]}`" if defaults[name] not in ("", None, ()) else ""
            text = " ".join(meaning.split()) + (f" ({choices})" if choices else "")
            lines.append(f"| `{flag_of(name)}` | {default} | {text} |")
    return "\n".join(lines)


def to_dict(config: Config) -> dict[str, Any]:
    """The options as plain JSON values."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}


def from_dict(content: Mapping[str, Any]) -> Config:
    """The options that `to_dict` gave; one that is not there has its default. UsageError for what no option can be."""
    hints = get_type_hints(Config)
    known: dict[str, Any] = {}
    for field in fields(Config):
        value = content.get(field.name, field.default)
        value = tuple(value) if isinstance(value, list) else value
        if field.default is not None and type(value) is not type(field.default):
            raise UsageError(f"{flag_of(field.name)} {value!r}: kept by a run, and no {type(field.default).__name__}")
        known[field.name] = Path(value) if isinstance(value, str) and Path in get_args(hints[field.name]) else value
    return Config(**known)


def check(config: Config) -> None:
    """UsageError for a number out of its range."""
    counts = ("steps", "batch_size", "latents", "sampling_steps", "rank", "checkpoint_every", "evaluate_every")
    positive = ("retain_weight", "retention_budget")
    ranges = {
        **dict.fromkeys(counts, (1, 10**9, "a count from 1")),
        **dict.fromkeys(positive, (1e-30, 1e30, "a finite number above 0")),
        "learning_rate": (1e-30, 1, "above 0 and at most 1, since AdamW moves every weight by about so much a step"),
        "guidance_scale": (1e-30, 1e3, "above 0 and at most 1000"),
        "seed": (0, 2**60, "from 0 to 2^60"),
        "anchor_guidance": (-1e3, 1e3, "from -1000 to 1000"),
    }
    if config.retain and config.retain_method == "none":
        raise UsageError("--retain: names prompts to keep, and --retain-method none keeps nothing; leave out one")
    for name in ("target", "anchor", "retain"):
        try:
            "".join(getattr(config, name)).encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{flag_of(name)} {getattr(config, name)!r}: no text: {error}") from error
    low, high = config.timestep_window
    if not 0 <= low < high <= 1:
        raise UsageError(f"--timestep-window {low} {high}: must be two fractions, 0 <= LOW < HIGH <= 1")
    for name, (least, most, words) in ranges.items():
        if not least <= (value := getattr(config, name)) <= most:
            raise UsageError(f"{flag_of(name)} {value}: must be {words}")
