"""Where a divergence comes from: a catalogue name with parameters, a Python file, or a wrapper that is none."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import FunctionType

import pytest

import fdiv
from fdiv import monotone
from fdiv.exact.symbols import s, t, v
from fdiv.show.describe import catalogue_row
from tests.fdiv.commands import run

GUIDE = Path(__file__).parents[2] / "docs" / "adding-a-divergence.md"


@pytest.mark.parametrize("text", ["u*log(u)**2", "mine.py:careful", "u", ""])
def test_the_catalogue_sends_expressions_and_files_to_the_function_that_reads_them(text: str) -> None:
    with pytest.raises(fdiv.UnknownDivergence, match=r"fdiv\.resolve" if text != "u" else "choose from kl"):
        fdiv.divergence(text)


@pytest.mark.parametrize("name", ["renyi", "renyi:a=0.5", "chernoff", "bhattacharyya"])
def test_a_wrapper_is_named_with_its_divergence_and_its_use(name: str) -> None:
    code, out, err = run("show", name)
    assert (code, out) == (2, "")
    assert "monotone wrapper of alpha" in err
    assert f"fdiv.monotone.{name.partition(':')[0]}(" in err
    assert "log E" in err or "log(E" in err


def test_every_monotone_wrapper_says_what_it_is_and_how_it_is_called() -> None:
    functions = [value for value in vars(monotone).values() if isinstance(value, FunctionType)]
    own = {function.__name__ for function in functions if function.__module__ == monotone.__name__}
    assert set(monotone.WRAPPERS) == {name for name in own if not name.startswith("_")}
    for name, wrapper in monotone.WRAPPERS.items():
        found = eval(wrapper.call, {name: getattr(monotone, name), "order": 0.5})
        assert (found.name, found.divergence.name) == (name, "alpha")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nonsense", "unknown divergence 'nonsense'; choose from kl, reverse_kl"),
        ("jensen_shanon", "'jensen_shanon'; did you mean jensen_shannon"),
        ("Hellinger", "'Hellinger'; did you mean hellinger"),
        ("alpha", "alpha needs a in "),
        ("alpha:a=-400", "outside"),
        ("alpha:a=nan", "outside"),
        ("alpha:a=x", "not a number"),
        ("alpha:b=1", "no parameter 'b'; its parameters: a"),
        ("alpha:a", "not one param=value"),
        ("alpha:a=1,a=2", "not one param=value"),
        ("kl:a=1", "its parameters: none"),
    ],
)
def test_a_wrong_name_or_parameter_is_a_value_error_with_the_choices(spec: str, message: str) -> None:
    for look_up in (fdiv.divergence, fdiv.resolve):
        with pytest.raises(ValueError, match=message):
            look_up(spec)


def test_a_spec_round_trips_and_equal_specs_share_one_object() -> None:
    divergence = fdiv.divergence("alpha", a=0.3)
    assert divergence.spec == "alpha:a=0.3"
    assert fdiv.divergence("alpha:a=0.30") is divergence
    assert fdiv.divergence("alpha:a=2.0").spec == "alpha:a=2"
    assert math.isclose(divergence.parameters["a"], 0.3)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("skew_kl:pi=1e-9", r"\[1e-06, 0.999999\] U \{1\}: .* nearer than 1e-6 to 0 or 1 .* lost in rounding"),
        ("blended_chi_squared:la=1e-9", r"\{0\} U \[1e-06, 0.999999\] U \{1\}: .* lost in rounding"),
        ("vajda:k=1.001", r"\[1.05, 16\]: .* doubles do not resolve .* at 1 it is twice total variation"),
        ("puri_vincze:k=1.001", r"\{1\} U \[1.05, 16\]: .* doubles do not resolve"),
    ],
)
def test_nearer_than_doubles_resolve_it_is_refused_with_the_reason_and_the_choices(spec: str, message: str) -> None:
    with pytest.raises(fdiv.ParameterError, match=message):
        fdiv.divergence(spec)


@pytest.mark.parametrize("name", [name for name, record in fdiv.CATALOG.items() if record.parameters])
def test_a_missing_parameter_is_asked_for_with_an_example_that_can_be_used(name: str) -> None:
    with pytest.raises(fdiv.ParameterError, match=f"{name} needs .*, for example ") as refused:
        fdiv.divergence(name)
    assert fdiv.divergence(str(refused.value).split("for example ")[1]).parameters


def test_no_parameter_is_one_of_the_symbols_that_formulas_are_derived_in() -> None:
    for record in fdiv.CATALOG.values():
        assert not record.generator.free_symbols & {s, t, v}, record.name
        names = {symbol.name for symbol in record.generator.free_symbols - {fdiv.u}}
        assert names == {parameter.name for parameter in record.parameters}


def test_a_parameter_may_be_a_fraction_and_its_domain_is_shown_as_typed() -> None:
    assert fdiv.resolve("cressie_read:la=2/3") == fdiv.resolve("cressie_read:la=0.6666666666666666")
    with pytest.raises(fdiv.ParameterError, match="'1/0' is not a number"):
        fdiv.resolve("alpha:a=1/0")
    assert catalogue_row(fdiv.CATALOG["osterreicher_vajda"])["parameters"][0]["domain"] == "[1/8, 16]"


def test_a_certificate_is_given_for_whatever_can_be_looked_up(tmp_path: Path) -> None:
    assert fdiv.certify("js") == fdiv.certify(fdiv.divergence("jensen_shannon"))
    assert not fdiv.certify("u*log(u)**2").accepted
    with pytest.raises(fdiv.Refused, match="convexity: refuted"):
        fdiv.require("u*log(u)**2")
    with pytest.raises(fdiv.UnknownDivergence, match="did you mean"):
        fdiv.certify("jensen_shanon")
    with pytest.raises(TypeError, match=r"got 3.*fdiv\.divergence"):
        fdiv.certify(3)  # type: ignore[arg-type]


FILE = """
import sympy
from fdiv import Interval, Parameter, Record, divergence, u
a = sympy.Symbol("a", real=True)
expression = u*sympy.log(u)
record = Record("mine", "mine", (u - 1)**2, "me")
family = Record("family", "family", a*(u - 1)**2, "me", (Parameter("a", (Interval(0, 9),), "it is a scale", 2.0),))
bound = divergence("alpha:a=0.3")
wiggly = u*sympy.log(u) + sympy.sin(9*u)/9 - sympy.sin(9)/9
foreign = sympy.Symbol("u")**2 - 1
number = 3
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize("name", ["expression", "record", "family:a=2", "bound"])
def test_a_divergence_in_a_file_is_found_again_by_its_spec(mine: Path, name: str) -> None:
    found = fdiv.resolve(f"{mine}:{name}")
    assert found.spec == f"{mine}:{name}"
    assert fdiv.resolve(found.spec) == found
    assert fdiv.certify(found).accepted


