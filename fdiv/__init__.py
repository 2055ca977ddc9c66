"""Verified f-divergences: from a generator to a loss that carries its evidence.

D_f(P||Q) = E_Q[f(dP/dQ)] for a convex f on (0, inf) with f(1) = 0. A divergence is its generator; limits,
conjugate, activation and the closed form between Gaussians are derived from it, and `certify` says how far
each can be believed.
"""

from __future__ import annotations

from fdiv.between.estimate import Estimate
from fdiv.between.gaussians import Normal
from fdiv.between.joint_range import BestConstant
from fdiv.between.samples import Samples
from fdiv.catalog import ALIASES, CATALOG
from fdiv.equivalence import Difference, Relation, compare, equivalents
from fdiv.evidence.certificate import Certificate, Claim, Refused
from fdiv.evidence.finding import Counterexample, Evidence
from fdiv.exact.domain import Interval, Parameter
from fdiv.exact.symbols import u
from fdiv.expression import ExpressionError, from_expression
from fdiv.lookup import (
    DivergenceFileError,
    best_constant,
    certify,
    divergence,
    joint_range,
    names,
    require,
    resolve,
)  # fmt: skip
from fdiv.record import Divergence, ParameterError, Record, UnknownDivergence

__version__ = "0.1.0"

__all__ = [
    "ALIASES",
    "CATALOG",
    "BestConstant",
    "Certificate",
    "Claim",
    "Counterexample",
    "Difference",
    "Divergence",
    "DivergenceFileError",
    "Estimate",
    "Evidence",
    "ExpressionError",
    "Interval",
    "Normal",
    "Parameter",
    "ParameterError",
    "Record",
    "Refused",
    "Relation",
    "Samples",
    "UnknownDivergence",
    "__version__",
    "best_constant",
    "certify",
    "compare",
    "divergence",
    "equivalents",
    "from_expression",
    "joint_range",
    "names",
    "require",
    "resolve",
    "u",
]
