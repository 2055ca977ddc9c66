"""What is claimed of one divergence, as plain functions, and how a value is compared with the truth.

Because the claims are plain functions, a mutant of any of them can be put before the same laws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import sympy

import fdiv
from fdiv.exact.symbols import DerivationError, v
from fdiv.numeric.backends import numpy_backend
from fdiv.numeric.lower import lower
from tests.laws.oracles_of_generators import Oracle

Scalar = Callable[[float], float]


class DoesNotApply(Exception):  # noqa: N818  (it is a fact, not an error)
    """The hypothesis of a law fails, for the reason given."""


class Gap(NamedTuple):
    """`error` is the distance of `value` from `truth` in units of what is allowed: the law holds up to 1."""

    value: Any
    truth: Any
    error: float


@dataclass(frozen=True)
class Claims:
    """All that `fdiv` says of one divergence, as plain functions of numbers, and the oracle of its generator."""

    spec: str
    oracle: Oracle
    kinks: tuple[sympy.Expr, ...]
    value_at_zero: float
    slope_at_zero: float
    slope_at_infinity: float
    curvature: float | None
    conjugate: Scalar
    closed: bool
    adjoint: Scalar
    adjoint_limits: tuple[float, float]
    twice_adjoint: Scalar
    gaussian: Scalar
    weight: Scalar
    canonical: bool
    output: Scalar
    term: Scalar
    output_slope: Scalar
    term_slope: Scalar
    reason: str = ""  # why there is no Gaussian value
    no_critic: str = ""  # why there is no activation


def _absent(x: float) -> float:
    return math.nan


@cache
def claims(divergence: fdiv.Divergence) -> Claims:
    """Gather what is derived; every function remembers its values."""
    once, back = divergence.adjoint, divergence.adjoint.adjoint
    no_critic, parts, canonical = "", [_absent] * 4, True
    try:
        activation = divergence.activation
        forms = (activation.output, activation.conjugate_term, activation.output_slope, activation.conjugate_slope)
        parts, canonical = [_number(lower(form, v, numpy_backend())) for form in forms], activation.canonical
    except DerivationError as error:
        no_critic = str(error)
    conjugate, curvature, gaussian = divergence.conjugate, divergence.curvature, divergence.gaussian
    return Claims(
        divergence.spec,
        Oracle(divergence.generator, tuple(piece.lower for piece in divergence.pieces[1:])),
        tuple(place for place, _ in divergence.kinks),
        *(float(x) for x in (divergence.value_at_zero, divergence.slope_at_zero, divergence.slope_at_infinity)),
        None if curvature is None else float(curvature),
        cache(conjugate),
        conjugate.effective_domain.upper_closed,
        cache(Oracle(once.generator).value),
        (float(once.value_at_zero), float(once.slope_at_infinity)),
        cache(Oracle(back.generator).value),
        cache(gaussian) if gaussian.evaluable else _absent,
        cache(gaussian.gradient_weight) if gaussian.evaluable else _absent,
        canonical,
        *parts,
        "" if gaussian.evaluable else gaussian.reason,
        no_critic,
    )


def _number(function: Callable[[Any], Any]) -> Scalar:
    @cache
    def scalar(x: float) -> float:
        with np.errstate(all="ignore"):
            return float(function(np.array([x]))[0])

    return scalar


def apart(value: float, truth: float, relative: float, absolute: float = 0.0) -> Gap:
    """Compare; infinities must be equal, since |inf - x| <= tolerance * inf says nothing."""
    value, truth = float(value), float(truth)
    if value == truth:
        return Gap(value, truth, 0.0)
    if not (math.isfinite(value) and math.isfinite(truth)):
        return Gap(value, truth, math.inf)
    allowed = relative * abs(truth) + absolute
    return Gap(value, truth, abs(value - truth) / allowed if allowed else math.inf)


def at_least(value: float, bound: float, slack: float) -> Gap:
    """Ask for value >= bound - slack."""
    return Gap(
        value, bound, max(0.0, bound - value) / slack if value == value and slack else math.inf * (value != bound)
    )


def worst(gaps: Sequence[Gap]) -> Gap:
    """Return the largest gap; NaN counts as the largest."""
    return max(gaps, key=lambda gap: gap.error if gap.error == gap.error else math.inf)
