"""Renyi, Chernoff and Bhattacharyya: increasing functions of an alpha divergence, and no f-divergences themselves.

With D_a the alpha divergence of the catalogue, E_Q[u^a] = 1 + a(a-1) D_a (van Erven and Harremoes 2014). No convex
f has E_Q[f] = log E_Q[u^a], so none of these is in the catalogue, and none has a conjugate or a variational bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import sympy
from sympy import Expr

from fdiv.catalog import CATALOG
from fdiv.exact.symbols import s
from fdiv.record import Divergence, ParameterError


@dataclass(frozen=True)
class Wrapper:
    """What one function of this module returns, for those who have not called it yet."""

    call: str
    meaning: str


WRAPPERS = {
    "renyi": Wrapper("renyi(order)", "Renyi's divergence log(E_Q[u^a])/(a-1) of order a > 0, a != 1"),
    "chernoff": Wrapper("chernoff(order)", "Chernoff's -log E_Q[u^a] of order a in (0, 1)"),
    "bhattacharyya": Wrapper("bhattacharyya()", "Bhattacharyya's distance -log E_Q[sqrt(u)], Chernoff's of order 1/2"),
}
"""Every function of this module by its name."""


@dataclass(frozen=True)
class Monotone:
    """scale * log(1 + factor * D), an increasing function of the divergence D."""

    name: str
    divergence: Divergence
    scale: Expr
    factor: Expr

    def __call__(self, value: float) -> float:
        """The quantity in nats, where the divergence has `value`; raises ValueError for an impossible one."""
        inside = float(self.factor) * value
        if not (value >= 0 and inside >= -1):
            raise ValueError(f"{self.name}: {self.divergence.spec} cannot be {value}")
        return math.inf if inside == -1 else float(self.scale) * math.log1p(inside)

    @cached_property
    def formula(self) -> Expr:
        """The quantity between Gaussians of one covariance, in s; derived from D(s)."""
        inside = sympy.expand(1 + self.factor * self.divergence.gaussian.formula)
        return sympy.expand(self.scale * sympy.expand_log(sympy.log(inside), force=True))

    def gaussian(self, point: float) -> float:
        """The quantity between Gaussians at a number s >= 0; it neither overflows nor loses digits."""
        return float(self.formula.subs(s, sympy.Float(point, 30)))


def renyi(order: float) -> Monotone:
    """Renyi's divergence log(E_Q[u^a])/(a-1) of order a > 0, a != 1; raises ParameterError for another order."""
    return _of_alpha("renyi", order, lambda a: 1 / (a - 1), order > 0)


def chernoff(order: float) -> Monotone:
    """Chernoff's -log E_Q[u^a] of order a in (0, 1); raises ParameterError for another order."""
    return _of_alpha("chernoff", order, lambda a: -sympy.S.One, 0 < order < 1)


def bhattacharyya() -> Monotone:
    """Bhattacharyya's distance -log E_Q[sqrt(u)], Chernoff's of order 1/2."""
    return _of_alpha("bhattacharyya", 0.5, lambda a: -sympy.S.One, True)


def _of_alpha(name: str, order: float, scale: Callable[[Expr], Expr], defined: bool) -> Monotone:
    if not defined or order == 1:
        raise ParameterError(f"{name}: the order {order} is outside its domain; at 1 Renyi's is kl itself")
    a = sympy.Rational(repr(float(order)))
    return Monotone(name, CATALOG["alpha"].bind({"a": float(order)}), scale(a), a * (a - 1))
