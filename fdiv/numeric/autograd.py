"""Functions of tensors that carry their own derivatives: a value and its slope are separate, stable formulas."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]


class _Exact(torch.autograd.Function):
    """A function with a given derivative, which is differentiable in its turn."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Function, slope: Function) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        return value(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return gradients[0] * ctx.slope(x), None, None


def derived(first: Function, *derivatives: Function) -> Function:
    """Return the first function, elementwise, with the next one as its derivative, which has the next one, and so on.

    The last one is differentiated by autograd.
    """
    if not derivatives:
        return first
    return partial(_apply, value=first, slope=derived(*derivatives))


def _apply(x: Tensor, value: Function, slope: Function) -> Tensor:
    result: Tensor = _Exact.apply(x, value, slope)
    return result
