"""Verified f-divergences: from a generator to a loss that carries its evidence.

D_f(P||Q) = E_Q[f(dP/dQ)] for a convex f on (0, inf) with f(1) = 0. A divergence is its generator; limits,
conjugate, activation and the closed form between Gaussians are derived from it, and `certify` says how far
each can be believed.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from fdiv.calculus import u
from fdiv.catalog import ALIASES, CATALOG
from fdiv.certificate import Certificate, Claim, Refused, certify, require
from fdiv.divergence import Divergence, ParameterError, Record, UnknownDivergence
from fdiv.doors import DivergenceFileError, read_parameters, resolve, unknown
from fdiv.equivalence import Difference, Relation, compare, equivalents
from fdiv.expression import ExpressionError, from_expression
from fdiv.signs import Counterexample, Evidence

if TYPE_CHECKING:
    from fdiv import losses


def names() -> tuple[str, ...]:
    """Return the catalogue's names in order."""
    return tuple(CATALOG)


def divergence(spec: str, **parameters: float) -> Divergence:
    """Look up ``NAME`` or ``NAME:param=value,param=value``; NAME may be an alias, and keywords may give parameters.

    Raises UnknownDivergence or ParameterError (both ValueError), with the choices and the mathematical
    reason.
    """
    given, _, tail = spec.partition(":")
    name = ALIASES.get(given, given)
    if name not in CATALOG:
        raise UnknownDivergence(unknown(name))
    return _shared(CATALOG[name].bind(read_parameters(name, tail, parameters)))


@cache
def _shared(bound: Divergence) -> Divergence:
    """Return one object for equal divergences, so that what is derived is derived once."""
    return bound


def __getattr__(name: str) -> Any:
    """Import `fdiv.losses`, and torch with it, when it is first asked for."""
    if name == "losses":
        import importlib

        return importlib.import_module("fdiv.losses")
    raise AttributeError(f"module 'fdiv' has no attribute {name!r}")


__all__ = [
    "ALIASES",
    "CATALOG",
    "Certificate",
    "Claim",
    "Counterexample",
    "Difference",
    "Divergence",
    "DivergenceFileError",
    "Evidence",
    "ExpressionError",
    "ParameterError",
    "Record",
    "Refused",
    "Relation",
    "UnknownDivergence",
    "certify",
    "compare",
    "divergence",
    "equivalents",
    "from_expression",
    "losses",
    "names",
    "require",
    "resolve",
    "u",
]
