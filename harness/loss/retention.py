"""The gradient of a step from two: that of erasure and that of retention.

Where their inner product is negative they conflict: a step that erases makes the retained prompts worse, to first
order. An orthogonal projection takes that part out of the erasure gradient (PCGrad; Yu et al., 2001.06782, which
projects every gradient; here retention has the right of way and is left whole).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.runs import processes

METHODS = ("weight", "projection", "projection-per-tensor")


def combine(erase: Sequence[Tensor], retain: Sequence[Tensor], method: str, weight: float) -> list[Tensor]:
    """The gradients to step with: erase - share * retain, and then + weight * retain. Nothing waits for the device.

    Args:
        erase: gradients of the erasure loss, one a trained tensor.
        retain: gradients of the retention loss, over the same tensors.
        method: what `share` is. `weight`: 0. `projection`: <erase, retain> / |retain|^2 over all tensors together
            where that is negative, else 0. `projection-per-tensor`: the same for each tensor on its own.
        weight: of the retention loss against the erasure loss.

    Returns:
        New tensors with the dtypes of `erase`; inner products and sums are taken in fp32, or in fp64 for fp64.

    Raises:
        ValueError: another method, or lists of different lengths.
    """
    if method not in METHODS:
        raise ValueError(f"retention method {method!r}; choices: {', '.join(METHODS)}")
    pairs = [(_wide(e), _wide(r)) for e, r in zip(erase, retain, strict=True)]
    if method == "weight":
        shares = torch.zeros(len(pairs), device=erase[0].device)
    else:
        inner = torch.stack([(e * r).sum() for e, r in pairs])
        square = torch.stack([r.square().sum() for _, r in pairs])
        if method == "projection":
            inner, square = (each.sum().expand(len(pairs)) for each in (inner, square))
        shares = torch.where((inner < 0) & (square > 0), inner / square, 0)
    return [
        (e + (weight - share) * r).to(given.dtype) for (e, r), share, given in zip(pairs, shares, erase, strict=True)
    ]


def _wide(gradient: Tensor) -> Tensor:
    return gradient.to(torch.promote_types(gradient.dtype, torch.float32))


def gradients(
    erase: Tensor, retain: Tensor, parameters: Sequence[Tensor], method: str, weight: float
) -> Sequence[Tensor]:
    """The gradients to step with, of two scalar losses; with `weight`, or nothing retained, from one backward pass.

    They are means over the processes, and so is what is projected: inner products of shares are not the batch's.
    """
    if method in ("weight", "none"):
        return processes.mean(torch.autograd.grad(erase + weight * retain, parameters))
    first = processes.mean(torch.autograd.grad(erase, parameters, retain_graph=True))
    return combine(first, processes.mean(torch.autograd.grad(retain, parameters)), method, weight)
