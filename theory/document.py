"""theory.md and its pictures: every theorem's statement, hypotheses, proof and numbers, in one document."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from theory.theorem import Row, Theorem

_HEAD = """# The theorems

Written by `python -m theory --figures docs`. Words: **proved** means that the proof below is complete and SymPy carries
its computation for that divergence; **tested** means that the proof is by hand, or that there is only a simulation, and
that numbers were compared. Every number is computed against an oracle that shares no code with `fdiv`'s formulas; the
oracle of w takes the pieces of f and their f'' from `fdiv`, and theorem 5 compares it with differences of D, for which
the generator as it was written is integrated. `python -m theory` prints for every divergence the comparison
that uses up most of its tolerance: its relative error beside the tolerance.

P is the frozen model on the anchor, Q the trained model on the target, u = dP/dQ,
s = |mu_P - mu_Q|^2 / sigma^2, D(s) the divergence between the two Gaussians, w(s) = dD/ds.
"""


_CORRECTED = """## What of the literature needed correction

Claims of papers, or of first drafts of these theorems, that are false as they stand or lack a hypothesis, each with the
theorem that says it right. Papers are cited without equation numbers: those of Novello et al. arXiv:2509.21167 were
not available to us."""


def title(theorem: Theorem) -> str:
    """Return the heading of a theorem."""
    return f"{theorem.number}{theorem.part}. {theorem.title}"


def anchor(heading: str) -> str:
    """Return the fragment under which GitHub files a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def corrections(about: Iterable[Theorem]) -> str:
    """Return the section on what the literature has wrong, with a link to each theorem."""
    lines = [
        f"- {text} ([theorem {theorem.number}{theorem.part}](#{anchor(title(theorem))}))"
        for theorem in about
        for text in theorem.corrections
    ]
    return f"{_CORRECTED}\n\n" + "\n".join(lines)


def section(theorem: Theorem) -> str:
    """Return what does not depend on any number: statement, hypotheses, reference and proof."""
    module = sys.modules[theorem.comparisons.__module__]
    proof, path = inspect.cleandoc(module.__doc__ or ""), module.__name__.replace(".", "/")
    lines = [
        f"## {title(theorem)}",
        f"$$ {theorem.statement} $$",
        "Hypotheses: " + "; ".join(theorem.hypotheses) + ".",
        f"Reference: {theorem.reference}. Code: `{path}.py`.",
        f"```text\n{proof}\n```",
    ]
    return "\n\n".join(lines)


def picture_name(theorem: Theorem) -> str:
    """Return the file name of a theorem's picture."""
    return f"theory-{theorem.name.replace('_', '-')}.png"


def write(folder: Path, results: Mapping[Theorem, tuple[Row, ...]]) -> None:
    """Write theory.md and the pictures into `folder`, made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [_HEAD.strip(), corrections(results)]
    for theorem, rows in results.items():
        parts += [section(theorem), _numbers(theorem, rows)]
        if theorem.report is not None:
            parts.append(theorem.report().strip())
        if theorem.draw is not None:
            theorem.draw(folder / picture_name(theorem))
            parts.append(f"![{theorem.title}]({picture_name(theorem)})")
    (folder / "theory.md").write_text("\n\n".join(parts) + "\n")


def _numbers(theorem: Theorem, rows: tuple[Row, ...]) -> str:
    """Return what was proved and compared, in sentences."""
    if not rows:
        return "**Fails.**"
    proved = sum(row.evidence == "proved" for row in rows)
    broken = [row.spec for row in rows if not row.holds]
    total = sum(row.size for row in rows)
    verdict = "all hold" if not broken else f"**fails for {', '.join(broken)}**"
    subjects = f"Subjects: {len(rows)}, of which proved {proved}, tested {len(rows) - proved}"
    lemmas = len(theorem.lemmas())
    once = f" Identities that SymPy proves once for all subjects: {lemmas}." if lemmas else ""
    return f"{subjects}.{once} Comparisons: {total}; {verdict}."
