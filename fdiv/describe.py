"""What the command line says of a divergence: rows of the catalogue, derived facts, numbers, relations."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import mpmath
import sympy
from sympy import Expr, Symbol

from fdiv.calculus import DerivationError, s, v
from fdiv.catalog import CATALOG
from fdiv.certificate import Refused, certify
from fdiv.divergence import Divergence, Record
from fdiv.equivalence import Relation, equivalents
from fdiv.lowering import MPMATH, lower
from fdiv.signs import in_many_digits

_DIGITS = 15


def catalogue_rows() -> tuple[Record, ...]:
    """Return the catalogue's records in order."""
    return tuple(CATALOG.values())


def catalogue_row(record: Record) -> dict[str, Any]:
    """Describe one record; a family is certified at its parameters' examples."""
    example = record.bind({parameter.name: parameter.example for parameter in record.parameters})
    certificate = certify(example)
    return {
        "name": record.name,
        "title": record.title,
        "aliases": list(record.aliases),
        "generator": str(record.generator),
        "parameters": [
            {"name": p.name, "domain": " U ".join(map(str, p.domain)), "reason": p.reason} for p in record.parameters
        ],
        "reference": record.reference,
        "certified_at": example.spec,
        "accepted": certificate.accepted,
        "convexity": str(certificate.claim("convexity").evidence),
        "conjugate": str(certificate.claim("conjugate").evidence),
        "gaussian": certificate.gaussian,
    }


def facts(shown: Divergence) -> dict[str, str | None]:
    """Return all that is derived from a certified generator, as text; None where there is no closed form."""
    conjugate, gaussian = shown.conjugate, shown.gaussian
    found: dict[str, Any] = {
        "name": shown.spec,
        "title": shown.title,
        "aliases": ", ".join(shown.record.aliases) or "none",
        "reference": shown.reference,
        "f(u)": shown.generator,
        "f'(u)": _per_piece(shown, [piece.slope for piece in shown.pieces]),
        "f''(u)": _per_piece(shown, [piece.second for piece in shown.pieces]),
        "f(0+)": shown.value_at_zero,
        "f'(0+)": shown.slope_at_zero,
        "f'(inf)": shown.slope_at_infinity,
        "f''(1)": shown.curvature if shown.curvature is not None else "one-sided values differ",
        "adjoint u f(1/u)": shown.adjoint.generator,
        "conjugate f*(t)": conjugate.formula,
        "effective domain": conjugate.effective_domain,
    }
    try:
        found["activation T(v)"] = shown.activation.output
        found["f*(T(v))"] = shown.activation.conjugate_term
    except DerivationError as error:
        found["activation T(v)"] = str(error)
    found["Gaussian"] = gaussian.kind
    found["D(s)"] = gaussian.formula if gaussian.evaluable else gaussian.reason
    found["w(s) = dD/ds"] = gaussian.gradient_weight_formula
    same = [f"{spec} (D(s) is {factor} times)" for spec, factor in equivalents(shown).items() if factor != 1]
    same = [spec for spec, factor in equivalents(shown).items() if factor == 1] + same
    found["equal D(s)"] = ", ".join(same) or "none in the catalogue"
    counts: dict[str, list[str]] = {}
    for claim in certify(shown).claims:
        counts.setdefault(str(claim.evidence), []).append(claim.name)
    found["evidence"] = "; ".join(f"{word}: {', '.join(names)}" for word, names in counts.items())
    return {key: _text(value) for key, value in found.items()}


def _per_piece(shown: Divergence, expressions: list[Expr]) -> str:
    if len(expressions) == 1:
        return str(expressions[0])
    pairs = zip(expressions, shown.pieces, strict=True)
    return "; ".join(f"{expression} on ({piece.lower}, {piece.upper})" for expression, piece in pairs)


def _text(value: Any) -> str | None:
    if isinstance(value, sympy.Piecewise):
        branches = (f"{branch} if {condition}" for branch, condition in value.args)
        return "; ".join(branches).replace("if True", "otherwise").replace("oo", "inf")
    return None if value is None else str(value).replace("oo", "inf")


def wrapped(found: Mapping[str, str | None]) -> str:
    """Return the facts as a table of two columns."""
    width = max(map(len, found))
    lines = []
    for key, value in found.items():
        body = textwrap.wrap(value or "none in closed form", 100, break_on_hyphens=False) or [""]
        lines += [f"{key if i == 0 else '':<{width}}  {line}" for i, line in enumerate(body)]
    return "\n".join(lines)


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
    return mpmath.mpf(function(point)) if formula is None or point == 0 else _in_digits(formula, s, point)


def _in_digits(formula: Expr, symbol: Symbol, point: float) -> Any:
    with mpmath.workdps(80):
        return lower(formula, symbol, MPMATH)(mpmath.mpf(point))


QUANTITIES: dict[str, Callable[[Divergence, float], Any]] = {
    "generator": _generator,
    "conjugate": _conjugate,
    "adjoint": _adjoint,
    "activation": _activation,
    "gaussian": _gaussian,
    "gradient-weight": _gradient_weight,
}


def relation_dict(relation: Relation) -> dict[str, Any]:
    """Return a relation as JSON-able data."""
    where = relation.where
    place = None
    if where is not None:
        place = {"quantity": where.quantity, "point": where.point, "first": where.first, "second": where.second}
    return {
        "relation": relation.kind,
        "factor": None if relation.factor is None else str(relation.factor),
        "evidence": str(relation.evidence),
        "where": place,
        "gaussian": None if relation.gaussian is None else relation_dict(relation.gaussian),
    }


def relation_text(first: str, second: str, relation: Relation) -> str:
    """Return a relation as sentences."""
    lines = [_sentence(first, second, relation, "as divergences")]
    if relation.gaussian is not None:
        lines.append(_sentence(first, second, relation.gaussian, "between Gaussians of one covariance"))
    return "\n".join(lines)


def _sentence(first: str, second: str, relation: Relation, where: str) -> str:
    stated = f"{where}: {relation.kind} ({relation.evidence})"
    if relation.kind == "proportional":
        return f"{stated}: {first} = {relation.factor} * ({second})"
    if relation.where is not None:
        at = relation.where
        return f"{stated}: {at.quantity} at {at.point:.6g} is {at.first:.15g} against {at.second:.15g}"
    return stated
