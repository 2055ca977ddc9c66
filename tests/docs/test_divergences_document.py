"""docs/divergences.md is what its generator writes today, and its formulas, read as people read them, are right."""

from __future__ import annotations

import math
import re
import runpy
from pathlib import Path

import pytest

import fdiv

DOCS = Path(__file__).parents[2] / "docs"
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
    from fdiv.show.numbers import evaluate

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


def test_a_kink_is_said_to_cost_the_tightness_of_the_bound() -> None:
    warned = {
        spec for spec, body in SECTIONS.items() if "a smooth step in place of the jump of f'; the bound is" in body
    }
    assert warned == {spec for spec in SECTIONS if fdiv.resolve(spec).kinks}
    assert {"total_variation", "hockey_stick:gamma=1.5", "degroot:pi=0.3"} <= warned


def test_what_overflows_names_the_wrapper_and_what_does_not_gives_other_advice() -> None:
    named = {spec for spec, body in SECTIONS.items() if "`GaussianLoss.wrapped`" in body}
    assert named == {spec for spec in SECTIONS if math.isinf(fdiv.resolve(spec).gaussian(2000.0))}
    assert all("Take it where" in body for body in SECTIONS.values())


def test_the_head_counts_the_evidence_for_every_entry() -> None:
    head = TEXT.partition("\n| divergence |")[0]
    counts = [int(count) for count in re.findall(r"(\d+) (?:in closed form|by quadrature) \(\w+\)", head)]
    assert sum(counts) == len(fdiv.names())
    closed = sum(int(count) for count in re.findall(r"(\d+) in closed form", head))
    assert closed == sum("\nD(s) = " in body for body in SECTIONS.values())


def test_nearly_multiples_are_mutual_and_no_equals() -> None:
    near = {spec: set(re.findall(r"[^\s,]+(?=[,.])", m[1])) for spec, m in _lines("Nearly a multiple of it")}
    assert len(near) >= 15
    assert all(spec in near[other] for spec, others in near.items() for other in others)
    for spec, m in _lines("Same D(s)"):
        assert not near.get(spec, set()) & set(re.split(r"[\s,]+", m[1].rstrip(".")))


def _lines(title: str) -> list[tuple[str, re.Match[str]]]:
    found = ((s, re.search(rf"^\*\*{re.escape(title)}\*\*: (.*)$", body, re.MULTILINE)) for s, body in SECTIONS.items())
    return [(spec, match) for spec, match in found if match]


@pytest.mark.parametrize("spec", ["kl", "total_variation", "vajda:k=3"])
def test_a_picture_is_what_the_script_draws_today(spec: str, tmp_path: Path) -> None:
    from matplotlib.image import imread

    shown = fdiv.resolve(spec)
    runpy.run_path(str(DOCS / "divergences.py"))["draw"](shown, tmp_path / "new.png")
    kept, drawn = imread(DOCS / "divergences" / f"{shown.name}.png"), imread(tmp_path / "new.png")
    assert kept.shape == drawn.shape
    assert abs(kept - drawn).mean() < 0.002  # fonts may differ; two divergences differ by more
    other = imread(DOCS / "divergences" / "jensen_shannon.png")
    assert abs(other - drawn).mean() > 0.002
