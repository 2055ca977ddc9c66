"""What a run of ours or another tool made of a model: put over it for a while, and taken off again."""

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from diffusers.loaders.lora_base import LORA_WEIGHT_NAME_SAFE
from torch import Tensor

from harness.config import Config, UsageError
from harness.models.family import Family
from harness.models.layouts import kohya
from harness.models.layouts.narrow import Exact, store_alike
from harness.models.layouts.original import DENOISER
from harness.models.source import INDEX, LOADING_ERRORS, PICKLES, TENSORS_REFUSED, absent, starting_file
from harness.models.weights import erased_by, fingerprint, over
from harness.runs.files import load_shapes, load_tensors, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffusers import ModelMixin

Edit = Callable[[], AbstractContextManager[None]]
"""Within the context that it gives, the model is the edited one."""
ADAPTER = re.compile(r"\.lora_|_lora\.|^lora_")
DIFFERENCE = re.compile(r"^lora_.*\.diff(_b)?$")
KINDS = (
    "a run folder, a pipeline folder in the diffusers layout, a LoRA, a checkpoint, or some of the denoiser's weights"
)


@dataclass(frozen=True)
class Fit:
    """How much of a file the model has a place for."""

    kind: str
    found: int = 1
    whole: int = 1
    parts: str = ""
    """What is counted; nothing where all has to fit."""

    def __str__(self) -> str:
        """As it is printed."""
        return ": ".join(filter(None, (self.kind, self.parts and f"{self.found} of {self.whole} {self.parts} fit")))


def edit(model: Family, flag: str, place: Path) -> tuple[Edit, Fit]:
    """What stands at a place, as an edit of a model, and how much of it fits.

    Args:
        model: the original.
        flag: what named the place, for errors.
        place: a finished run, a pipeline's folder, or a .safetensors file, which a folder may hold: a LoRA, differences
            (`.diff`), a checkpoint in the original layout, or some of the denoiser's weights.

    Raises:
        UsageError: nothing of the kind, another family, other sizes, another text encoder or autoencoder, or a file
            of which no tensor fits.
    """
    if (place / "run.json").is_file():
        return partial(erased_by, model, place), Fit("a run's weights")
    if (place / INDEX).is_file():
        return _of_pipeline(model, flag, place)
    place = _lora_in(flag, place) if place.is_dir() else place
    tensors = read_tensors(flag, place)
    if any(DIFFERENCE.search(name) for name in tensors):
        return _of_differences(model, flag, place, tensors)
    if any(name.startswith(DENOISER) for name in tensors):
        return _of_checkpoint(model, flag, place, tensors)
    if any(ADAPTER.search(name) for name in tensors):
        return _of_adapter(model, flag, place, tensors)
    return _of_weights(model, flag, place, tensors)


def _lora_in(flag: str, folder: Path) -> Path:
    """The file of a folder that is no pipeline: the one that diffusers writes a LoRA into, or the only one."""
    files = sorted(folder.glob("*.safetensors"))
    named = [file for file in files if file.name == LORA_WEIGHT_NAME_SAFE] or files
    if len(named) != 1:
        held = f"{len(files)} .safetensors files, of which none is {LORA_WEIGHT_NAME_SAFE}" if files else "none"
        raise UsageError(
            f"{flag} {folder}: needed is {KINDS}, the last three as .safetensors; this folder holds {held}"
        )
    return named[0]


