"""What is claimed of one divergence, as plain functions of numbers, so that mutants can be put before the same laws."""

from __future__ import annotations

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

    @cached_property
    def oracle(self) -> Oracle:
        """The generator as it was written, to judge by."""
        return Oracle(self.divergence.generator, tuple(piece.lower for piece in self.divergence.pieces[1:]))

    @cached_property
    def kinks(self) -> tuple[Expr, ...]:
        """The ratios at which f' jumps."""
        return tuple(place for place, _ in self.divergence.kinks)

    @cached_property
    def value_at_zero(self) -> float:
        """f(0+)."""
        return float(self.divergence.value_at_zero)

    @cached_property
    def slope_at_zero(self) -> float:
        """f'(0+)."""
        return float(self.divergence.slope_at_zero)

    @cached_property
    def slope_at_infinity(self) -> float:
        """f'(inf)."""
        return float(self.divergence.slope_at_infinity)

    @cached_property
    def curvature(self) -> float | None:
        """f''(1), or None where it does not exist."""
        found = self.divergence.curvature
        return None if found is None else float(found)

    @cached_property
    def conjugate(self) -> Scalar:
        """f*."""
        return cache(self.divergence.conjugate)

    @cached_property
    def closed(self) -> bool:
        """Whether f* is finite at f'(inf)."""
        return self.divergence.conjugate.effective_domain.upper_closed

    @cached_property
    def adjoint(self) -> Scalar:
        """The adjoint as a function of log u."""
        return cache(Oracle(self.divergence.adjoint.generator).value)

    @cached_property
    def adjoint_limits(self) -> tuple[float, float]:
        """The adjoint's f(0+) and f'(inf)."""
        found = self.divergence.adjoint
        return float(found.value_at_zero), float(found.slope_at_infinity)

    @cached_property
    def twice_adjoint(self) -> Scalar:
        """The adjoint's adjoint as a function of log u."""
        return cache(Oracle(self.divergence.adjoint.adjoint.generator).value)

    @cached_property
    def reason(self) -> str:
        """Why there is no value between Gaussians; empty where there is one."""
        return "" if self.divergence.gaussian.evaluable else self.divergence.gaussian.reason

    @cached_property
    def gaussian(self) -> Scalar:
        """D(s)."""
        return cache(self.divergence.gaussian)

    @cached_property
    def weight(self) -> Scalar:
        """w(s)."""
        return cache(self.divergence.gaussian.gradient_weight)

    @cached_property
    def no_critic(self) -> str:
        """Why there is no activation; empty where there is one."""
        try:
            self.divergence.activation  # noqa: B018  (derived here, or refused)
        except DerivationError as error:
            return str(error)
        return ""

    @cached_property
    def canonical(self) -> bool:
        """Whether T(v) = f'(e^v)."""
        return self.divergence.activation.canonical

    @cached_property
    def output(self) -> Scalar:
        """T as a function of a critic's output."""
        return _number(self.divergence.activation.output)

    @cached_property
    def term(self) -> Scalar:
        """f* o T."""
        return _number(self.divergence.activation.conjugate_term)

    @cached_property
    def output_slope(self) -> Scalar:
        """The derivative of T."""
        return _number(self.divergence.activation.output_slope)

    @cached_property
    def term_slope(self) -> Scalar:
        """The derivative of f* o T."""
        return _number(self.divergence.activation.conjugate_slope)


claims = cache(Claims)
"""The claims of a divergence, gathered once."""


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


def laws_in(names: dict[str, Any]) -> tuple[Law, ...]:
    """Return the laws that a module states, in its order."""
    return tuple(found for found in names.values() if isinstance(found, Law))
