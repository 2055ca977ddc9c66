"""docs/divergences.md is what its generator writes today."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import fdiv

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "divergences.md").read_text()


def test_the_document_of_divergences_is_up_to_date() -> None:
    written = runpy.run_path(str(DOCS / "divergences.py"))["document"]()
    assert written == TEXT, "write it with: python docs/divergences.py"


def test_every_divergence_has_a_section_and_a_picture_that_exists() -> None:
    assert [name.partition(":")[0] for name in re.findall(r"^## (\S+)$", TEXT, re.MULTILINE)] == list(fdiv.names())
    pictures = re.findall(r"\]\((divergences/\S+\.png)\)", TEXT)
    assert len(pictures) == len(fdiv.names())
    assert all((DOCS / picture).stat().st_size > 1000 for picture in pictures)
    assert {f"divergences/{path.name}" for path in (DOCS / "divergences").iterdir()} == set(pictures)
    assert sum(path.stat().st_size for path in (DOCS / "divergences").iterdir()) < 2**20
