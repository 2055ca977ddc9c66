"""The parser of typed generators: what it reads, what it refuses and how fast, and that it runs nothing."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sympy import Rational

import fdiv

ATTACKS = {
    "u.__class__": 1,
    "u + u.real": 5,
    "__import__('os').system('true')": 0,
    "(lambda: u)()": 1,
    "lambda: u": 0,
    "[u for u in (1,)]": 0,
    "(x := u)": 1,
    "u if u else u": 2,
    "u and u": 2,
    "f'{u}'": 0,
    "'u'": 0,
    "u; u": 1,
    "u # u": 2,
    "u\\\nu": 1,
    "u@u": 1,
    "u//2": 1,
    "u%2": 1,
    "u==1": 1,
    "~u": 0,
    "u*é": 2,
    "u\x00": 1,
    "1_000*u": 1,
    "0x10*u": 1,
    "2j*u": 1,
    "True*u": 0,
    "x*log(x)": 0,
    "sin(u)": 0,
    "abs(u-1)": 0,
    "u**10**9": 3,
    "u**65": 3,
    "u**u": 3,
    "exp(exp(u))": 4,
    "2**(2**u)": 4,
    "9**9**9**9*u": 6,
    "1e999*u": 0,
    "u*log(u)-1e-400*u**2": 9,
    "((u+1)**64*u)**64": 0,
    "(u**64)**64": 0,
    "(" * 240 + "u" + ")" * 240: 40,
    "-" * 400 + "u": 41,
    "u+" * 300 + "u": 500,
    "u*1e12*1e12*1e12*1e12": 0,
    "1e12*1e12*1e12*1e12*u": 0,
    "log(log(log(1)))*u": 4,
    "sqrt(-1)*u": 0,
    "(-8)**(1/3)*u": 0,
    "0**-1*u": 0,
    "u/0": 2,
    "1/(u-u)": 0,
    "exp(u, u)": 0,
    "Max(u)": 0,
    "log": 0,
    "log(*u)": 4,
    "log(x=u)": 4,
    "Piecewise(u)": 10,
    "Piecewise((u, u.real < 1), (1, True))": 15,
    "Piecewise((u, 1 < u < 2), (1, True))": 14,
    "u < 1": 0,
    "()": 0,
    "u,": 0,
    "": 0,
    "   ": 0,
    "3": 0,
    "u - u": 0,
    "u +": 3,
    "(u": 0,
}


def refusal(text: str) -> tuple[fdiv.ExpressionError, float]:
    """Return the refusal and the least time of three, so that a busy machine is not mistaken for a slow parser."""
    seconds, error = math.inf, None
    for _ in range(3):
        start = time.perf_counter()
        with pytest.raises(fdiv.ExpressionError) as raised:
            fdiv.from_expression(text)
        seconds, error = min(seconds, time.perf_counter() - start), raised.value
    assert error is not None
    return error, seconds


@pytest.mark.parametrize("text", ATTACKS)
def test_it_refuses_in_under_ten_milliseconds_and_marks_the_place(text: str) -> None:
    error, seconds = refusal(text)
    assert seconds < 0.01
    assert error.column == ATTACKS[text]
    assert "[HERE]" in str(error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ln(u)", "unknown name 'ln'; write log"),
        ("u*Ln(u)", "unknown name 'Ln'; write log"),
        ("u^2-1", r"'\^' is not allowed in a generator; write \*\*"),
        ("pow(u,2)-1", r"unknown name 'pow'; write \*\*"),
        ("max(u,1)-1", "unknown name 'max'; write Max"),
        ("+".join(["u"] * 50), r"a sum or product of 50 terms and factors in a row, where 41 are read, .*\+\[HERE\]u"),
        ("log(" + "*".join(["u"] * 50) + ")", "50 terms and factors in a row, where 40 are read"),
        ("(" * 39 + "u" + "+1)" * 39 + "+1+1+1", "nested more than 40 deep"),
    ],
)
def test_a_refusal_says_what_to_write_instead(text: str, message: str) -> None:
    with pytest.raises(fdiv.ExpressionError, match=message):
        fdiv.from_expression(text)


def test_a_sum_of_as_many_terms_as_are_read_is_read() -> None:
    assert fdiv.from_expression("+".join(["u"] * 41)).generator == 41 * fdiv.u


EVENTS: list[str] = []
_LISTENING = [False]


def _hear(event: str, arguments: Any) -> None:
    if _LISTENING[0] and event.split(".")[0] in ("exec", "os", "open", "subprocess", "socket", "shutil", "ctypes"):
        EVENTS.append(event)


sys.addaudithook(_hear)


def test_it_runs_nothing() -> None:
    def parse() -> None:
        for text in [*ATTACKS, "Piecewise((Abs(u-1), u < 2), (exp(u)*sqrt(u)+Max(u,2)-Min(u,3), True))"]:
            try:
                fdiv.from_expression(text)
            except fdiv.ExpressionError:
                continue

    parse()  # SymPy loads what it needs
    EVENTS.clear()
    _LISTENING[0] = True
    parse()
    _LISTENING[0] = False
    # the time limit withdraws its own interruption through ctypes
    assert {event for event in EVENTS if not event.startswith("ctypes")} == set()


numbers = st.sampled_from(["1", "2", "3", "0.5", "1.25", "10", "1e-3", "pi", "E"])


def grammar(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda p: f"({p[0]}) {p[1]} ({p[2]})"),
        st.tuples(inner, st.sampled_from(["2", "3", "0.5", "-1", "1/3", "-2.5"])).map(lambda p: f"({p[0]})**({p[1]})"),
        st.tuples(st.sampled_from(["log", "exp", "sqrt", "Abs"]), inner).map(lambda p: f"{p[0]}({p[1]})"),
        pairs.map(lambda p: f"Max({p[0]}, {p[1]})"),
        pairs.map(lambda p: f"Min({p[0]}, {p[1]})"),
        pairs.map(lambda p: f"Piecewise(({p[0]}, u < 1), ({p[1]}, True))"),
    )


expressions = st.recursive(st.one_of(st.just("u"), numbers), grammar, max_leaves=7)


def plain_value(text: str, ratio: float) -> complex:
    """Python's own arithmetic, which this project never lets near a user's text."""
    import cmath

    names: dict[str, Any] = {
        "u": ratio,
        "pi": math.pi,
        "E": math.e,
        "log": cmath.log,
        "exp": cmath.exp,
        "sqrt": cmath.sqrt,
        "Abs": abs,
        "Max": lambda *z: max(z, key=lambda x: complex(x).real),
        "Min": lambda *z: min(z, key=lambda x: complex(x).real),
        "Piecewise": lambda *pairs: next(value for value, condition in pairs if condition),
    }
    return complex(eval(text, {"__builtins__": {}}, names))


@settings(max_examples=150)
@given(expressions, st.sampled_from([0.37, 0.9, 1.6, 4.2]))
@example("Piecewise((u, u < 1), (2*u - 1, True))", 0.5)
def test_what_it_reads_has_the_value_that_python_gives(text: str, ratio: float) -> None:
    try:
        generator = fdiv.from_expression(text).generator
    except fdiv.ExpressionError:
        return
    try:
        truth = plain_value(text, ratio)
    except (ArithmeticError, ValueError, TypeError):
        return
    value = complex(generator.subs(fdiv.u, ratio).evalf(30))
    if abs(truth.imag) < 1e-9 and abs(truth) < 1e12:
        assert value == pytest.approx(truth, rel=1e-6, abs=1e-6)


@settings(max_examples=300)
@given(st.one_of(st.text(max_size=60), st.binary(max_size=60).map(lambda b: b.decode("latin-1"))))
def test_noise_is_read_or_refused(text: str) -> None:
    try:
        fdiv.from_expression(text)
    except fdiv.ExpressionError as error:
        column = error.column
    else:
        return
    assert 0 <= column <= max(len(text), 1)


@settings(max_examples=200)
@given(expressions, st.integers(0, 80), st.text("u01.e+-*/(),<= logxpsqrtAbMPi_[]{}:\"'\\", max_size=4))
def test_a_damaged_generator_is_read_or_refused(text: str, place: int, noise: str) -> None:
    try:
        fdiv.from_expression(text[:place] + noise + text[place + 1 :])
    except fdiv.ExpressionError:
        return


def certified_in_bounded_time(text: str) -> None:
    """Subtract the value at 1, which is what most texts lack."""
    text = f"{text} - ({text.replace('u', '1')})"
    try:
        divergence = fdiv.from_expression(text)
    except fdiv.ExpressionError:
        return
    start = time.thread_time()
    certificate = fdiv.certify(divergence)
    assert time.thread_time() - start < 45
    assert certificate.accepted or certificate.objections
    if not certificate.accepted:
        with pytest.raises(fdiv.Refused):
            fdiv.require(divergence)


@settings(max_examples=12)
@given(expressions)
def test_certify_ends_and_raises_nothing_whatever_is_read(text: str) -> None:
    certified_in_bounded_time(text)


@pytest.mark.slow
@settings(max_examples=400)
@given(expressions)
def test_certify_ends_and_raises_nothing_whatever_is_read_at_length(text: str) -> None:
    certified_in_bounded_time(text)


@pytest.mark.parametrize(
    ("text", "generator"),
    [
        ("u*log(u)", fdiv.u * fdiv.from_expression("log(u)").generator),
        (" u * log(u)\n", fdiv.u * fdiv.from_expression("log(u)").generator),
        ("E**u/E", fdiv.from_expression("exp(u - 1)").generator),
        ("u**2 - 1.00000000000000000001", fdiv.u**2 - 1 - Rational(1, 10**20)),
        (".12345678901234567890*u + 5.E-1", Rational(1234567890123456789, 10**19) * fdiv.u + Rational(1, 2)),
    ],
)
def test_a_generator_is_read_as_written(text: str, generator: Any) -> None:
    assert fdiv.from_expression(text).generator.equals(generator)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("(u-1)**2+log(u-3)-log(u-3)", r"\[HERE\]log\(u-3\)-log"),
        ("u*log(u)+0*log(u-2)", r"\[HERE\]log\(u-2\)"),
        ("sqrt(u-2)**2-u+2+u*log(u)", r"\[HERE\]sqrt\(u-2\)"),
        ("sqrt(u-2)**2*(u-2)-u*log(u)", r"\[HERE\]sqrt\(u-2\)"),
        ("exp(log(u-2))+u*log(u)+1", r"\[HERE\]log\(u-2\)"),
        ("((u-2)**0.7)**10+u*log(u)-1", r"\[HERE\]\(u-2\)\*\*0.7"),
    ],
)
def test_what_is_not_real_is_refused_though_it_cancels(text: str, place: str) -> None:
    with pytest.raises(fdiv.ExpressionError, match=f"a log or root of what is negative for some u.*{place}"):
        fdiv.from_expression(text)


@pytest.mark.parametrize(
    "text", ["sqrt(u**2)*log(u)", "exp(log(u)*2)-1", "Piecewise((2-sqrt(4-4*u)-2*u, u<1), (u*log(u), True))"]
)
def test_what_cancels_and_is_real_is_read(text: str) -> None:
    assert fdiv.from_expression(text).generator.has(fdiv.u)


def test_powers_of_numbers_are_on_one_base() -> None:
    """Far out 10^u is infinite and 21^(-u) zero in every number format, and (10/21)^u is neither."""
    divergence = fdiv.resolve("2**u*3**-u*5**u/7**u - 10/21")
    assert divergence.generator == Rational(10, 21) ** fdiv.u - Rational(10, 21)
    assert divergence.between([0.2, 0.8], [0.5, 0.5]) == pytest.approx(
        0.5 * ((10 / 21) ** 0.4 + (10 / 21) ** 1.6) - 10 / 21
    )


def test_digits_beyond_those_of_a_float_count() -> None:
    """Read as floats, both conditions would be the same, and this would be (u - 1)^2; it jumps above sqrt(2)."""
    text = "Piecewise(((u-1)**2,u<1.41421356237309504880),(0,u<1.4142135623730951),((u-1)**2,True))"
    assert fdiv.certify(text).claim("convexity").evidence is fdiv.Evidence.REFUTED
    assert fdiv.certify("u**2-1.00000000000000000001").claim("f(1) = 0").evidence is fdiv.Evidence.REFUTED


def test_a_typed_generator_is_named_by_its_text_and_can_be_resolved_again() -> None:
    divergence = fdiv.resolve("  u*log(u)  -  u + 1 ")
    assert divergence.spec == "u*log(u) - u + 1"
    assert fdiv.resolve(divergence.spec) == divergence
