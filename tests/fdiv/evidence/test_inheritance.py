"""A sum inherits what the kernel proves of each of its terms, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import sympy

import fdiv
from fdiv import u
from fdiv.evidence import certificate, inheritance, store
from fdiv.evidence.inheritance import LINEAR, inherited, parts
from fdiv.record import custom

IRRATIONAL = "u*log(u)+u**sqrt(2)-1"  # f'' is u^-1 + c u^(sqrt(2) - 2): no rational exponents, and no common root


def test_what_is_proved_of_the_terms_and_not_of_the_sum_is_inherited() -> None:
    found = fdiv.certify(IRRATIONAL)
    assert found.claim("convexity").evidence == "inherited"
    assert found.claim("convexity").evidence.settled
    assert found.accepted
    assert "proved of each term" in found.claim("convexity").reason
    assert found.to_dict()["claims"][2]["evidence"] == "inherited"
    assert fdiv.certify("u*log(u)+(u-1)**2").claim("convexity").evidence == "proved"


def test_all_that_is_linear_is_inherited_where_the_formulas_add_up() -> None:
    whole = custom(u * sympy.log(u) + 2 * (u - 1) ** 2 + 3 * u - 3)
    assert {part.generator for part in parts(whole)} == {u * sympy.log(u), 2 * (u - 1) ** 2}
    assert inherited(whole, list(LINEAR)) == set(LINEAR)
    wrong = sympy.Symbol("s", positive=True)
    object.__setattr__(whole.gaussian, "formula", wrong)
    assert inherited(whole, list(LINEAR)) == {"convexity"}


@pytest.mark.parametrize(
    "generator",
    [
        u * sympy.log(u) + sympy.sqrt(u) - 1,  # a term that is concave
        u * sympy.log(u) - (u - 1) ** 2 / 100,
        u * sympy.log(u) + sympy.Piecewise((0, u < 2), (-1, True)),  # its second derivative is 0 wherever there is one
        u * sympy.log(u) + sympy.Piecewise((u - 1, u < 2), (1, True)),  # its slope jumps down
        u * sympy.log(u) + sympy.sin(u) / 1000 - sympy.sin(1) / 1000,  # a term in no language of the kernel's
        u * sympy.log(u),  # one term
        sum(sympy.Abs(u - k) for k in range(2, 16)) - 91,  # more terms than are asked
    ],
)
def test_a_sum_inherits_nothing_that_a_term_lacks(generator: sympy.Expr) -> None:
    assert inherited(custom(generator), list(LINEAR)) == set()


def test_a_bump_in_a_sum_is_refuted_and_not_inherited() -> None:
    found = fdiv.certify(custom(u ** sympy.sqrt(2) - 1 - 3 * (sympy.sqrt(u) - 1) ** 2))
    assert found.claim("convexity").evidence == "refuted"


def test_what_is_inherited_is_neither_stored_nor_believed_from_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, Any] = {}
    monkeypatch.setattr(store, "load", lambda key: None)
    monkeypatch.setattr(store, "save", kept.__setitem__)
    fresh = certificate.certify.__wrapped__
    assert fresh(fdiv.from_expression(IRRATIONAL)).accepted
    assert not kept
    tested = fdiv.divergence("vajda", k=2.5)
    assert fresh(tested).accepted
    ((_, data),) = kept.items()
    forged = next(claim for claim in data["claims"] if claim["name"] == "D(s)")
    assert forged["evidence"] == "tested"
    forged["evidence"] = "inherited"
    monkeypatch.setattr(store, "load", lambda key: data)
    assert fresh(tested).claim("D(s)").evidence == "tested"


def test_a_term_without_a_formula_adds_up_to_none() -> None:
    kl, js = fdiv.divergence("kl"), fdiv.divergence("js")
    assert js.gaussian.formula is None
    assert not inheritance._adds_up(kl, [kl, js])
    assert inheritance._adds_up(kl, [kl])
