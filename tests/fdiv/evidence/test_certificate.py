"""Certificates: what each claim rests on, that a wrong derivation is refuted, that no file can admit a wrong one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import fdiv
import fdiv.losses
from fdiv import u
from fdiv.balls import ball, tails
from fdiv.evidence import certificate, moments, store
from fdiv.evidence.certificate import Certificate
from fdiv.evidence.deadline import OutOfTime, within
from fdiv.exact.symbols import s
from fdiv.record import Divergence

WORDS = {"proved", "certified", "tested", "refuted", "not applicable"}
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


def test_every_claim_is_made_in_the_five_words() -> None:
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


def wrong_derivations() -> dict[str, tuple[str, Divergence]]:
    get = fdiv.divergence
    pearson, kl = get("pearson"), get("kl")
    shifted = dataclasses.replace(pearson.conjugate, pieces=pearson.conjugate.pieces[1:])
    half = dataclasses.replace(kl.gaussian, formula=s / 4, gradient_weight_formula=sympy.Rational(1, 4))
    return {
        "another conjugate": ("conjugate on the whole line", replaced("kl", conjugate=get("jeffreys").conjugate)),
        "a dropped branch": ("conjugate on the whole line", replaced("pearson", conjugate=shifted)),
        "a wrong value at zero": ("limits", replaced("pearson", value_at_zero=sympy.Integer(2))),
        "a wrong slope at infinity": ("limits", replaced("squared_hellinger", slope_at_infinity=sympy.Integer(2))),
        "another adjoint": ("adjoint", replaced("kl", adjoint=get("pearson").adjoint)),
        "another activation": ("activation", replaced("kl", activation=get("pearson").activation)),
        "half the Gaussian value": ("D(s)", replaced("kl", gaussian=half)),
        "half the gradient weight": (
            "w(s) = dD/ds >= 0",
            replaced("kl", gaussian=dataclasses.replace(kl.gaussian, gradient_weight_formula=sympy.Rational(1, 4))),
        ),
    }


WRONG = wrong_derivations()


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_derivation_is_not_settled(kind: str) -> None:
    name, divergence = WRONG[kind]
    fdiv.certify.cache_clear()  # equal to the right one, whose certificate may be at hand
    evidence = fdiv.certify(divergence).claim(name).evidence
    fdiv.certify.cache_clear()
    # an adjoint that is not one leaves the claim at best tested by its own limits
    assert evidence == "refuted" or (kind == "another adjoint" and evidence != "proved")


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


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FDIV_CACHE", str(tmp_path))
    fdiv.certify.cache_clear()
    return tmp_path


def fresh(divergence: Divergence) -> Certificate:
    fdiv.certify.cache_clear()
    return fdiv.certify(divergence)


def stored(cache: Path) -> Path:
    (path,) = cache.glob("*.json")
    return path


def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record which consequences are computed."""
    computed: list[str] = []
    judged = certificate._claim

    def spy(name: str, *rest: Any) -> Any:
        computed.append(name)
        return judged(name, *rest)

    monkeypatch.setattr(certificate, "_claim", spy)
    return computed


