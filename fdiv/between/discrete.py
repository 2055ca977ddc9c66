"""D_f between discrete distributions, given as arrays of probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from fdiv.between.perspective import Perspective
from fdiv.numeric.backends import backend_of, numpy_backend

_ROUNDINGS = 4
_TOLERANCE = 1e-6


def between_arrays(perspective: Perspective, p: Any, q: Any) -> Any:
    """Return D_f(P||Q) for probabilities whose last axis counts the atoms; the axes before it are a batch.

    Args:
        perspective: that of the generator f.
        p: the probabilities of P: an array, a tensor, or what `numpy.asarray` takes. They are >= 0 and sum to 1 within
            1e-6, or within four roundings of a shorter dtype.
        q: those of Q, in the shape of p.

    Returns:
        The divergence in nats, in the shape of the batch, computed in fp64 and returned in the dtype of p and q (fp32
        for shorter ones) on their device. Relative to its value it is accurate even where p is nearly q, as all terms
        are >= 0. Gradients are those along the distributions, f'(p/q) - f'(1) in p: the constant f'(1) is no change of
        D_f. Where p or q is 0 a gradient is the one-sided one if that is finite, else 0.

    Raises:
        ValueError: p or q is no such array.
    """
    p, q = _of_one_library(p, q)
    for name, given in (("p", p), ("q", q)):
        _validate(name, given)
    if p.shape != q.shape:
        raise ValueError(f"p and q have one shape, got {tuple(p.shape)} and {tuple(q.shape)}")
    backend = backend_of(p)
    like = p[..., :0] + q[..., :0]  # of the dtype that both have together
    total = perspective.terms(backend.wide(p), backend.wide(q)).sum(-1)
    return backend.narrow(total, like)


def _of_one_library(p: Any, q: Any) -> tuple[Any, Any]:
    """Return both as arrays or both as tensors of floating point."""
    kinds = {backend_of(p), backend_of(q)}
    if len(kinds) == 2:
        raise ValueError(f"p and q are both tensors or both arrays, got {type(p).__name__} and {type(q).__name__}")
    if numpy_backend() in kinds:
        p, q = (_as_array(name, given) for name, given in (("p", p), ("q", q)))
    elif not (p.is_floating_point() and q.is_floating_point()):
        raise ValueError(f"p and q are tensors of floating point, got {p.dtype} and {q.dtype}")
    elif p.device != q.device:
        raise ValueError(f"p and q are on one device, got {p.device} and {q.device}")
    return p, q


def _as_array(name: str, given: Any) -> Any:
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise ValueError(f"{name} is no array of probabilities: {error}") from None
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} holds probabilities, which are real numbers; got {array.dtype}")
    return array if array.dtype.kind == "f" else array.astype(float)


def _validate(name: str, given: Any) -> None:
    """Refuse what is no distribution along the last axis."""
    if given.ndim == 0 or 0 in given.shape:
        raise ValueError(f"{name} has at least one atom on its last axis, got the shape {tuple(given.shape)}")
    backend = backend_of(given)
    wide = backend.wide(given.detach() if hasattr(given, "detach") else given)
    smallest, total = wide.min(), wide.sum(-1)
    if not bool(smallest >= 0):  # so is NaN
        raise ValueError(f"{name} holds probabilities, which are >= 0; got {float(smallest)}")
    away = float(abs(total - 1).max())
    allowed = max(_TOLERANCE, _ROUNDINGS * _precision(given))
    if not away <= allowed:
        raise ValueError(f"{name} sums to 1 along its last axis within {allowed:.1g}; a sum is off by {away:.3g}")


def _precision(given: Any) -> float:
    if backend_of(given) is numpy_backend():
        return float(np.finfo(given.dtype).eps)
    import torch

    return float(torch.finfo(given.dtype).eps)
