"""What must be refused, by the mathematics, by the parser and on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

import fdiv
from fdiv.__main__ import main

REFUSED = {
    "u*log(u)**2": r"convexity: .*f''\(u\) = -",
    "-Abs(u-1)/2": r"slope jumps down at u = 1",
    "sqrt(u)-1": r"convexity: .*f''\(u\) = -",
    "u*log(u)+0.1": r"f\(1\) = 1/10",
    "Piecewise((2-2*u, u<1), (u-1, u<2), (u, True))": r"not continuous at u = 2",
    "-log(u)-(1+u)*log((1+u)/2)+u-1": r"convexity: .*f''\(u\) = -",
    "-u*log(u)-(u+1)*log((u+1)/2)": r"convexity",
    "1/(u-2)**2-1": r"pole at u = 2",
    "sqrt(u-1)": r"not real and defined",
    "u**3-3*u**2+2": r"convexity",
}


@pytest.mark.parametrize("text", REFUSED)
def test_it_is_refused_with_its_counterexample(text: str) -> None:
    divergence = fdiv.from_expression(text)
    certificate = fdiv.certify(divergence)
    assert not certificate.accepted
    assert certificate.objections[0].counterexample is not None
    with pytest.raises(fdiv.Refused, match=REFUSED[text]):
        fdiv.require(divergence)


@pytest.mark.parametrize(
    "text",
    [
        "u*log(u)-u+1",
        "0.3*u*log(u) + 0.7*(sqrt(u)-1)**2",
        "Max(0, 2*u-2, 3*u-4)",
        "sqrt((u-1)**2+1)-1",
        "1/u-1",
        "Piecewise((1-u, u<1), (u-1, True))/2",
    ],
)
def test_a_convex_generator_is_accepted_in_any_disguise(text: str) -> None:
    certificate = fdiv.certify(fdiv.from_expression(text))
    assert certificate.accepted, str(certificate)


ATTACKS = [
    "u.__class__",
    "__import__('os').system('true')",
    "(lambda: u)()",
    "[u for u in (1,)]",
    "u**10**9",
    "((u+1)**64*u)**64",
    "9**9**9**9*u",
    "1e999*u",
    "(" * 240 + "u" + ")" * 240,
    "-" * 400 + "u",
    "u+" * 300 + "u",
    "log(log(log(1)))*u",
    "exp(u, u)",
    "x*log(x)",
    "u==1",
    "'u'",
    "u if u else u",
    "f'{u}'",
    "",
    "3",
    "u\x00",
    "True*u",
    "u/0",
    "sqrt(-1)*u",
    "Piecewise((u, u.real < 1), (1, True))",
]


@pytest.mark.parametrize("text", ATTACKS)
def test_the_parser_refuses_quickly_and_runs_nothing(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(fdiv.ExpressionError):
        fdiv.from_expression(text)
    assert time.perf_counter() - start < 1


def test_the_parser_marks_the_place() -> None:
    with pytest.raises(fdiv.ExpressionError, match=r"u \+ \[HERE\]foo"):
        fdiv.from_expression("u + foo")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nonsense", "unknown divergence 'nonsense'; choose from kl, reverse_kl"),
        ("alpha", r"alpha needs a in \[-32, 0\) U \(0, 1\) U \(1, 32\]"),
        ("alpha:a=1", "outside .*limits at 0 and 1 are reverse_kl and kl"),
        ("alpha:a=0", "outside .*limits at 0 and 1 are reverse_kl and kl"),
        ("alpha:a=nan", "outside"),
        ("alpha:a=x", "not a number"),
        ("alpha:b=1", "no parameter 'b'; its parameters: a"),
        ("alpha:a", "not one param=value"),
        ("kl:a=1", "its parameters: none"),
    ],
)
def test_a_wrong_name_or_parameter_is_a_value_error_with_the_choices(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fdiv.divergence(spec)


def test_a_spec_round_trips_and_equal_specs_share_one_object() -> None:
    divergence = fdiv.divergence("alpha", a=0.3)
    assert divergence.spec == "alpha:a=0.3"
    assert fdiv.divergence("alpha:a=0.30") is divergence
    assert fdiv.divergence("alpha:a=2.0").spec == "alpha:a=2"


def test_list_describes_the_whole_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(fdiv.names())
    assert {row["convexity"] for row in rows} == {"proved"}
    assert {row["gaussian"] for row in rows} == {"closed", "quadrature"}
    assert main(["list"]) == 0
    assert "limits at 0 and 1 are reverse_kl and kl" in capsys.readouterr().out


def test_show_prints_what_is_derived(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "squared_hellinger"]) == 0
    shown = capsys.readouterr().out
    assert "2 - 2*exp(-s/8)" in shown
    assert "(-inf, 1)" in shown
    assert main(["show", "total_variation", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["D(s)"] == "erf(sqrt(2)*sqrt(s)/4)"


@pytest.mark.parametrize(
    ("text", "code"),
    [("kl", 0), ("alpha:a=0.3", 0), ("u*log(u)", 0), ("-Abs(u-1)/2", 1), ("alpha:a=1", 2), ("os.system", 2)],
)
def test_check_exits_by_its_verdict(text: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", text, "--json"]) == code
    captured = capsys.readouterr()
    if code == 2:
        assert captured.err.count("\n") == 1
    else:
        assert json.loads(captured.out)["verdict"] == ("accepted" if code == 0 else "refused")


def test_the_command_line_works_in_a_pipe_without_torch() -> None:
    code = "import sys, fdiv.__main__ as m; c = m.main(['check', 'u*log(u)**2']);"
    code += "print('torch' in sys.modules); sys.exit(c)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "refuted" in done.stdout
    assert done.stdout.rstrip().endswith("False")
    assert done.stderr == ""
