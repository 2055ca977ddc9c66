"""The theorems hold wherever their hypotheses do, and the machinery that says so catches falsehoods."""

from __future__ import annotations

import ast
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import fdiv
import theory
from theory import __main__ as command
from theory.document import anchor, corrections, picture_name, section, write
from theory.laws.comparison import Comparison, Relation
from theory.laws.expectations import value
from theory.theorem import Theorem, TheoremError

FLOORS = {
    "mse_is_kl": 4,
    "reverse_step": 13,
    "one_optimum": 40,
    "alpha_family": 17,
    "gradient_law": 40,
    "local_universality": 33,
    "gradient_chain": 5,
    "gradient_order": 40,
    "robustness_limit": 40,
    "adam": 38,
    "flow": 40,
    "minmax": 31,
    "variational": 40,
    "small_batch": 31,
    "conjugacy": 40,
    "data_processing": 40,
    "finite_alphabets": 40,
    "mixture": 40,
    "pinsker": 25,
    "bretagnolle_huber": 2,
    "sason_verdu": 18,
    "mordell": 4,
    "calibration": 35,
    "retraining": 6,
    "finite_pictures": 4,
}
ELSEWHERE = (
    *("alpha:a=-1.5", "alpha:a=0", "alpha:a=0.7", "alpha:a=1", "alpha:a=3", "tsallis:a=1.7", "cressie_read:la=-0.5"),
    *("skew_jensen_shannon:pi=0.9", "skew_kl:pi=0.8", "skew_geometric_jensen_shannon:la=0.9"),
    *("blended_chi_squared:la=0.9", "osterreicher_vajda:b=0.7", "osterreicher_vajda:b=3"),
    *("hockey_stick:gamma=1", "hockey_stick:gamma=4", "degroot:pi=0.5", "degroot:pi=0.8"),
    *("vajda:k=1.5", "vajda:k=2", "vajda:k=4", "puri_vincze:k=1.5", "puri_vincze:k=2"),
)
EXACT = ("kl", "squared_hellinger", "pearson")

# reverse_step has torch and diffusers as its oracle, and a file of its own
WITHOUT_TORCH = tuple(theorem for theorem in theory.theorems() if theorem.name != "reverse_step")

every_theorem = pytest.mark.parametrize("theorem", WITHOUT_TORCH, ids=lambda theorem: theorem.name)


def named(name: str) -> Theorem:
    (theorem,) = [theorem for theorem in theory.theorems() if theorem.name == name]
    return theorem


CASES = [
    pytest.param(theorem, subject, id=f"{theorem.name}-{subject.spec}")
    for theorem in WITHOUT_TORCH
    for subject in theorem.universe()
]


@cache
def checked(theorem: Theorem, subject: Any) -> tuple[Comparison, ...]:
    return theorem.check(subject)


@pytest.mark.parametrize(("theorem", "subject"), CASES)
def test_it_holds_wherever_it_applies(theorem: Theorem, subject: object) -> None:
    if not theorem.applies(subject):
        with pytest.raises(TheoremError, match="says nothing about"):
            theorem.check(subject)
        return
    assert [comparison for comparison in checked(theorem, subject) if not comparison.holds] == []
    assert theorem.evidence(subject) in ("proved", "tested")


@every_theorem
def test_a_slightly_wrong_statement_of_it_is_caught(theorem: Theorem) -> None:
    subjects = [subject for subject in theorem.subjects() if subject.spec in EXACT] or theorem.subjects()[:3]
    found = [comparison for subject in subjects for comparison in checked(theorem, subject)]
    equalities = [c for c in found if c.relation == "equal" and c.stated]
    for factor in (0.99, 1.01, -1.0, 0.0) if equalities else ():
        assert not all(replace(c, stated=factor * c.stated).holds for c in equalities), factor
    # an inequality between numbers that could not be told apart would say nothing
    reversed_ = [replace(c, computed=c.stated, stated=c.computed) for c in found if c.relation != "equal"]
    assert not reversed_ or not all(comparison.holds for comparison in reversed_)
    assert equalities or reversed_


@every_theorem
def test_it_applies_to_at_least_so_many(theorem: Theorem) -> None:
    assert len(theorem.subjects()) >= FLOORS[theorem.name]


def test_every_file_that_states_a_theorem_is_found_under_its_own_name() -> None:
    files = Path(theory.__file__).parent.rglob("*.py")
    names = sorted(theorem.name for theorem in theory.theorems())
    assert sorted(file.stem for file in files if "\nTHEOREM = " in file.read_text()) == names == sorted(FLOORS)


