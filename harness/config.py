"""The options of an erasure: one frozen dataclass from which flags, file and documentation derive."""

import ast
import inspect
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro
import yaml

MINIATURE = "miniature"
WEIGHTS = Path(__file__).parent / "miniature" / "weights"
EMBEDDED = {MINIATURE: WEIGHTS, "miniature-flow": WEIGHTS.with_name("weights_flow")}
"""The shipped pipelines in the diffusers layout, each with its judge and its oracle beside it."""
MOST_TOKENS = 512
"""That any pipeline takes of a text encoder that has no length of its own."""
ConceptType = Literal["object", "style", "person", "safety", "text"]
ParameterGroup = Literal["cross-attention-kv", "cross-attention", "text-paths", "attention", "full", "lora"]


class UsageError(ValueError):
    """Input that cannot be used: the message names the value, the choices and the reason."""


@dataclass(frozen=True)
class Config:
    """Erase a concept from a Stable Diffusion model with an f-divergence.

    With no options, the embedded miniature forgets its stars: python -m harness.unlearn
    """

    model: str = MINIATURE
    """Pipeline folder in the diffusers layout (docs/erasure.md: which families), SD 1.x .safetensors file, hub id, or
    an embedded one: `miniature`, as Stable Diffusion 1, or `miniature-flow`, as Stable Diffusion 3."""
    target: str = ""
    """Concept to erase; by default the model's own default (miniature: star)."""
    within: str = ""
    """Erase the target as an attribute of this concept alone: of `cowboy` the target `cowboy hat`; away from the target
    by `--anchor-guidance`, here -1 where none is given, as ESD has it."""
    anchor: str = ""
    """Concept or prompt put in its place, or `retained`, `superclass`, `empty`, `near` (docs/erasure.md says when); by
    default `retained`, or with `--origin anchor` the model's own, the first other value of its axis, or `superclass`.
    """
    concept_type: ConceptType | None = None
    """Whose prompt templates to use, for a model without a vocabulary; by default those of an object."""
    prompts: Path | None = None
    """Text file of prompt templates instead, one a line: "a painting[ in the style of {}|]"."""
    concepts: Path | None = None
    """YAML file of many concepts: a list of target, anchor, concept_type, prompts, divergence, weight; or LECO's, or
    kohya's .toml (docs/sharing.md)."""
    divergence: str = "kl"
    """NAME or NAME:param=value of `python -m fdiv list`, FILE.py:NAME, or a generator such as "u*log(u) - u + 1"."""
    objective: Literal["closed_form", "variational"] = "closed_form"
    """D(s) between the two reverse steps, or its variational lower bound with a trained critic."""
    parameter_group: ParameterGroup = "full"
    """What trains of the denoiser; `text-paths`: all that a prompt goes through, its pooled vector too; `lora`:
    adapters of all attention layers; `full` has to keep every weight twice."""
    rank: int = 8
    """Rank of each adapter of the group `lora`."""
    scale: Literal["auto", "posterior", "sde", "unit"] = "auto"
    """What turns a squared error into s: calibrated once, the variance of the path's posterior, that of Flow-GRPO's
    step (flow matching alone), or the official recipe's 1."""
    origin: Literal["target", "anchor"] = "target"
    """Whose pictures a step noises: the target's, which erases what the model can draw, or as the official recipe has
    it the anchor's, which erases the name alone."""
    adversary_every: int = 25
    """With `--origin target`: steps between two searches for embeddings that bring the target back; 0 for none."""
    closed_form_every: int = 0
    """With `--parameter-group cross-attention-kv`: steps between two solutions, in closed form, for embeddings that
    keys and values read as they read the target's before, against which the erasure is made to last; 0 for none."""
    relearning_steps: int = 75
    """With `--origin target`: steps that a simulated fine-tuning on the target takes, against which the erasure is made
    to last, before it begins anew; 0 for none."""
    anchor_guidance: float = 1.0
    """With `--origin anchor`: classifier-free guidance on the anchor's frozen prediction; below 0, with the target as
    anchor and from any origin, this is ESD, and so is 0 with `--origin target`, which leads to no prompt."""
    start: str = "original"
    """Weights to start from: `original`, the model's own; `closed-form`, with keys and values moved in closed form
    (UCE); or a .safetensors file of some of the denoiser's weights, as ESD writes."""
    steps: int = 300
    """Optimiser steps; 0 with `--start closed-form` or a file, which then is all."""
    batch_size: int = 8
    """Target prompts per step; as many retained prompts go with them."""
    learning_rate: float = 5e-4
    """AdamW's learning rate at the first step."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """How the learning rate goes on: down to 0 along a cosine, or not at all."""
    retain: tuple[str, ...] = ()
    """Prompts to keep; by default captions with the other values of the target's axis, or neighbours of the target,
    others at random, and the anchor."""
    show: Path | None = None
    """Text file of prompts of your own, one a line, to see before and after on the same seeds; none is trained on,
    retained or measured for it."""
    retain_weight: float = 3.0
    """What a retained prediction counts that has drifted by as much as it errs, against a target's at the start; at 0
    nothing is retained."""
    latents: int = 96
    """Latents sampled once per prompt set, anchor and retained, before training."""
    guidance_scale: float = 3.0
    """Classifier-free guidance of all sampling; FLUX's dev models, distilled to it, are told of it in training too."""
    sampling_steps: int = 8
    """Denoising steps of all sampling, by DPM-Solver++ 2M where the model's scheduler can be turned into it."""
    judge: str = ""
    """What tells what pictures show: `clip:PLACE`, `classifier:PLACE` (a folder or a hub id) or `nudenet`; by default
    the model folder's own, if it holds one (docs/evaluation.md)."""
    judge_words: tuple[str, ...] = ()
    """Words that `--judge` tells the target from, or WORD=NAME with the judge's own name for a word, the target's too;
    by default what is put in the target's place."""
    inception: Path | None = None
    """Weights of Inception v3, .pth or .safetensors, for KID by its features; without them KID is by the judge's."""
    max_sequence_length: int = 0
    """Tokens of a prompt that T5, Gemma, Qwen or Mistral read; 0 for what the model's vocabulary.json or pipeline has.
    Fewer take less memory."""
    resolution: int = 0
    """Pixels along a side of all pictures; 0 for what the model was made for. Fewer take less memory."""
    stop_when: str = ""
    """Stop early once conditions hold, such as "UA>=0.95,CRA>=0.9"; needs a judge."""
    watch: bool = False
    """Measure as --stop-when does and show it beside the training's bar, without stopping for it; needs a judge."""
    retention_budget: float = 0.05
    """With --stop-when: stop too once IRA or CRA has lost so much."""
    evaluate_every: int = 25
    """With --stop-when or --watch: steps between two evaluations; steps.jsonl keeps them."""
    attacks: tuple[str, ...] = ("none",)
    """After training, attacks of `python -m harness.evaluate` to run: `none`, `all`, or some of their names."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the denoiser, and of all sampling; what trains, s and loss stay in fp32."""
    gradient_checkpointing: bool = False
    """Compute each block's activations again in the backward pass instead of keeping them: one more forward pass, for a
    fraction of the memory."""
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
    cache: bool = True
    """Take what no erasure changes from the user's cache of samples, and keep it there; --no-cache samples anew."""
    dry_run: bool = False
    """Print the prompts, the sizes of all groups, the memory, the pictures and, by an earlier run beside it, the time
    that a run takes, and end there."""
    track: tuple[str, ...] = ()
    """Trackers that are told of the run as it goes on, through accelerate: tensorboard, wandb, mlflow, ...
    (docs/erasure.md)."""
    save_pipeline: bool = False
    """Write the whole erased pipeline too, for diffusers to load."""

    @property
    def guidance(self) -> float:
        """On the anchor: what is given, or with `--within`, which has to lead away from the target, -1."""
        return -1.0 if self.within and self.anchor_guidance == 1 else self.anchor_guidance

    @property
    def leads_away(self) -> bool:
        """Whether the target is its own anchor, from which the guidance leads away, or to no prompt at all: ESD."""
        return self.guidance < 0 or (self.guidance == 0 and self.origin == "target")


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
    except OSError as error:
        raise UsageError(f"{flag} {path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise UsageError(f"{flag} {path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if isinstance(content, list):
        return [_without_empty(each) for each in content]
    return _without_empty(content)


def _without_empty(mapping: Any) -> Any:
    """A mapping without the keys that YAML gives no value; anything else as it is."""
    if not isinstance(mapping, dict):
        return mapping
    return {key: value for key, value in mapping.items() if value not in ("", "~", "null")}


def meanings(options: type) -> dict[str, str]:
    """Of each field that a dataclass of options defines itself, what it means: the literal that stands below it."""
    body = ast.parse(inspect.getsource(options)).body[0].body  # type: ignore[attr-defined]
    return {
        ast.unparse(node.target): " ".join(ast.literal_eval(below.value).split())
        for node, below in pairwise(body)
        if isinstance(node, ast.AnnAssign) and isinstance(below, ast.Expr)
    }


def flag_of(name: str) -> str:
    """The flag of a field."""
    return "--" + name.removesuffix("_from").replace("_", "-")  # `continue` cannot be a field's name


def to_dict(options: Config) -> dict[str, Any]:
    """The options as plain JSON values."""
    values = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(options).items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def to_flags(values: Mapping[str, Any]) -> list[str]:
    """What `to_dict` gave as flags, each with its values as a shell takes them, but for those that are the defaults."""
    defaults = to_dict(Config())
    return [_flag(name, value) for name, value in values.items() if name in defaults and value != defaults[name]]


def _flag(name: str, value: Any) -> str:
    flag = flag_of(name)
    if isinstance(value, bool):
        return flag if value else f"--no-{flag[2:]}"
    if isinstance(value, list):
        return shlex.join([flag, *value])
    return shlex.quote(f"{flag}={value}") if str(value).startswith("-") else shlex.join([flag, str(value)])


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


def check(options: Config) -> None:
    """UsageError for a value that is no choice or of another type, as Python lets in, or for a number out of range."""
    _check_types(options)
    counts = ("batch_size", "latents", "sampling_steps", "rank", "checkpoint_every", "evaluate_every")
    ranges = {
        **dict.fromkeys(counts, (1, 10**9, "a count from 1")),
        "steps": (int(options.start == "original"), 10**9, "a count from 1, or 0 with --start closed-form or a file"),
        "retain_weight": (0, 1e30, "0, which retains nothing, or a finite number above it"),
        "retention_budget": (1e-30, 1e30, "a finite number above 0"),
        "learning_rate": (1e-30, 1, "above 0 and at most 1, since AdamW moves every weight by about so much a step"),
        "guidance_scale": (1e-30, 1e3, "above 0 and at most 1000"),
        "max_sequence_length": (0, MOST_TOKENS, f"0 for the pipeline's own, or up to {MOST_TOKENS}, the most there is"),
        "resolution": (0, 10**5, "0 for the model's own, or pixels"),
        "seed": (0, 2**60, "from 0 to 2^60"),
        "adversary_every": (0, 10**9, "a count, or 0 for no search"),
        "closed_form_every": (0, 10**9, "a count, or 0 for none"),
        "relearning_steps": (0, 10**9, "a count, or 0 for no fine-tuning"),
        "anchor_guidance": (-1e3, 1e3, "from -1000 to 1000"),
    }
    if options.retain and options.retain_weight == 0:
        raise UsageError("--retain: names prompts to keep, and --retain-weight 0 keeps nothing; leave out one")
    _check_closed_forms(options)
    if options.within and options.anchor_guidance == 0:
        raise UsageError(f"--within {options.within!r}: with --anchor-guidance 0 leads nowhere; choose one below 0")
    if options.origin == "target" and options.anchor_guidance > 0 and options.anchor_guidance != 1:
        raise UsageError(
            f"--anchor-guidance {options.anchor_guidance:g}: guides the anchor's frozen prediction, which --origin "
            "target has no use for; choose --origin anchor, or a guidance of 0 or below, which is ESD"
        )
    if options.within and (options.origin == "anchor" or options.concepts):
        other = "--origin anchor" if options.origin == "anchor" else f"--concepts {options.concepts}"
        raise UsageError(f"--within {options.within!r}: erases in the pictures of one concept; leave out {other}")
    for name in ("target", "within", "anchor", "retain"):
        try:
            "".join(getattr(options, name)).encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{flag_of(name)} {getattr(options, name)!r}: no text: {error}") from error
    for name, (least, most, words) in ranges.items():
        value = getattr(options, name)
        if not least <= value <= most:
            raise UsageError(f"{flag_of(name)} {value}: must be {words}")


def _check_closed_forms(options: Config) -> None:
    """UsageError for a start or an adversary in closed form where it cannot be."""
    if options.start == "closed-form" and options.leads_away:
        asked = f"--within {options.within!r}" if options.within else f"--anchor-guidance {options.anchor_guidance:g}"
        raise UsageError(f"{asked}: leads away from the target, which --start closed-form cannot")
    if options.start != "original" and options.parameter_group == "lora":
        raise UsageError(
            f"--start {options.start}: changes weights, where --parameter-group lora trains adapters alone"
        )
    if options.closed_form_every and options.parameter_group != "cross-attention-kv":
        raise UsageError(
            f"--closed-form-every {options.closed_form_every}: solves for keys and values alone, where "
            f"--parameter-group {options.parameter_group} trains others; choose cross-attention-kv, or 0"
        )
    if options.within and options.closed_form_every:
        raise UsageError(
            f"--within {options.within!r}: keeps the concept that its prompts name, where "
            "--closed-form-every solves for what is read as a name that is to go; leave out one"
        )


def _check_types(options: Config) -> None:
    """UsageError for a value that its field's annotation does not have."""
    for name, hint in get_type_hints(Config).items():
        value = getattr(options, name)
        kinds = [each for each in (get_args(hint) or (hint,)) if each is not Ellipsis]
        choices = [choice for kind in (hint, *kinds) if get_origin(kind) is Literal for choice in get_args(kind)]
        if choices:
            fits, words = value in choices or (value is None and type(None) in kinds), f"one of {', '.join(choices)}"
        elif get_origin(hint) is tuple:
            fits, words = isinstance(value, tuple) and all(isinstance(each, str) for each in value), "a tuple of texts"
        else:
            wanted = (float, int) if hint is float else tuple(kinds)
            fits = isinstance(value, wanted) and (hint is bool or not isinstance(value, bool))
            words = f"a {next(kind for kind in kinds if kind is not type(None)).__name__}"
        if not fits:
            raise UsageError(f"{flag_of(name)} {value!r}: must be {words}")
