"""A pipeline that is the caller's: read into one of our own to train on, and written to once, where its weights lie.

Nothing else of it is ever touched, so that its devices, types, hooks, scheduler and adapters stay what they are, and an
erasure that fails leaves no trace.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import ConfigMixin, DiffusionPipeline, SchedulerMixin
from torch import Tensor, nn

from harness.config import UsageError
from harness.models import load as models
from harness.models.edits import ADAPTER
from harness.models.family import Family, families
from harness.models.source import INDEX, why_not

GIVEN = "the pipeline given"
"""What it is called in an error."""


def place_of(pipeline: DiffusionPipeline) -> Path | str:
    """The folder that it was loaded from, which may hold a vocabulary, a judge and oracles; else what it is called."""
    name = pipeline.name_or_path or ""
    return Path(name).absolute() if name and (Path(name) / INDEX).is_file() else name


def device_of(pipeline: DiffusionPipeline, name: str) -> torch.device:
    """Where to train: for `auto` where the pipeline computes. UsageError for a device that is not supported."""
    return models.resolve_device(str(pipeline._execution_device) if name == "auto" else name)


def copied(pipeline: DiffusionPipeline) -> Family:
    """The same model in a pipeline of its own, on the CPU, in fp32 and without adapters, as the trainer sees it.

    Raises:
        UsageError: no pipeline of a known family, or weights that cannot be read, as quantised ones.
    """
    check_family(pipeline)
    family = families()[type(pipeline).__name__]
    fixed = family.load_options
    parts = {name: _part(name, part) for name, part in pipeline.components.items() if name not in fixed}
    asked = inspect.signature(family.pipeline_class.__init__).parameters
    rest = {name: value for name, value in pipeline.config.items() if name in asked and name not in parts}
    own = family.pipeline_class(**(parts | rest | {name: value for name, value in fixed.items() if name in asked}))
    return models.placed(family(own), GIVEN, torch.device("cpu"))


def check_family(pipeline: Any) -> None:
    """UsageError for what is no pipeline of a known family."""
    kind = type(pipeline).__name__
    if kind not in families():
        raise UsageError(f"{GIVEN}: a {kind}{why_not(kind)}; choices: {', '.join(families())}")


def _part(name: str, part: Any) -> Any:
    """A component for the other pipeline: networks anew, a scheduler before its first step, all else the same."""
    if isinstance(part, SchedulerMixin):
        return type(part).from_config(part.config)
    return _network(name, part) if isinstance(part, nn.Module) else part


def _network(name: str, part: nn.Module) -> nn.Module:
    """A network of the same class with the same weights, in fp32 on the CPU, without hooks and adapters."""
    kind, config = type(_bare(part)), _bare(part).config
    with init_empty_weights(include_buffers=False):  # a buffer that is in no state would have no value then
        network = kind.from_config(config) if isinstance(part, ConfigMixin) else kind(config)
    state, own = _values(part), network.state_dict()
    if unknown := sorted(state.keys() ^ own.keys()):
        raise UsageError(
            f"{GIVEN}: its {name} has not the weights that its configuration says, such as {unknown[0]}; unload what "
            "was added to it, or load it anew"
        )
    for key, tensor in state.items():
        if tensor.is_meta or tensor.shape != own[key].shape:
            raise UsageError(f"{GIVEN}: {name}.{key} cannot be read: it is quantised, or kept on disk; load it plainly")
    network.load_state_dict({key: _wide(tensor) for key, tensor in state.items()}, assign=True)
    return network.eval()


def _wide(tensor: Tensor) -> Tensor:
    """A copy on the CPU, in fp32 if it is of real numbers."""
    return tensor.detach().to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)


def _bare(part: nn.Module) -> Any:
    """What `torch.compile` was given."""
    return getattr(part, "_orig_mod", part)


def _values(part: nn.Module) -> dict[str, Tensor]:
    """Every weight under its plain name, not a copy, and without adapters'; of what is offloaded the kept value."""
    network = _bare(part)
    state = {name: tensor for name, tensor in network.state_dict().items() if not ADAPTER.search(name)}
    for place, module in network.named_modules():
        hook = getattr(module, "_hf_hook", None)
        for each in getattr(hook, "hooks", [hook]):
            kept: Mapping[str, Tensor] = getattr(each, "weights_map", None) or {}
            for name in kept and dict(module.named_parameters(recurse=False)):
                whole = f"{place}.{name}" if place else name
                if whole in state and state[whole].is_meta and kept[name] is kept[name]:  # from disk, each is new
                    state[whole] = kept[name]
    return {name.replace(".base_layer.", "."): tensor for name, tensor in state.items()}


def values(pipeline: DiffusionPipeline, component: str, names: Mapping[str, Any]) -> dict[str, Tensor]:
    """Some of a network's weights as they are now, copied to the CPU bit for bit."""
    state = _values(getattr(pipeline, component))
    return {name: state[name].detach().to("cpu", copy=True) for name in names}


@torch.no_grad()
def write(pipeline: DiffusionPipeline, component: str, weights: Mapping[str, Tensor]) -> None:
    """Put weights over a network's own, each on its device and in its type."""
    state = _values(getattr(pipeline, component))
    for name, tensor in weights.items():
        state[name].detach().copy_(tensor)
