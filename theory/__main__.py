"""python -m theory: check every theorem on every divergence to which it applies, and print the worst errors.

    python -m theory                   theorem x divergence, with the worst error beside its tolerance
    python -m theory --only minmax     some theorems, by name
    python -m theory --figures docs    the pictures and docs/theory.md as well

Exit codes: 0 everything holds, 1 something fails or would test nothing, 2 bad usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from theory import Theorem, TheoremError, theorems
from theory.document import write
from theory.theorem import Row


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, write the document if asked for it, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m theory", description=__doc__.splitlines()[0])
    names = [theorem.name for theorem in theorems()]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help="these theorems alone")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="write the pictures and theory.md there")
    options = parser.parse_args(arguments)
    print(f"{'theorem':<20} {'divergence':<32} {'evidence':<8} {'worst error':>12} of {'tolerance':<9}  at")
    results = {theorem: _report(theorem) for theorem in theorems() if theorem.name in options.only}
    holds = [bool(rows) and all(row.holds for row in rows) for rows in results.values()]
    without = [theorem.name for theorem, rows in results.items() if not rows]
    beside = f", no result of {', '.join(without)} (why: above)" if without else ""
    said = f"{sum(holds)} of {len(holds)} theorems hold{beside}"
    print(f"\n{said}; errors are relative, negative where an inequality has room")
    if options.figures is not None:
        write(options.figures, results)
    return 0 if holds and all(holds) else 1


def _report(theorem: Theorem) -> tuple[Row, ...]:
    """Print a theorem's rows and return them; none where it would test nothing or an identity fails."""
    rows = []
    try:
        for subject in theorem.subjects():
            row = theorem.row(subject)
            rows.append(row)
            print(f"{theorem.name:<20} {row.spec:<32} {row.evidence:<8} {_numbers(row)}", flush=True)
    except TheoremError as error:
        print(f"error: {error}", file=sys.stderr)
        return ()
    return tuple(rows)


def _numbers(row: Row) -> str:
    worst = row.worst
    point = f"s={worst.point:g}" if isinstance(worst.point, float) else worst.point
    verdict = "" if worst.holds else f"  FAILS: {worst.computed!r} is not {worst.relation} {worst.stated!r}"
    return f"{worst.error:>12.4g} of {worst.tolerance:<9.3g}  {point}{verdict}"


if __name__ == "__main__":
    sys.exit(main())
