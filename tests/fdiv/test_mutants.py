"""Mutants of the records and of all that is derived: the laws tell every one of them from the truth."""

from __future__ import annotations

from pathlib import Path

import pytest

import fdiv
from tests.laws.mutation import EQUIVALENT, LAWS, OPERATORS, SPECS, equivalent, killer, report, verdict
from theory.laws.claims import claims

DOCUMENT = Path(__file__).parents[2] / "docs" / "mutation.md"


@pytest.mark.parametrize("spec", SPECS)
def test_what_is_not_mutated_obeys_every_law(spec: str) -> None:
    assert killer(claims(fdiv.divergence(spec)), LAWS) == ""


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_mutant_is_killed_by_a_named_law_or_equal_by_a_theorem(operator: str) -> None:
    found = {spec: verdict(operator, spec) for spec in SPECS}
    made = {spec: law for spec, law in found.items() if law is not None}
    assert made, "the operator makes no mutant"
    survivors = [spec for spec, law in made.items() if not law and not equivalent(operator, spec)]
    assert not survivors, f"{operator} survives in {survivors}"
    miracles = [spec for spec, law in made.items() if law and equivalent(operator, spec)]
    assert not miracles, f"{operator} is said to change nothing in {miracles}, and a law saw it"


def test_the_theorems_name_operators_and_each_is_needed() -> None:
    assert set(EQUIVALENT) <= set(OPERATORS)
    for operator in EQUIVALENT:
        assert any(equivalent(operator, spec) and verdict(operator, spec) == "" for spec in SPECS)


def test_the_mutants_are_many_and_none_vanishes() -> None:
    verdicts = [verdict(operator, spec) for operator in OPERATORS for spec in SPECS]
    assert sum(law is not None for law in verdicts) >= 3000
    killers = {law for law in verdicts if law}
    assert len(killers) >= 15


def test_the_document_of_mutants_is_up_to_date() -> None:
    assert report() in DOCUMENT.read_text(), "write it with: python docs/mutation.py"
