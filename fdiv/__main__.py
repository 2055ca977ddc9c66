"""python -m fdiv list | show | check | eval | plot | compare, for people or, with --json, for programs.

A divergence is a catalogue name (alpha:a=0.3), a generator ("u*log(u)") or something in a Python file
(mine.py:my_divergence). Exit codes: 0 done, 1 refused by the mathematics, 2 bad usage (one line on stderr).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fdiv import CATALOG, Refused, certify, compare, require, resolve
from fdiv.show.describe import catalogue_row, facts, relation_dict, relation_text, two_columns
from fdiv.show.numbers import QUANTITIES, evaluate

_ONE = 'a name (alpha:a=0.3), a generator ("u*log(u)") or FILE.py:NAME'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; never raises."""
    given = sys.argv[1:] if arguments is None else arguments
    # a generator or a number may begin with a minus sign, which argparse would take for an option
    shielded = [f" {a}" if a[:1] == "-" and a[:2] not in ("--", "-h") else a for a in given]
    try:
        options = _parser().parse_args(shielded)
    except SystemExit as done:  # argparse has printed the help, or what is wrong
        return done.code if isinstance(done.code, int) else 2
    try:
        code = _COMMANDS[options.command](options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Refused as error:
        return _complain(options.command, error, 1)
    except (ValueError, ArithmeticError) as error:
        return _complain(options.command, error, 2)
    except KeyboardInterrupt:
        return 130


def _complain(command: str, error: Exception, code: int) -> int:
    print(f"fdiv {command}: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fdiv", description="Verified f-divergences.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the catalogue with the evidence of each entry")
    show = commands.add_parser("show", help="everything that is derived from one generator")
    show.add_argument("divergence", metavar="DIVERGENCE", help=_ONE)
    check = commands.add_parser("check", help="certify a divergence: exit code 0 accepted, 1 refused")
    check.add_argument("divergence", metavar="DIVERGENCE", help=_ONE)
    check.add_argument("--plot", metavar="FILE.png", type=Path, help="draw the counterexample, or what is accepted")
    numbers = commands.add_parser("eval", help="numbers, one a line with 15 digits")
    numbers.add_argument("divergence", metavar="DIVERGENCE", help=_ONE)
    numbers.add_argument("quantity", metavar="QUANTITY", choices=tuple(QUANTITIES), help=", ".join(QUANTITIES))
    numbers.add_argument("points", metavar="X", nargs="+", help="u for generator and adjoint, t, v, or s")
    plot = commands.add_parser("plot", help="f, f*, w(s)/w(0) and D(s) side by side")
    plot.add_argument("divergences", metavar="DIVERGENCE", nargs="+", help=_ONE)
    plot.add_argument("--output", metavar="FILE.png", type=Path, default=Path("divergences.png"))
    both = commands.add_parser("compare", help="whether two are equal, proportional or different, and where")
    both.add_argument("first", metavar="A", help=_ONE)
    both.add_argument("second", metavar="B", help=_ONE)
    for command in commands.choices.values():
        command.add_argument("--json", action="store_true", help="machine-readable output")
    return parser


def _list(options: argparse.Namespace) -> int:
    if options.json:
        print(json.dumps([catalogue_row(record) for record in CATALOG.values()], indent=2))
        return 0
    width = max(map(len, CATALOG))
    print(f"{'name':<{width}}  {'convexity':<9}  {'conjugate':<9}  {'D(s)':<10}  title")
    for record in CATALOG.values():
        row = catalogue_row(record)
        also = f" (also {', '.join(row['aliases'])})" if row["aliases"] else ""
        evidence = f"{row['convexity']:<9}  {row['conjugate']:<9}  {row['gaussian']:<10}"
        print(f"{row['name']:<{width}}  {evidence}  {row['title']}{also}", flush=True)
        for parameter in row["parameters"]:
            print(f"{'':<{width}}  {parameter['name']} in {parameter['domain']}: {parameter['reason']}")
    print(f"\n{len(CATALOG)} divergences: evidence of convexity and conjugate, and kind of D(s) between Gaussians")
    return 0


def _show(options: argparse.Namespace) -> int:
    shown = resolve(options.divergence)
    require(shown)
    found = facts(shown)
    print(json.dumps(found, indent=2) if options.json else two_columns(found))
    return 0


def _check(options: argparse.Namespace) -> int:
    candidate = resolve(options.divergence)
    certificate = certify(candidate)
    print(json.dumps(certificate.to_dict(), indent=2) if options.json else certificate)
    if options.plot is not None:
        from fdiv.show.plots import evidence_picture

        evidence_picture(candidate, certificate, options.plot)
    return 0 if certificate.accepted else 1


def _eval(options: argparse.Namespace) -> int:
    chosen = resolve(options.divergence)
    points = [_number(text) for text in options.points]
    require(chosen)
    values = [evaluate(chosen, options.quantity, point) for point in points]
    print(json.dumps(values) if options.json else "\n".join(values))
    return 0


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text.strip()!r} is not a number") from None
    if number != number:
        raise ValueError("nan is not a number to evaluate at")
    return number


def _plot(options: argparse.Namespace) -> int:
    from fdiv.show.plots import compare_pictures

    chosen = [resolve(text) for text in options.divergences]
    for divergence in chosen:
        require(divergence)
    compare_pictures(chosen, options.output)
    print(json.dumps({"picture": str(options.output)}) if options.json else options.output)
    return 0


def _compare(options: argparse.Namespace) -> int:
    first, second = resolve(options.first), resolve(options.second)
    require(first)
    require(second)
    relation = compare(first, second)
    if options.json:
        print(json.dumps({"first": first.spec, "second": second.spec, **relation_dict(relation)}, indent=2))
    else:
        print(relation_text(first.spec, second.spec, relation))
    return 0


_COMMANDS = {"list": _list, "show": _show, "check": _check, "eval": _eval, "plot": _plot, "compare": _compare}


if __name__ == "__main__":
    sys.exit(main())
