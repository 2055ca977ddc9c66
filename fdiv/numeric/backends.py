"""The array libraries that expressions are lowered to: mpmath, NumPy, torch and python-flint's balls."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import mpmath
import numpy as np
import sympy
from flint import ctx
from sympy import Expr
from sympy.codegen.cfunctions import expm1, log1p

from fdiv.exact.constants import FUNCTIONS, SINGULAR, constant_ball
from fdiv.numeric.rewrite import softplus

Function = Callable[[Any], Any]


@dataclass(frozen=True, eq=False)
class Backend:
    """What `lower`, and the functions made with it, need of an array library; the defaults serve single numbers.

    Attributes:
        functions: what each SymPy function is.
        number: a constant expression as a number.
        where: (condition, yes, no), elementwise.
        fill: (x, constant), the constant in the shape of x.
        clip: (x, low, high), elementwise; an end may be None.
        array: (values, like), a table of doubles in the dtype and on the device of `like`.
        joined: a list of vectors as one.
        places: the indices at which a vector of truth values is true.
        derived: (first, *derivatives), the first function with its derivatives attached where they can be used.
        wide: to double precision.
        narrow: (x, like), back to the precision of an input.
        power: (base, exponent).
    """

    functions: Mapping[Any, Function]
    number: Callable[[Expr], Any]
    where: Callable[[Any, Any, Any], Any] = lambda condition, yes, no: yes if condition else no
    fill: Callable[[Any, Any], Any] = lambda x, constant: constant
    clip: Callable[[Any, Any, Any], Any] = lambda x, low, high: min(max(x, low), high)
    array: Callable[[Any, Any], Any] = lambda values, like: values
    joined: Function = lambda parts: parts
    places: Function = lambda truth: truth
    derived: Callable[..., Function] = lambda first, *derivatives: first
    wide: Function = lambda x: x
    narrow: Callable[[Any, Any], Any] = lambda x, like: x
    power: Callable[[Any, Any], Any] = operator.pow


def _mp_number(expression: Expr) -> Any:
    value = expression.evalf(max(30, mpmath.mp.dps + 5))
    return {sympy.oo: mpmath.inf, -sympy.oo: -mpmath.inf}.get(value) or mpmath.mpmathify(value)


MPMATH = Backend(
    functions={
        sympy.exp: mpmath.exp,
        sympy.log: mpmath.log,
        sympy.sqrt: mpmath.sqrt,
        sympy.erf: mpmath.erf,
        sympy.LambertW: mpmath.lambertw,
        expm1: mpmath.expm1,
        log1p: mpmath.log1p,
        softplus: lambda x: mpmath.log1p(mpmath.exp(x)),
    },
    number=_mp_number,
)


@cache
def numpy_backend() -> Backend:
    """Return NumPy with SciPy's erf."""
    from scipy.special import erf

    return Backend(
        functions={
            sympy.exp: np.exp,
            sympy.log: np.log,
            sympy.sqrt: np.sqrt,
            sympy.erf: erf,
            expm1: np.expm1,
            log1p: np.log1p,
            softplus: lambda x: np.logaddexp(x, x.dtype.type(0)),
        },
        number=float,
        where=np.where,
        fill=np.full_like,
        clip=np.clip,
        array=lambda values, like: np.asarray(values, dtype=like.dtype),
        joined=np.concatenate,
        places=np.flatnonzero,
        wide=lambda x: np.asarray(x, dtype=np.float64),
        narrow=lambda x, like: x.astype(np.promote_types(like.dtype, np.float32)),
    )


@cache
def torch_backend() -> Backend:
    """Return torch; constants are Python floats, so dtype and device are the input's."""
    import torch

    from fdiv.numeric.autograd import derived

    return Backend(
        functions={
            sympy.exp: torch.exp,
            sympy.log: torch.log,
            sympy.sqrt: torch.sqrt,
            sympy.erf: torch.special.erf,
            expm1: torch.expm1,
            log1p: torch.log1p,
            # not torch's softplus, which drops e^-x above its threshold of 20
            softplus: lambda x: torch.logaddexp(x, torch.zeros_like(x)),
        },
        number=float,
        where=torch.where,
        fill=torch.full_like,
        clip=torch.clamp,
        array=lambda values, like: torch.as_tensor(values, dtype=like.dtype, device=like.device),
        joined=torch.cat,
        places=lambda truth: truth.nonzero()[:, 0],
        derived=derived,
        wide=lambda x: x if x.device.type == "mps" else x.double(),
        narrow=lambda x, like: x.to(torch.promote_types(like.dtype, torch.float32)),
    )


def backend_of(*values: Any) -> Backend:
    """Return torch where one of the values is a tensor, else NumPy; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    if torch is not None and any(isinstance(value, torch.Tensor) for value in values):
        return torch_backend()
    return numpy_backend()


def is_number(x: Any) -> bool:
    """Whether x is a single number, and neither an array, a tensor nor a list."""
    return not isinstance(x, np.ndarray | Sequence) and backend_of(x) is numpy_backend()


def elementwise(on: Callable[[Backend], Function], x: Any) -> Any:
    """Apply the function that `on` returns for the library of x, an array, a tensor or a list of numbers."""
    backend = backend_of(x)
    if backend is not numpy_backend():
        return on(backend)(x)
    array = np.asarray(x)
    with np.errstate(all="ignore"):
        return on(backend)(array if array.dtype.kind == "f" else array.astype(float))


@cache
def flint_backend(bits: int) -> Backend:
    """Return python-flint's balls, complex ones and series too, with constants that are accurate to `bits` bits."""

    def number(expression: Expr) -> Any:
        with ctx.workprec(bits + 32):
            return constant_ball(expression)

    functions = {
        **FUNCTIONS,
        **SINGULAR,
        sympy.sqrt: lambda z: z.sqrt(),
        log1p: lambda z: z.log1p(),
        expm1: lambda z: z.expm1(),
    }
    return Backend(functions=functions, number=number)
