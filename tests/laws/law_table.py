"""The table law x divergence at the end of a run of the specification."""

from __future__ import annotations

import re

import pytest

from theory.laws import gaussians, general

_STATEMENTS = {law.name: law.statement for law in (*general.LAWS, *gaussians.LAWS)}
_ITEM = re.compile(r"(?:.*/)?test_spec\.py::test_(?P<law>\w+)\[(?P<case>.*)\]", re.DOTALL)
_MARKS = {"passed": ".", "skipped": "-", "failed": "F", "error": "F"}
_FLOATS = re.compile(r"-?(torch\.\w+)")


def outcomes(reporter: pytest.TerminalReporter) -> dict[str, dict[str, tuple[str, str]]]:
    """Return {law: {divergence: (outcome, reason)}} of what ran of test_spec.py, in the order of the file."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    lines: dict[str, int] = {}
    for outcome in ("passed", "skipped", "failed", "error"):
        for report in reporter.stats.get(outcome, []):
            match = _ITEM.fullmatch(getattr(report, "nodeid", ""))
            if match is None or (outcome == "passed" and report.when != "call"):
                continue
            dtype = _FLOATS.search(match["case"])
            case = _FLOATS.sub("", match["case"]).strip("-")
            law = match["law"].replace("_", " ") + (f" ({dtype[1]})" if dtype else "")
            if law == "it obeys":  # which has a law and a divergence
                name, _, case = case.partition("-")
                law = _STATEMENTS[name]
            reason = report.longrepr[2].removeprefix("Skipped: ") if outcome == "skipped" else ""
            found.setdefault(law, {})[case] = (outcome, reason)
            lines[law] = report.location[1]
    return {law: found[law] for law in sorted(found, key=lines.__getitem__)}


def write(reporter: pytest.TerminalReporter, own: str | None) -> None:
    """Write the table: law by law with reasons for one divergence of one's own, else one row a divergence."""
    found = outcomes(reporter)
    if not found:
        return
    if own:
        _write_one(reporter, own, found)
        return
    laws = list(found)
    reporter.section("the laws", sep="-")
    for i, law in enumerate(laws, 1):
        reporter.write_line(f"{i:>3} {law}")
    cases = list(dict.fromkeys(case for row in found.values() for case in row))
    width = max(map(len, cases))
    reporter.write_line("\n. holds   - does not apply (pytest -rs says why)   F fails\n")
    reporter.write_line(" " * width + "  " + "".join(f"{i % 100:>3}" for i in range(1, len(laws) + 1)))
    for case in cases:
        marks = (f"{_MARKS.get(found[law].get(case, ('', ''))[0], ' '):>3}" for law in laws)
        reporter.write_line(f"{case:<{width}}  {''.join(marks)}")


def _write_one(reporter: pytest.TerminalReporter, own: str, found: dict[str, dict[str, tuple[str, str]]]) -> None:
    words = {"passed": "holds", "skipped": "does not apply", "failed": "FAILS", "error": "FAILS"}
    reporter.section(f"the laws of {own}", sep="-")
    width = max(map(len, found))
    for law, row in found.items():
        for outcome, reason in row.values():
            reporter.write_line(f"{law:<{width}}  {words[outcome]:<14}  {reason}".rstrip())