def test_the_fourteen_are_all_there_in_order() -> None:
    numbers = [theorem.number for theorem in theory.theorems()]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, 15))


def test_the_catalogue_is_covered_in_its_order() -> None:
    assert [divergence.name for divergence in theory.catalogue()] == list(fdiv.names())


@pytest.mark.parametrize("name", ["mse_is_kl", "alpha_family", "local_universality", "minmax"])
def test_no_kink_at_one_qualifies(name: str) -> None:
    for divergence in (fdiv.divergence("total_variation"), fdiv.divergence("marton")):
        assert not named(name).applies(divergence)


@pytest.mark.parametrize(
    "name", ["gradient_law", "local_universality", "one_optimum", "flow", "robustness_limit", "minmax", "small_batch"]
)
def test_no_infinite_value_qualifies(name: str) -> None:
    assert not named(name).applies(fdiv.from_expression("exp(u - 1) - u"))


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("squared_hellinger", lambda s: -2 * math.expm1(-s / 8)),
        ("total_variation", lambda s: math.erf(math.sqrt(s / 8))),
        ("symmetric_chi_squared", lambda s: 2 * math.expm1(s)),
    ],
)
@pytest.mark.parametrize("s", [1e-6, 0.5, 9.0])
def test_the_oracle_agrees_with_integrals_done_by_hand(name: str, truth: object, s: float) -> None:
    assert float(value(fdiv.divergence(name), s)) == pytest.approx(truth(s), rel=1e-13)  # type: ignore[operator]


def everything_is_half_a_squared_error(divergence: fdiv.Divergence) -> Iterator[Comparison]:
    """A tempting falsehood: what is true for s -> 0, claimed for every s."""
    for s in (1e-8, 1.0):
        yield Comparison(s, float(value(divergence, s)), float(divergence.curvature) / 2 * s, "equal", 1e-6)


FALSEHOOD = Theorem(
    number=0,
    name="falsehood",
    title="Every divergence is a mean squared error",
    statement=r"D_f(s) = f''(1)/2\, s",
    hypotheses=("f is smooth",),
    reference="nobody",
    applies=lambda divergence: len(divergence.pieces) == 1 and divergence.gaussian.evaluable,
    comparisons=everything_is_half_a_squared_error,
)


def test_a_false_theorem_fails_where_it_is_false_and_nowhere_else() -> None:
    subjects = FALSEHOOD.subjects()
    truthful = tuple(d for d in subjects if all(comparison.holds for comparison in FALSEHOOD.check(d)))
    assert truthful == named("mse_is_kl").subjects()
    assert len(truthful) < len(subjects)


def test_the_command_exits_with_1_and_names_what_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "theorems", lambda: (FALSEHOOD,))
    assert command.main([]) == 1
    (pearson,) = [line for line in capsys.readouterr().out.splitlines() if " pearson " in line]
    assert "FAILS" in pearson
    assert "1.71828" in pearson


def test_the_command_exits_with_0_where_all_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "theorems", lambda: (named("mse_is_kl"),))
    assert command.main([]) == 0
    output = capsys.readouterr().out
    assert "half_jeffreys" in output
    assert "FAILS" not in output


@pytest.mark.parametrize(
    ("theorem", "reason"),
    [
        (replace(FALSEHOOD, applies=lambda divergence: False), "applies to no divergence"),
        (replace(FALSEHOOD, comparisons=lambda divergence: iter(())), "compares nothing"),
    ],
    ids=["no subject", "no comparison"],
)
def test_a_theorem_that_tests_nothing_is_an_error(
    theorem: Theorem, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "theorems", lambda: (theorem,))
    assert command.main([]) == 1
    said = capsys.readouterr()
    assert reason in said.err
    assert f"0 of 1 theorems hold, no result of {theorem.name} (why: above)" in said.out
    with pytest.raises(TheoremError, match=reason):
        theorem.check(theorem.subjects()[0])


INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("computed", "relation", "stated", "holds"),
    [
        (1.0, "equal", 1.05, True),
        (1.0, "equal", 1.2, False),
        (0.0, "equal", 0.0, True),
        (0.0, "equal", 1e-300, False),
        (5.0, "at_most", 7.0, True),
        (7.0, "at_most", 6.9, True),
        (7.0, "at_most", 5.0, False),
        (7.0, "at_least", 5.0, True),
        (5.0, "at_least", 7.0, False),
        (-1.7e308, "equal", 1.7e308, False),
        (3.0, "equal", INF, False),
        (INF, "equal", 3.0, False),
        (INF, "equal", INF, True),
        (-INF, "equal", INF, False),
        (INF, "at_most", 3.0, False),
        (3.0, "at_most", INF, True),
        (INF, "at_most", INF, True),
        (3.0, "at_least", INF, False),
        (-INF, "at_least", 3.0, False),
        (NAN, "equal", NAN, False),
        (NAN, "at_most", INF, False),
        (INF, "at_least", NAN, False),
    ],
)
def test_a_comparison_holds_within_its_tolerance_and_infinity_only_exactly(
    computed: float, relation: Relation, stated: float, holds: bool
) -> None:
    comparison = Comparison(1.0, computed, stated, relation, 0.1)
    assert comparison.holds is holds
    assert (comparison.margin >= 0) is holds


