"""docs/divergences.md is what its generator writes today, and its formulas, read as people read them, are right."""

from __future__ import annotations

import math
import re
import runpy
from pathlib import Path

import pytest

import fdiv

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "divergences.md").read_text()
SECTIONS = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def test_the_document_of_divergences_is_up_to_date() -> None:
    written = runpy.run_path(str(DOCS / "divergences.py"))["document"]()
    assert written == TEXT, "write it with: python docs/divergences.py"


def test_every_divergence_has_a_section_and_a_picture_that_exists() -> None:
    assert [name.partition(":")[0] for name in SECTIONS] == list(fdiv.names())
    pictures = re.findall(r"\]\((divergences/\S+\.png)\)", TEXT)
    assert len(pictures) == len(fdiv.names())
    assert all((DOCS / picture).stat().st_size > 1000 for picture in pictures)
    assert {f"divergences/{path.name}" for path in (DOCS / "divergences").iterdir()} == set(pictures)
    assert sum(path.stat().st_size for path in (DOCS / "divergences").iterdir()) < 2**20


NAMES = {"pi": math.pi, "e": math.e}
FUNCTIONS = {"log": math.log, "erf": math.erf, "softplus": lambda x: math.log1p(math.exp(x))}


class Reader:
    """Reads LaTeX as a person does: factors side by side multiply, and only \\frac divides."""

    TOKEN = re.compile(r"\\operatorname\{(\w+)\}|\\left[(\[]|\\right[)\]]|\\[a-z]+|\d+|[a-z]|[-+^{}]|\\,|\s+")

    def __init__(self, text: str, values: dict[str, float]) -> None:
        found = list(self.TOKEN.finditer(text))
        assert "".join(token[0] for token in found) == text, f"unread LaTeX: {text}"
        spaces = ("", r"\,", r"\cdot")
        self.tokens = [token[1] or token[0].lstrip("\\") for token in found if token[0].strip() not in spaces]
        self.values = {**NAMES, **values}

    def next(self) -> str:
        return self.tokens.pop(0) if self.tokens else ""

    def value(self, closing: str = "") -> float:
        total, sign = 0.0, 1.0
        while self.tokens and self.tokens[0] != closing:
            if self.tokens[0] in "+-":
                sign *= -1.0 if self.next() == "-" else 1.0
                continue
            total, sign = total + sign * self.product(), 1.0
        assert self.next() == closing
        return total

    def product(self) -> float:
        found = self.power()
        while self.tokens and self.tokens[0] not in ("+", "-", "}", "right)", "right]"):
            found *= self.power()
        return found

    def power(self) -> float:
        base = self.atom()
        return float(base ** self.group()) if self.tokens[:1] == ["^"] and self.next() else base

    def group(self) -> float:
        assert self.next() == "{"
        return self.value("}")

    def atom(self) -> float:
        token = self.next()
        if token == "frac":
            return self.group() / self.group()
        if token == "sqrt":
            return math.sqrt(self.group())
        if token == "left(":
            return self.value("right)")
        if token == "{":
            return self.value("}")
        if token in FUNCTIONS:
            return float(FUNCTIONS[token](self.group()))
        return float(token) if token.isdigit() else self.values[token]


def formulas(quantity: str) -> list[tuple[str, str]]:
    """(spec, LaTeX) of the sections that show a formula of the quantity in one case."""
    pattern = re.compile(rf"^{re.escape(quantity)} = (.*)$", re.MULTILINE)
    found = [(spec, m[1]) for spec, body in SECTIONS.items() for m in pattern.finditer(body)]
    return [(spec, latex) for spec, latex in found if "cases" not in latex]


@pytest.mark.parametrize(("quantity", "argument", "floor"), [("D(s)", "s", 25), ("w(s)", "s", 25), ("T(v)", "v", 34)])
def test_a_formula_read_from_left_to_right_has_the_value_of_the_divergence(
    quantity: str, argument: str, floor: int
) -> None:
    from fdiv.describe import evaluate

    name = {"D(s)": "gaussian", "w(s)": "gradient-weight", "T(v)": "activation"}[quantity]
    shown = formulas(quantity)
    assert len(shown) >= floor
    for spec, latex in shown:
        for point in (0.4, 3.0):
            read = Reader(latex, {argument: point}).value()
            assert read == pytest.approx(float(evaluate(fdiv.divergence(spec), name, point)), rel=1e-9), (spec, latex)


def test_every_derived_formula_is_typeset_without_a_slash() -> None:
    displays = re.findall(r"^\$\$\n(.*)\n\$\$$", TEXT, re.MULTILINE)
    assert len(displays) > 3 * len(fdiv.names())
    assert [display for display in displays if "/" in display] == []


@pytest.mark.parametrize("spec", SECTIONS)
def test_a_heading_can_be_resolved(spec: str) -> None:
    assert fdiv.resolve(spec).parameters == {p.name: p.example for p in fdiv.CATALOG[spec.partition(":")[0]].parameters}
