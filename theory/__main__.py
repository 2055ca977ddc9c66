"""python -m theory: check every theorem on every divergence to which it applies, and print the worst margins.

Exit codes: 0 everything holds, 1 something fails or would test nothing, 2 bad usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fdiv import Divergence
from theory import Theorem, TheoremError, catalogue, theorems


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and return the exit code."""
    description = "Check every theorem over the whole catalogue and print the worst margins."
    argparse.ArgumentParser(prog="python -m theory", description=description).parse_args(arguments)
    print(f"{'theorem':<20} {'divergence':<28} {'worst margin':>12} of {'tolerance':<9}  at s")
    holds = [_report(theorem) for theorem in theorems()]
    print(f"\n{sum(holds)} of {len(holds)} theorems hold; a margin is the tolerance less the relative error")
    return 0 if holds and all(holds) else 1


def _report(theorem: Theorem) -> bool:
    """Print a theorem's rows and return whether all of them hold."""
    try:
        # a list, so that a failure does not hide the rows after it
        holds = [_row(theorem, divergence) for divergence in theorem.subjects(catalogue())]
    except TheoremError as error:
        print(f"error: {error}", file=sys.stderr)
        return False
    return all(holds)


def _row(theorem: Theorem, divergence: Divergence) -> bool:
    # tolerances differ from point to point, so the worst is the one that has used up most of its own
    worst = min(theorem.check(divergence), key=lambda c: (c.holds, c.margin / (c.tolerance or 1)))
    numbers = f"{worst.margin:>12.4g} of {worst.tolerance:<9.3g}  {worst.point:g}"
    verdict = "" if worst.holds else f"  FAILS: {worst.computed!r} is not {worst.relation} {worst.stated!r}"
    print(f"{theorem.name:<20} {divergence.spec:<28} {numbers}{verdict}", flush=True)
    return worst.holds


if __name__ == "__main__":
    sys.exit(main())