def test_the_command_prints_an_error_that_its_tolerance_would_round_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def tight(divergence: fdiv.Divergence) -> Iterator[Comparison]:
        yield Comparison("near", 1.0 + 2**-50, 1.0, "equal", 1e-6)

    monkeypatch.setattr(command, "theorems", lambda: (replace(FALSEHOOD, comparisons=tight),))
    assert command.main([]) == 0
    assert "8.882e-16 of 1e-06" in capsys.readouterr().out


@pytest.mark.parametrize("tolerance", [-1e-9, 1.0, INF, NAN])
def test_a_tolerance_that_admits_anything_is_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match=r"outside \[0, 1\)"):
        Comparison(1.0, 1.0, 1.0, "equal", tolerance)


def test_an_unknown_relation_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="'below'; choose from equal, at_most, at_least"):
        Comparison(1.0, 1.0, 1.0, "below", 0.1)  # type: ignore[arg-type]


def test_theory_imports_the_mathematics_and_never_the_trainer() -> None:
    trees = {file.stem: ast.parse(file.read_text()) for file in Path(theory.__file__).parent.rglob("*.py")}
    for name, tree in trees.items():
        nodes = list(ast.walk(tree))
        modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        modules |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
        packages = {module.partition(".")[0] for module in modules}
        assert "harness" not in packages
        assert "fdiv.evidence.oracles" not in modules
        # diffusers' schedulers are an oracle, and need torch; nothing else does
        assert packages & {"torch", "diffusers"} == (set() if name != "reverse_step" else {"torch", "diffusers"})


def test_importing_the_theory_imports_no_torch() -> None:
    heavy = ("torch", "diffusers", "matplotlib")
    code = f"import sys, theory; theory.theorems(); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_book_states_every_theorem_and_covers_the_catalogue() -> None:
    docs = Path(__file__).parents[2] / "docs"
    book = (docs / "theory.md").read_text()
    for theorem in theory.theorems():
        assert section(theorem) in book, f"{theorem.name}: run python -m theory --figures docs"
        if theorem.draw is not None:
            assert (docs / picture_name(theorem)).stat().st_size < 120_000
    for divergence in theory.catalogue():
        assert f" {divergence.spec} |" in book, f"{divergence.spec}: run python -m theory --figures docs"
    assert "fails" not in re.sub(r"```text.*?```", "", book, flags=re.DOTALL).lower()


def test_what_the_literature_has_wrong_is_listed_first_and_every_link_has_its_heading() -> None:
    book = (Path(__file__).parents[2] / "docs" / "theory.md").read_text()
    assert corrections(theory.theorems()) in book, "run python -m theory --figures docs"
    assert book.index("## What of the literature") < book.index("## 1.")
    anchors = {anchor(line.removeprefix("## ")) for line in book.splitlines() if line.startswith("## ")}
    links = re.findall(r"\]\(#([^)]*)\)", book)
    assert set(links) <= anchors
    assert len(links) >= 9


def test_the_book_and_its_pictures_are_written(tmp_path: Path) -> None:
    chosen = named("robustness_limit")
    write(tmp_path / "new", {chosen: (chosen.row(fdiv.divergence("kl")),)})
    assert section(chosen) in (tmp_path / "new" / "theory.md").read_text()
    assert (tmp_path / "new" / picture_name(chosen)).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("spec", ELSEWHERE)
def test_it_holds_for_other_members_of_the_families(spec: str) -> None:
    divergence = fdiv.divergence(spec)
    applicable = [theorem for theorem in theory.theorems() if theorem.number != 2 and theorem.applies(divergence)]
    assert len(applicable) >= 8
    for theorem in applicable:
        assert [c for c in theorem.check(divergence) if not c.holds] == [], theorem.name


@pytest.mark.slow
def test_the_whole_command_ends_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--figures", str(tmp_path)]) == 0
    assert "FAILS" not in capsys.readouterr().out
    assert len(list(tmp_path.glob("*.png"))) >= 7
