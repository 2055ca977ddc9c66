"""A denoiser's weights stored in bf16, and what that leaves out of them.

Within autocast a layer's weights are read in bf16 alone, cast to the same bits each time. Stored in it, they are half
as large, and no cast copy stands beside them. Where bf16 does not hold a weight as it was read, that waits on the CPU:
what trains starts from it, and files and digests are made of it. Of a checkpoint in bf16 nothing waits.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

LAYERS = (nn.Linear, nn.Conv2d)
"""Whose weights autocast reads in bf16."""


def narrow(network: nn.Module) -> None:
    """Store each layer's weights in bf16, but for the first weight of all.

    By that one's type a pipeline's call says what type the denoiser takes: it goes on to be fp32.
    """
    first = next(network.parameters())
    for module in network.modules():
        if isinstance(module, LAYERS):
            for weight in module.parameters(recurse=False):
                if weight is not first:
                    narrow_weight(weight)


def widen(network: nn.Module) -> None:
    """Store every weight as it was read, where it is."""
    for weight in network.parameters():
        widen_weight(weight)


def narrow_weight(weight: nn.Parameter) -> None:
    """Store a weight in bf16."""
    if not is_narrow(weight):
        value = weight.detach()
        weight.data = value.bfloat16()
        _leave(weight, value)


def widen_weight(weight: nn.Parameter) -> None:
    """Store a weight as it was read, laid out as it is."""
    if is_narrow(weight):
        weight.data = torch.empty_like(weight, dtype=torch.float32).copy_(exact(weight))
        vars(weight).pop("exact", None)


def is_narrow(weight: Tensor) -> bool:
    """Whether a weight is stored in bf16."""
    return weight.dtype == torch.bfloat16


def exact(weight: Tensor) -> Tensor:
    """The weight as it was read: itself or, of one that is stored in bf16, in fp32 on the CPU."""
    if not is_narrow(weight):
        return weight.detach()
    left: Tensor | None = vars(weight).get("exact")  # adapters made beside it never had one
    return weight.detach().cpu().float() if left is None else left


def _leave(weight: Tensor, value: Tensor) -> None:
    """Have a weight's value wait on the CPU where the weight as it is stored does not hold it."""
    vars(weight)["exact"] = None if _holds(weight.detach(), value) else value.cpu()


def _holds(stored: Tensor, value: Tensor) -> bool:
    """Whether nothing of a value is left out."""
    return torch.equal(stored.to(value), value)


class Exact(Mapping[str, Tensor]):
    """Weights as they were read, by name, each made when it is asked for: all may not fit beside the denoiser."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """Of weights as they are stored."""
        self._weights = weights

    @classmethod
    def of(cls, network: nn.Module) -> "Exact":
        """Of a network's whole state, by the names that it has without adapters."""
        state = network.state_dict(keep_vars=True)
        return cls({name.replace(".base_layer.", "."): weight for name, weight in state.items()})

    def __getitem__(self, name: str) -> Tensor:
        """As `exact` has it."""
        return exact(self._weights[name])

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._weights)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._weights)


def put(network: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Put values over some of a network's own, each stored as it is; names that it has not are passed over."""
    network.load_state_dict(dict(values), strict=False)
    for name, weight in network.named_parameters():
        if name in values and is_narrow(weight):
            _leave(weight, values[name])


def store_alike(network: nn.Module, other: nn.Module) -> None:
    """Store one network's weights in bf16 where another's are."""
    if any(map(is_narrow, other.parameters())):
        narrow(network)


@contextmanager
def aside(network: nn.Module) -> Iterator[None]:
    """Within this, what is stored in bf16 waits on the CPU: text encoders can be as large as the denoiser."""
    moved = [(weight, weight.device) for weight in network.parameters() if is_narrow(weight)]
    try:
        for weight, _ in moved:
            weight.data = weight.data.cpu()
        yield
    finally:
        for weight, device in moved:
            weight.data = weight.data.to(device)
