"""What is claimed of one divergence, as plain functions of numbers, so that mutants can be put before the same laws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from sympy import Expr

from fdiv import Divergence
from fdiv.exact.symbols import DerivationError, v
from fdiv.numeric.backends import numpy_backend
from fdiv.numeric.lower import lower
from theory.laws.comparison import Comparison
from theory.laws.generators import Oracle

Scalar = Callable[[float], float]


class DoesNotApply(Exception):  # noqa: N818  (it is a fact, not an error)
    """The hypothesis of a law fails, for the reason given."""


def _claim(derive: Callable[[Divergence], Any]) -> cached_property[Any]:
    return cached_property(lambda claims: derive(claims.divergence))


def _of_critic(name: str) -> cached_property[Any]:
    return _claim(lambda divergence: _number(getattr(divergence.activation, name)))


class Claims:
    """All that `fdiv` says of one divergence, each claim derived when it is asked for; functions remember values."""

    def __init__(self, divergence: Divergence, **instead: Any) -> None:
        """Take the claims of a divergence, or other ones `instead`, by name."""
        self.divergence = divergence
        self.__dict__.update(instead)

    def but(self, **instead: Any) -> Claims:
        """Return the same claims but for these; itself where they are no others."""
        if all(getattr(self, name) == claim for name, claim in instead.items()):
            return self
        return Claims(**{**self.__dict__, **instead})

    # the generator as it was written, to judge by
    oracle = _claim(lambda d: Oracle(d.generator, tuple(piece.lower for piece in d.pieces[1:])))
    kinks = _claim(lambda d: tuple(place for place, _ in d.kinks))
    value_at_zero = _claim(lambda d: float(d.value_at_zero))
    slope_at_zero = _claim(lambda d: float(d.slope_at_zero))
    slope_at_infinity = _claim(lambda d: float(d.slope_at_infinity))
    curvature = _claim(lambda d: None if d.curvature is None else float(d.curvature))
    conjugate = _claim(lambda d: cache(d.conjugate))
    closed = _claim(lambda d: d.conjugate.effective_domain.upper_closed)
    # functions of log u
    adjoint = _claim(lambda d: cache(Oracle(d.adjoint.generator).value))
    twice_adjoint = _claim(lambda d: cache(Oracle(d.adjoint.adjoint.generator).value))
    adjoint_limits = _claim(lambda d: (float(d.adjoint.value_at_zero), float(d.adjoint.slope_at_infinity)))
    # functions of s, and why there are none
    gaussian = _claim(lambda d: cache(d.gaussian))
    weight = _claim(lambda d: cache(d.gaussian.gradient_weight))
    reason = _claim(lambda d: "" if d.gaussian.evaluable else d.gaussian.reason)
    # T, f* o T and their derivatives as functions of a critic's output, and why there are none
    canonical = _claim(lambda d: d.activation.canonical)
    output = _of_critic("output")
    term = _of_critic("conjugate_term")
    output_slope = _of_critic("output_slope")
    term_slope = _of_critic("conjugate_slope")
    no_critic = _claim(lambda d: _refusal(d))


claims = cache(Claims)
"""The claims of a divergence, gathered once."""


def _refusal(divergence: Divergence) -> str:
    try:
        divergence.activation  # noqa: B018  (derived here, or refused)
    except DerivationError as error:
        return str(error)
    return ""


def _number(form: Expr) -> Scalar:
    function = lower(form, v, numpy_backend())

    @cache
    def scalar(x: float) -> float:
        with np.errstate(all="ignore"):
            return float(function(np.array([x]))[0])

    return scalar


@dataclass(frozen=True)
class Law:
    """A statement about the claims named `about`, with the points at which everyone asks it.

    `check` takes the claims and a point, and yields what is claimed against what the generator says. It raises
    DoesNotApply where its hypothesis fails.
    """

    about: str
    check: Callable[..., Iterator[Comparison]]
    points: tuple[tuple[Any, ...], ...]

    @property
    def name(self) -> str:
        """Its name in words."""
        return self.check.__name__.replace("_", " ")

    @property
    def statement(self) -> str:
        """What it states, in one line."""
        return (self.check.__doc__ or "").splitlines()[0]

    def everywhere(self, c: Claims) -> Iterator[Comparison]:
        """Ask it at all its points; nothing where it does not apply."""
        try:
            for point in self.points:
                yield from self.check(c, *point)
        except DoesNotApply:
            return


def law(about: str, *points: Any) -> Callable[[Callable[..., Iterator[Comparison]]], Law]:
    """Make a law of a function of the claims and, where there are `points`, of one point."""
    return lambda check: Law(about, check, tuple((point,) for point in points) or ((),))


def spread(*ranges: tuple[float, float], count: int = 4) -> list[tuple[float, ...]]:
    """Return points that fill a box evenly: multiples of roots of primes, modulo 1 (Weyl 1916)."""
    steps = [math.sqrt(prime) for prime in (2, 3, 5, 7, 11, 13, 17, 19)]
    numbers = (977 * k for k in range(1, count + 1))
    return [tuple(a + (b - a) * (n * step % 1) for (a, b), step in zip(ranges, steps, strict=False)) for n in numbers]


def laws_in(names: dict[str, Any]) -> tuple[Law, ...]:
    """Return the laws that a module states, in its order."""
    return tuple(found for found in names.values() if isinstance(found, Law))
