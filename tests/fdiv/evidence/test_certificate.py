"""Certificates: what each claim rests on, that no wrong derivation is settled, that no file can admit a wrong one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import sympy

import fdiv
import fdiv.losses
from fdiv.deadline import OutOfTime, within
from fdiv.evidence import certificate
from fdiv.evidence.certificate import Certificate
from fdiv.exact.symbols import s
from fdiv.record import Divergence

WORDS = {"proved", "certified", "inherited", "tested", "refuted", "not applicable"}
CLAIMS = (
    "f(1) = 0",
    "finite on (0, inf)",
    "convexity",
    "not affine",
    "limits",
    "conjugate",
    "conjugate on the whole line",
    "biconjugation",
    "Fenchel-Young",
    "adjoint",
    "activation",
    "D(s)",
    "D(0) = 0 <= D(s)",
    "w(s) = dD/ds >= 0",
    "gradient law",
    "reduction to MSE",
    "large s",
)


def certify(text: str) -> Certificate:
    return fdiv.certify(fdiv.resolve(text))


def test_every_claim_is_made_in_the_six_words() -> None:
    for spec in ("kl", "js", "tv", "symmetric_chi_squared"):
        found = certify(spec)
        assert tuple(claim.name for claim in found.claims) == CLAIMS
        assert {str(claim.evidence) for claim in found.claims} <= WORDS
        assert all(claim.reason for claim in found.claims)


def test_all_of_kullback_leibler_is_proved() -> None:
    assert {str(claim.evidence) for claim in certify("kl").claims} == {"proved"}


def test_a_conjugate_without_a_formula_is_proved_and_said_to_be_numeric() -> None:
    claim = certify("arithmetic_geometric").claim("conjugate")
    assert claim.evidence == "proved"
    assert "no formula in t" in claim.reason


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("tv", r"hypothesis 0 < f''(1) < inf fails: f''(1) = inf, as f' jumps by 1"),
        ("hockey_stick:gamma=2", "f''(1) = 0"),
        ("marton", "f''(1-) = 2 and f''(1+) = 0"),
    ],
)
def test_where_a_hypothesis_fails_the_law_is_not_applicable_and_why(spec: str, reason: str) -> None:
    claim = certify(spec).claim("reduction to MSE")
    assert claim.evidence == "not applicable"
    assert reason in claim.reason


def test_ball_arithmetic_certifies_what_no_exact_argument_settles() -> None:
    claim = certify("5*u*log(u) + u**2*exp(-u) - exp(-1)").claim("convexity")
    assert claim.evidence == "certified"
    assert "leading term" in claim.reason


def replaced(spec: str, **derived: Any) -> Divergence:
    """Return a divergence of which something was derived wrongly."""
    divergence = dataclasses.replace(fdiv.divergence(spec))
    divergence.__dict__.update(derived)
    return divergence


def halved(**formulas: sympy.Expr) -> Divergence:
    return replaced("kl", gaussian=dataclasses.replace(fdiv.divergence("kl").gaussian, **formulas))


def without_its_first_piece() -> Divergence:
    conjugate = fdiv.divergence("pearson").conjugate
    return replaced("pearson", conjugate=dataclasses.replace(conjugate, pieces=conjugate.pieces[1:]))


QUARTER = sympy.Rational(1, 4)
WRONG: dict[str, tuple[str, Callable[[], Divergence]]] = {
    "another conjugate": (
        "conjugate on the whole line",
        lambda: replaced("kl", conjugate=fdiv.divergence("jeffreys").conjugate),
    ),
    "a dropped branch": ("conjugate on the whole line", without_its_first_piece),
    "a wrong value at zero": ("limits", lambda: replaced("pearson", value_at_zero=sympy.Integer(2))),
    "a wrong slope at infinity": (
        "limits",
        lambda: replaced("squared_hellinger", slope_at_infinity=sympy.Integer(2)),
    ),
    "another adjoint": ("adjoint", lambda: replaced("kl", adjoint=fdiv.divergence("pearson").adjoint)),
    "another activation": ("activation", lambda: replaced("kl", activation=fdiv.divergence("pearson").activation)),
    "half the Gaussian value": ("D(s)", lambda: halved(formula=s / 4, gradient_weight_formula=QUARTER)),
    "half the gradient weight": ("w(s) = dD/ds >= 0", lambda: halved(gradient_weight_formula=QUARTER)),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_derivation_is_not_settled(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, divergence = WRONG[kind]
    monkeypatch.setenv("FDIV_CACHE", "")  # equal to the right one, whose certificate may be at hand
    certificate.certify.cache_clear()
    evidence = fdiv.certify(divergence()).claim(name).evidence
    certificate.certify.cache_clear()
    # numbers that disagree leave it open which of them are wrong; an adjoint is at best tested by its own limits
    assert not evidence.settled or (kind == "another adjoint" and evidence != "proved")


def test_a_certificate_survives_json_and_names_its_versions_and_generator() -> None:
    for text in ("kl", "u*log(u)**2", "sqrt(u-1)"):
        found = certify(text)
        again = Certificate.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
        assert again.to_dict() == found.to_dict()
        assert again.accepted == found.accepted
        assert {"fdiv", "python", "sympy", "python-flint"} <= set(dict(found.versions))
        srepr = sympy.srepr(fdiv.resolve(text).generator)
        assert found.fingerprint == hashlib.sha256(srepr.encode()).hexdigest()


@pytest.mark.parametrize("damage", [{}, {"claims": 3}, {"claims": [{}]}, [], None, "x"])
def test_what_is_no_certificate_is_refused(damage: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Certificate.from_dict(damage)


def test_a_call_is_interrupted_after_its_time_and_a_quick_one_is_not() -> None:
    def forever() -> None:
        while True:
            sum(range(1000))

    with pytest.raises(OutOfTime):
        within(0.1, forever)
    assert within(10, lambda: 3) == 3
    time.sleep(0.2)  # nothing is raised afterwards