def read_tensors(flag: str, place: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file; UsageError for anything else, with the way out of a pickle."""
    if place.is_file() and place.suffix in PICKLES:
        raise UsageError(f"{flag} {place}: {TENSORS_REFUSED}")
    if place.suffix != ".safetensors" or not place.is_file():
        raise UsageError(f"{flag} {place}: needed is {KINDS}, the last three as .safetensors")
    return load_tensors(place)[0]


def check_other(model: Family, said: str, other: Edit, known: Mapping[str, Edit]) -> None:
    """UsageError, which begins with `said`, where an edit makes the denoiser one that is known by its name already."""

    def state(stands: Edit) -> str:
        with stands():
            return fingerprint(Exact.of(model.network))

    own = state(other)
    for name, stands in known.items():
        if state(stands) == own:
            raise UsageError(f"{said}: equal to the {name} model, weight by weight; name another one")


def _of_pipeline(model: Family, flag: str, place: Path) -> tuple[Edit, Fit]:
    """Another pipeline's denoiser; whatever turns prompts and latents into something else has to be the same."""
    kind = read_json(place / INDEX, "_class_name")["_class_name"]
    if kind != model.pipeline_class.__name__:
        raise UsageError(f"{flag} {place}: a {kind}, the original is a {model.pipeline_class.__name__}")
    try:
        told = {**absent(place / INDEX), **model.load_options}
        other = model.pipeline_class.from_pretrained(place, use_safetensors=True, **told)
    except LOADING_ERRORS as error:
        raise UsageError(f"{flag} {place}: diffusers cannot load it: {' '.join(str(error).split())[:300]}") from error
    network: ModelMixin = getattr(other, model.component)
    for name in ("in_channels", "out_channels", "sample_size", "cross_attention_dim"):
        theirs, ours = network.config.get(name), model.network.config.get(name)
        if theirs != ours:
            raise UsageError(f"{flag} {place}: its denoiser has {name} {theirs}, the original's {ours}")
    for name in ("prediction_type", "beta_start", "beta_end", "beta_schedule"):
        theirs, ours = (pipeline.scheduler.config.get(name) for pipeline in (other, model.pipeline))
        if theirs != ours:
            raise UsageError(f"{flag} {place}: its noise has {name} {theirs}, the original's {ours}")
    parts = {name: part for name, part in model.pipeline.components.items() if isinstance(part, torch.nn.Module)}
    for name in [each for each in parts if each != model.component]:
        theirs = getattr(other, name)
        if theirs is None or not _same(theirs.state_dict(), parts[name].state_dict()):
            raise UsageError(
                f"{flag} {place}: another {name} than the original's; only denoisers are compared, beside the same "
                f"{name} for all: name as the original a model that has this one"
            )
    return partial(model.replaced, _beside(model, network)), Fit("a pipeline's denoiser")


def _beside(model: Family, network: "ModelMixin") -> "ModelMixin":
    """Another denoiser on the model's device, stored as the model's own is."""
    network.to(torch.float32, memory_format=torch.channels_last).eval()
    store_alike(network, model.network)
    return network.to(model.device)


def _same(state: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two states have the same tensors, as they are or as one of them was saved: rounded to half precision."""
    if state.keys() != other.keys():
        return False

    def equal(dtype: torch.dtype) -> bool:
        return all(torch.equal(each.cpu().to(dtype), other[name].cpu().to(dtype)) for name, each in state.items())

    return any(map(equal, (torch.float32, torch.float16, torch.bfloat16)))


def _of_checkpoint(model: Family, flag: str, place: Path, tensors: Mapping[str, Tensor]) -> tuple[Edit, Fit]:
    """The denoiser of a checkpoint in the original layout, as diffusers reads it."""
    try:
        with TemporaryDirectory() as folder:
            model.network.save_config(folder)
            network = type(model.network).from_single_file(str(place), config=folder, local_files_only=True)
    except LOADING_ERRORS as error:
        raise UsageError(f"{flag} {place}: diffusers cannot load it: {' '.join(str(error).split())[:300]}") from error
    found, whole = len(network.state_dict()), sum(name.startswith(DENOISER) for name in tensors)
    fit = Fit("a checkpoint's denoiser, nothing else of it", found, whole, "tensors")
    return partial(model.replaced, _beside(model, network)), fit


def _of_differences(model: Family, flag: str, place: Path, tensors: Mapping[str, Tensor]) -> tuple[Edit, Fit]:
    """What is to be added to weights and biases, as ComfyUI and the web UIs read it."""
    state, found = Exact.of(model.network), kohya.read_differences(model, tensors)
    if not found:
        raise UsageError(f"{flag} {place}: none of its {len(tensors)} tensors fits this denoiser")
    changed = {name: state[name] + each.to(state[name].device) for name, each in found.items()}
    _check_finite(flag, place, changed)
    return partial(over, model, changed), Fit("differences", len(found), len(tensors), "tensors")


def _of_adapter(model: Family, flag: str, place: Path, tensors: Mapping[str, Tensor]) -> tuple[Edit, Fit]:
    """A LoRA, as the pipeline's own loader reads it."""
    if not hasattr(model.pipeline, "load_lora_weights"):
        raise UsageError(f"{flag} {place}: a LoRA, and diffusers' {type(model.pipeline).__name__} loads none")

    @contextmanager
    def adapted() -> "Iterator[None]":
        try:
            model.pipeline.load_lora_weights(str(place.parent), weight_name=place.name, adapter_name="evaluated")
        except (OSError, ValueError, RuntimeError, LookupError) as error:
            raise UsageError(f"{flag} {place}: no LoRA for this model: {' '.join(str(error).split())[:300]}") from error
        try:
            yield
        finally:
            model.pipeline.unload_lora_weights()

    with adapted():
        found = sum(".lora_" in name for name, _ in model.network.named_parameters())
    if not found:
        raise UsageError(f"{flag} {place}: none of its {len(tensors)} tensors fits this denoiser")
    factors = sum(not name.endswith(".alpha") for name in tensors)
    return adapted, Fit("a LoRA", found, factors, "factors")


def _of_weights(model: Family, flag: str, place: Path, tensors: Mapping[str, Tensor]) -> tuple[Edit, Fit]:
    fitting = fitting_weights(model, flag, place, tensors)
    return partial(over, model, fitting), Fit("", len(fitting), len(tensors), "tensors")


def fitting_weights(model: Family, flag: str, place: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Some of the denoiser's weights, named as in its own state or with its part's name before, by their names there.

    Raises:
        UsageError: none fits, or one holds numbers that are not finite.
    """
    names = _fitting(model, flag, place, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    fitting = {name: tensors[theirs].float() for name, theirs in names.items()}
    _check_finite(flag, place, fitting)
    return fitting


def _fitting(model: Family, flag: str, place: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Of a file's tensors that fit the denoiser, by its own name for each that of the file; UsageError for none."""
    state = model.network.state_dict()
    bare = {name.removeprefix(f"{model.component}."): name for name in shapes}
    fitting = {own: name for own, name in bare.items() if own in state and shapes[name] == tuple(state[own].shape)}
    if not fitting:
        raise UsageError(f"{flag} {place}: none of its {len(shapes)} tensors fits this denoiser")
    return fitting


def starting_weights(model: Family, options: Config) -> dict[str, Tensor]:
    """What the file that `--start` names puts in the place of weights that train; nothing without a file.

    Raises:
        UsageError: as `check_start`, or one holds numbers that are not finite.
    """
    place = starting_file(options.start)
    return {} if place is None else fitting_weights(model, "--start", place, read_tensors("--start", place))


def check_start(model: Family, options: Config) -> None:
    """Check the file that `--start` names by its header alone: its weights are read once, where they are used.

    Raises:
        UsageError: none of its tensors fits, or one that does belongs to another group.
    """
    place = starting_file(options.start)
    if place is None:
        return
    fitting = _fitting(model, "--start", place, load_shapes(place))
    if left := fitting.keys() - model.parameters_of(options.parameter_group).keys():
        raise UsageError(
            f"--start {place}: {len(left)} of its {len(fitting)} weights, such as {min(left)}, do not train in "
            f"--parameter-group {options.parameter_group}; choose one that holds them, as full does"
        )


def _check_finite(flag: str, place: Path, weights: Mapping[str, Tensor]) -> None:
    for name, each in weights.items():
        if not each.isfinite().all():
            raise UsageError(f"{flag} {place}: {name} holds numbers that are not finite")
