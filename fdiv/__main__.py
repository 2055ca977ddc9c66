"""python -m fdiv list | show NAME | check NAME_OR_EXPRESSION, for people or, with --json, for programs.

Exit codes: 0 done or accepted, 1 refused by the mathematics, 2 bad usage (one line on stderr).
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import sympy

from fdiv import CATALOG, certify, divergence, from_expression
from fdiv.calculus import DerivationError
from fdiv.divergence import Divergence, Record, UnknownDivergence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="fdiv", description="Verified f-divergences.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the catalogue with the evidence of each entry")
    show = commands.add_parser("show", help="everything that is derived from one generator")
    show.add_argument("name", metavar="NAME", help="a catalogue name, with parameters as in alpha:a=0.3")
    check = commands.add_parser("check", help="certify a divergence: exit code 0 accepted, 1 refused")
    check.add_argument("name", metavar="NAME_OR_EXPRESSION", help='a name, or a generator such as "u*log(u)"')
    for command in commands.choices.values():
        command.add_argument("--json", action="store_true", help="machine-readable output")
    given = sys.argv[1:] if arguments is None else arguments
    # a generator may begin with a minus sign, which argparse would take for an option
    options = parser.parse_args([f" {a}" if a[:1] == "-" and a[:2] not in ("--", "-h") else a for a in given])
    try:
        if options.command == "list":
            return _list(options.json)
        if options.command == "show":
            return _show(divergence(options.name), options.json)
        return _check(_resolve(options.name), options.json)
    except ValueError as error:
        print(f"fdiv {options.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _resolve(text: str) -> Divergence:
    """Return the catalogue's entry of that name, else the expression; a lone word is meant as a name."""
    try:
        return divergence(text)
    except UnknownDivergence:
        if text.strip() != "u" and text.split(":")[0].isidentifier():
            raise
    return from_expression(text)


def _list(as_json: bool) -> int:
    rows = [_entry(record) for record in CATALOG.values()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        print(f"{row['name']:<{width}}  {row['convexity']:<8}  {row['gaussian']:<10}  {row['title']}")
        for parameter in row["parameters"]:
            print(f"{'':<{width}}  {parameter['name']} in {parameter['domain']}: {parameter['reason']}")
    print(f"\n{len(rows)} divergences: name, evidence of convexity, kind of D(s) between Gaussians, title")
    return 0


def _entry(record: Record) -> dict[str, Any]:
    """Describe one record; a family is certified at the middle of its first bounded interval."""
    middles = {parameter.name: parameter.example for parameter in record.parameters}
    example = divergence(record.name, **middles)
    return {
        "name": record.name,
        "title": record.title,
        "generator": str(record.generator),
        "parameters": [
            {"name": p.name, "domain": " U ".join(map(str, p.domain)), "reason": p.reason} for p in record.parameters
        ],
        "reference": record.reference,
        "certified_at": example.spec,
        "convexity": str(certify(example).claim("convexity").evidence),
        "gaussian": example.gaussian.kind,
    }


def _show(shown: Divergence, as_json: bool) -> int:
    facts = _facts(shown)
    if as_json:
        print(json.dumps({key: _text(value) for key, value in facts.items()}, indent=2))
        return 0
    width = max(map(len, facts))
    for key, value in facts.items():
        body = textwrap.wrap(_text(value) or "none in closed form", 100, break_on_hyphens=False)
        print("\n".join(f"{key if i == 0 else '':<{width}}  {line}" for i, line in enumerate(body)))
    return 0


def _facts(shown: Divergence) -> dict[str, Any]:
    conjugate, gaussian = shown.conjugate, shown.gaussian
    facts: dict[str, Any] = {
        "name": shown.spec,
        "title": shown.title,
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
        facts["activation T(v)"] = shown.activation.output
        facts["f*(T(v))"] = shown.activation.conjugate_term
    except DerivationError as error:
        facts["activation T(v)"] = str(error)
    facts["Gaussian"] = gaussian.kind
    facts["D(s)"] = gaussian.formula if gaussian.kind != "infinite" else gaussian.reason
    facts["w(s) = dD/ds"] = gaussian.gradient_weight_formula
    return facts


def _per_piece(shown: Divergence, expressions: list[sympy.Expr]) -> str:
    if len(expressions) == 1:
        return str(expressions[0])
    pairs = zip(expressions, shown.pieces, strict=True)
    return "; ".join(f"{expression} on ({piece.lower}, {piece.upper})" for expression, piece in pairs).replace(
        "oo", "inf"
    )


def _text(value: Any) -> str | None:
    if isinstance(value, sympy.Piecewise):
        branches = (f"{branch} if {condition}" for branch, condition in value.args)
        return "; ".join(branches).replace("if True", "otherwise").replace("oo", "inf")
    return None if value is None else str(value).replace("oo", "inf")


def _check(candidate: Divergence, as_json: bool) -> int:
    certificate = certify(candidate)
    print(json.dumps(certificate.to_dict(), indent=2) if as_json else certificate)
    return 0 if certificate.accepted else 1


if __name__ == "__main__":
    sys.exit(main())