def test_a_second_run_finds_only_the_foundations_anew(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fresh(fdiv.divergence("kl"))
    computed = calls(monkeypatch)
    assert fresh(fdiv.divergence("kl")) == first
    assert computed == list(CLAIMS[:4])
    json.loads(stored(cache).read_text())  # JSON, and nothing that runs
    if hasattr(os, "getuid"):
        assert not stat.S_IMODE(stored(cache).stat().st_mode) & 0o077


def damages() -> dict[str, Any]:
    def flipped(path: Path) -> None:
        data = json.loads(path.read_text())
        data["content"]["claims"][5]["evidence"] = "certified"
        path.write_text(json.dumps(data))

    return {
        "cut short": lambda path: path.write_text(path.read_text()[:100]),
        "empty": lambda path: path.write_bytes(b""),
        "bytes": lambda path: path.write_bytes(b"\x80\x04\x95" * 50),
        "deep": lambda path: path.write_text("[" * 100_000),
        "huge": lambda path: path.write_text(" " * (1 << 21)),
        "another shape": lambda path: path.write_text('{"key": 1}'),
        "a flipped word": flipped,
        "writable by others": lambda path: path.chmod(0o666),
        "a folder": lambda path: (path.unlink(), path.mkdir()),
    }


@pytest.mark.parametrize("kind", damages())
def test_a_damaged_file_is_as_good_as_none(cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    first = fresh(fdiv.divergence("kl"))
    damages()[kind](stored(cache))
    computed = calls(monkeypatch)
    assert fresh(fdiv.divergence("kl")) == first
    assert tuple(computed) == CLAIMS


def test_other_sources_or_versions_have_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    divergence = fdiv.divergence("kl")
    keys = {store.key(divergence), store.key(fdiv.divergence("pearson"))}
    monkeypatch.setattr(store, "_sources", lambda: "other")
    keys.add(store.key(divergence))
    monkeypatch.setattr(store, "versions", lambda: (("sympy", "0"),))
    assert len({*keys, store.key(divergence)}) == 4


def test_no_file_admits_a_wrong_divergence(cache: Path) -> None:
    """Forge a certificate that claims everything, under the right key and with the right digest."""
    wrong = fdiv.resolve("u*log(u)**2")
    forged = fdiv.certify(fdiv.divergence("kl")).to_dict()
    forged |= {"divergence": wrong.spec, "generator": str(wrong.generator)}
    forged["fingerprint"] = store.fingerprint(wrong.generator)
    store.save(store.key(wrong), forged)
    assert store.load(store.key(wrong)) is not None
    assert not fresh(wrong).accepted
    with pytest.raises(fdiv.Refused):
        fdiv.require(wrong)


def test_a_stored_claim_cannot_be_made_optional_or_left_out(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    divergence = fdiv.divergence("kl")
    whole = fresh(divergence).to_dict()
    lacking = {**whole, "claims": whole["claims"][:-1]}
    optional = {**whole, "claims": [{**claim, "required": False} for claim in whole["claims"]]}
    other = {**whole, "fingerprint": "0" * 64}
    for forged in (lacking, optional, other):
        store.save(store.key(divergence), forged)
        computed = calls(monkeypatch)
        assert fresh(divergence).to_dict() == whole
        assert set(CLAIMS) <= set(computed)


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for place in (str(file / "inside"), "/proc/nowhere", ""):
        monkeypatch.setenv("FDIV_CACHE", place)
        assert fresh(fdiv.divergence("kl")).accepted
    monkeypatch.delenv("FDIV_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.folder() == tmp_path / "fdiv"


def test_many_may_write_one_file_at_once(cache: Path) -> None:
    content = fdiv.certify(fdiv.divergence("kl")).to_dict()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.save("k", content), range(64)))
        found = list(pool.map(lambda _: store.load("k"), range(64)))
    assert all(one == json.loads(json.dumps(content)) for one in found)
    assert not list(cache.glob(".*tmp"))


def test_a_call_is_interrupted_after_its_time_and_a_quick_one_is_not() -> None:
    def forever() -> None:
        while True:
            sum(range(1000))

    with pytest.raises(OutOfTime):
        within(0.1, forever)
    assert within(10, lambda: 3) == 3
    time.sleep(0.2)  # nothing is raised afterwards


def test_what_is_not_settled_in_time_is_open_refused_and_not_stored(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate, "_SECONDS", 0.0)

    def slow(*_: Any) -> Any:
        while True:
            sum(range(1000))

    monkeypatch.setattr(certificate, "_CONSEQUENCES", (("limits", slow), *certificate._CONSEQUENCES[1:]))
    found = fresh(fdiv.resolve("u*log(u)*3"))
    fdiv.certify.cache_clear()
    assert not found.accepted
    assert "not settled in the time allowed" in found.objections[0].reason
    assert not list(cache.glob("*.json"))


def failing(name: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise error("no more room")

    judges = ((known, fail if known == name else judge) for known, judge in certificate._CONSEQUENCES)
    monkeypatch.setattr(certificate, "_CONSEQUENCES", tuple(judges))


@pytest.mark.parametrize("name", ["limits", "large s"])
def test_a_failure_of_one_run_is_not_kept_for_the_next(cache: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with monkeypatch.context() as broken:
        failing(name, ValueError, broken)
        assert "not derived: no more room" in fresh(fdiv.divergence("kl")).claim(name).reason
        failing(name, MemoryError, broken)
        with pytest.raises(MemoryError):
            fresh(fdiv.divergence("kl"))
    assert not list(cache.glob("*.json"))
    assert fresh(fdiv.divergence("kl")).accepted
    assert stored(cache).is_file()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system here")
def test_a_pipe_at_the_place_of_a_certificate_is_not_waited_for(cache: Path) -> None:
    os.mkfifo(cache / f"{store.key(fdiv.divergence('kl'))}.json")
    assert fresh(fdiv.divergence("kl")).accepted


def test_the_folder_may_be_named_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FDIV_CACHE", "~/kept")
    assert store.folder() == tmp_path / "kept"


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("D(s)", fdiv.losses.GaussianLoss),
        ("w(s) = dD/ds >= 0", fdiv.losses.GaussianLoss),
        ("activation", fdiv.losses.VariationalLoss),
    ],
)
@pytest.mark.parametrize("error", [ValueError, OutOfTime])
def test_a_loss_that_time_left_unsettled_is_not_built_and_the_other_is(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, loss: type, error: type[BaseException]
) -> None:
    failing(name, error, monkeypatch)
    fdiv.certify.cache_clear()
    with pytest.raises(fdiv.Refused, match="limit of time or of this software, not of the divergence"):
        loss(fdiv.divergence("kl"))
    if error is ValueError:  # out of time, nothing later is settled either
        other = {fdiv.losses.GaussianLoss, fdiv.losses.VariationalLoss} - {loss}
        other.pop()(fdiv.divergence("kl"))
    fdiv.certify.cache_clear()


@pytest.mark.parametrize("spec", ["kl", "jeffreys", "pearson", "squared_hellinger", "alpha:a=0.3", "taneja_type"])
def test_a_closed_form_is_proved_by_finitely_many_derivatives_and_a_near_one_is_not(spec: str) -> None:
    divergence = fdiv.divergence(spec)
    formula = divergence.gaussian.formula
    assert moments.is_expectation(formula, divergence.pieces)
    for near in (s / 10**30, s**2 / 10**30, sympy.exp(s) / 10**30 - sympy.Rational(1, 10**30)):
        assert not moments.is_expectation(formula + near, divergence.pieces)


monomials = st.tuples(
    st.integers(-3, 3).filter(bool),
    st.fractions(-2, 2, max_denominator=4),
    st.integers(0, 2),
)


def summed(terms: list[tuple[int, Fraction, int]]) -> sympy.Expr:
    parts = (c * u ** sympy.Rational(p.numerator, p.denominator) * sympy.log(u) ** n for c, p, n in terms)
    return sympy.Add(*parts)


@given(st.lists(monomials, min_size=1, max_size=4), st.sampled_from(["", "exp", "log", "root"]))
def test_a_certified_sign_is_the_sign_and_a_refuting_point_refutes(terms: Any, outer: str) -> None:
    inner = summed(terms)
    wrap = {"": inner, "exp": inner + sympy.exp(-u), "log": inner + sympy.log(1 + u), "root": inner + sympy.sqrt(u + 2)}
    expression = wrap[outer]
    if not expression.has(u):
        return
    verdict = ball.certify_sign(expression, sympy.S.Zero, sympy.oo)
    value = sympy.lambdify(u, expression, "mpmath")
    with mpmath.workdps(60):
        if verdict.positive:
            assert all(value(mpmath.exp(mpmath.mpf(x) / 3)) >= -(mpmath.mpf(10) ** -40) for x in range(-150, 151))
        elif verdict.point is not None:
            point, shown = ball.counterexample(expression, verdict.point, sympy.S.Zero, sympy.oo)
            assert value(mpmath.mpf(point.numerator) / point.denominator) < 0
            assert shown < 0


@given(st.lists(monomials, min_size=1, max_size=3), st.sampled_from([-1, 1]), st.integers(1, 30))
def test_the_terms_of_a_tail_contain_the_function(terms: Any, side: int, distance: int) -> None:
    expression = sympy.log(1 + u) + sympy.sqrt(u + summed(terms) ** 2 + 1 / u) + sympy.exp(-u) + 1 / (2 + u)
    tail = tails._Tail(side, 4)
    try:
        expanded = tail.expand(expression)
    except tails.OpenError:
        return
    x = 4 + distance
    with ball.flint.ctx.workprec(300), mpmath.workdps(60):
        total = sum(
            (
                c * ball.arb(x * p.numerator).__truediv__(p.denominator).exp() * ball.arb(x) ** ball.arb(n.numerator)
                for (p, n), c in expanded.items()
            ),
            ball.arb(0),
        )
        truth = sympy.lambdify(u, expression, "mpmath")(mpmath.exp(side * x))
        assert total.overlaps(ball.arb(mpmath.nstr(truth, 50), abs(float(truth)) * 1e-45))
