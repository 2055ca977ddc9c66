"""What the command line says of a divergence: rows of the catalogue, derived facts, relations."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from sympy import Expr

from fdiv.equivalence import Relation, equivalents
from fdiv.evidence.certificate import certify
from fdiv.exact.domain import Interval
from fdiv.exact.symbols import DerivationError
from fdiv.record import Divergence, Record
from fdiv.show.readable import as_text, domain_text, label


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
            {"name": p.name, "domain": " U ".join(map(domain_text, p.domain)), "reason": p.reason}
            for p in record.parameters
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
        "name": label(shown),
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
        found["T(v) is"] = activation_kind(shown)
        found["f*(T(v))"] = shown.activation.conjugate_term
    except DerivationError as error:
        found["activation T(v)"] = str(error)
    found["Gaussian"] = gaussian.kind
    found["D(s)"] = gaussian.formula if gaussian.evaluable else gaussian.reason
    found["w(s) = dD/ds"] = gaussian.gradient_weight_formula
    same = equivalents(shown)
    equal = [spec for spec, factor in same.items() if factor == 1]
    proportional = [f"{spec} (D(s) is {factor} times)" for spec, factor in same.items() if factor != 1]
    found["equal D(s)"] = ", ".join(equal + proportional) or "none in the catalogue"
    counts: dict[str, list[str]] = {}
    for claim in certify(shown).claims:
        counts.setdefault(str(claim.evidence), []).append(claim.name)
    found["evidence"] = "; ".join(f"{word}: {', '.join(names)}" for word, names in counts.items())
    return {key: as_text(value) for key, value in found.items()}


def activation_kind(shown: Divergence) -> str:
    """Say whether the variational bound is tight; raises DerivationError where there is no activation."""
    if shown.activation.canonical:
        return "f'(e^v); the bound is tight at v = log dP/dQ"
    return "a smooth step in place of the jump of f'; the bound is not tight at v = log dP/dQ"


def _per_piece(shown: Divergence, expressions: list[Expr]) -> str:
    if len(expressions) == 1:
        return str(as_text(expressions[0]))
    pairs = zip(expressions, shown.pieces, strict=True)
    return "; ".join(f"{as_text(e)} on {domain_text(Interval(piece.lower, piece.upper))}" for e, piece in pairs)


def two_columns(found: Mapping[str, str | None]) -> str:
    """Return the facts as a table, long values folded inside their column."""
    width = max(map(len, found))
    lines = []
    for key, value in found.items():
        body = textwrap.wrap(value or "none in closed form", 100, break_on_hyphens=False) or [""]
        lines += [f"{key if i == 0 else '':<{width}}  {line}" for i, line in enumerate(body)]
    return "\n".join(lines)


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