def test_a_function_that_no_expression_may_have_is_judged_by_the_mathematics_in_a_file(mine: Path) -> None:
    code, out, _ = run("check", f"{mine}:wiggly")
    assert code == 1
    assert re.search(r"convexity +refuted.*\n +at u = .*f''\(u\) = -", out)
    code, out, err = run("check", "u*log(u) + sin(9*u)/9 - sin(9)/9")
    assert (code, out) == (2, "")
    assert "unknown name 'sin'" in err
    assert "sin(9*u)/9 - sin(9)/9` in a\nfile" in GUIDE.read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "no 'absent'; the divergences in it: bound, expression, family, record, wiggly"),
        ("", "no ''"),
        ("__builtins__", "no '__builtins__'"),
        ("number", "is a int, not a Record"),
        ("foreign", "from fdiv import u"),
        ("family", "needs a in"),
        ("family:a=99", "it is a scale"),
        ("family:a", "not one param=value"),
        ("expression:a=1", "has no parameters"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_plainly(mine: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fdiv.resolve(f"{mine}:{name}")


@pytest.mark.parametrize("body", ["1/0", "raise SystemExit(3)", "def", "import nowhere_at_all"])
def test_a_failure_inside_a_file_is_reported_as_its_own(tmp_path: Path, body: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(body)
    with pytest.raises(fdiv.DivergenceFileError, match=r"broken.py failed with"):
        fdiv.resolve(f"{path}:x")
