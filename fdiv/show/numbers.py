"""The derived functions of a certified divergence at a number, as text of 15 digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
from sympy import Expr

from fdiv.evidence.certificate import Refused
from fdiv.evidence.signs import in_many_digits
from fdiv.exact.symbols import DerivationError, s, v
from fdiv.numeric.backends import MPMATH
from fdiv.numeric.lower import lower
from fdiv.record import Divergence

_DIGITS = 15


def evaluate(divergence: Divergence, quantity: str, point: float) -> str:
    """Return one number as text of 15 digits; raises ValueError outside the quantity's domain, Refused without one."""
    with mpmath.workdps(40):
        value = QUANTITIES[quantity](divergence, point)
        number = float(value)
        if math.isinf(number) and mpmath.isfinite(value):  # too large for a double, but known
            return str(mpmath.nstr(value, _DIGITS))
    return f"{number:.{_DIGITS}g}"


def _generator(divergence: Divergence, point: float) -> Any:
    if not 0 <= point < math.inf:
        raise ValueError(f"u lies in [0, inf), where 0 means the limit f(0+); got {point}")
    if point == 0:
        return MPMATH.number(divergence.value_at_zero)
    return in_many_digits(divergence.generator)(mpmath.mpf(point))


def _adjoint(divergence: Divergence, point: float) -> Any:
    return _generator(divergence.adjoint, point)


def _conjugate(divergence: Divergence, point: float) -> Any:
    if point == -math.inf:
        return -MPMATH.number(divergence.value_at_zero)
    return mpmath.mpf(divergence.conjugate(point))


def _activation(divergence: Divergence, point: float) -> Any:
    try:
        output = divergence.activation.output
    except DerivationError as error:
        raise Refused(str(error)) from None
    if math.isinf(point):
        return MPMATH.number(divergence.slope_at_infinity if point > 0 else divergence.slope_at_zero)
    return lower(output, v, MPMATH)(mpmath.mpf(point))


def _gaussian(divergence: Divergence, point: float) -> Any:
    return _between_gaussians(divergence, point, divergence.gaussian.formula, divergence.gaussian)


def _gradient_weight(divergence: Divergence, point: float) -> Any:
    gaussian = divergence.gaussian
    return _between_gaussians(divergence, point, gaussian.gradient_weight_formula, gaussian.gradient_weight)


def _between_gaussians(
    divergence: Divergence, point: float, formula: Expr | None, function: Callable[[float], float]
) -> Any:
    """Take the formula in 40 digits where there is one, else double precision."""
    if not divergence.gaussian.evaluable:
        raise Refused(f"{divergence.spec} has no value between Gaussians: {divergence.gaussian.reason}")
    if not 0 <= point < math.inf:
        raise ValueError(f"s lies in [0, inf); got {point}")
    if formula is None or point == 0:
        return mpmath.mpf(function(point))
    with mpmath.workdps(80):
        return lower(formula, s, MPMATH)(mpmath.mpf(point))


QUANTITIES: dict[str, Callable[[Divergence, float], Any]] = {
    "generator": _generator,
    "conjugate": _conjugate,
    "adjoint": _adjoint,
    "activation": _activation,
    "gaussian": _gaussian,
    "gradient-weight": _gradient_weight,
}
