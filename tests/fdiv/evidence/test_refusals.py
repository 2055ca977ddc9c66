"""What the mathematics refuses, each with its counterexample, and what it must accept in any disguise."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import fdiv
from fdiv import u
from fdiv.evidence import foundations
from fdiv.numeric.backends import numpy_backend
from fdiv.record import custom

NARROW = (
    "Piecewise(((u-1)**2,u<3),(4+4*(u-3)+(u-3)**2-1e12*1e4*(u-3)**4/3,u<3.00000001),"
    "(4+4*(u-3)+(u-3)**2-1e-12*1e-4/3,True))"
)
REFUSED = {
    "u*log(u)**2": r"convexity: refuted: f''\(u\) is negative.*f''\(u\) = -",
    "-Abs(u-1)/2": r"slope jumps down at u = 1; at u = 1: jump of f' = -1",
    "sqrt(u)-1": r"convexity: refuted: .*f''\(u\) = -",
    "u*log(u)+0.1": r"f\(1\) = 1/10, not 0; f - f\(1\) = u\*log\(u\) has the value 0",
    "u*log(u)-(u+1)*log(u+1)": r"f\(1\) = -log\(4\), not 0; f - f\(1\) = .*\+ log\(4\)",
    "Piecewise((2-2*u, u<1), (u-1, u<2), (u, True))": r"not continuous at u = 2; at u = 2: jump of f = 1",
    "Piecewise((1-u, u<1), (u+1, u<=1), (u-1, True))": r"not continuous at u = 1|f\(1\) = 2",
    "Piecewise(((u-1)**2, u<2), (5, u<=2), ((u-1)**2, True))": r"not continuous at u = 2; at u = 2: jump of f = 4",
    "-log(u)-(1+u)*log((1+u)/2)+u-1": r"convexity: refuted: .*f''\(u\) = -",
    "-u*log(u)-(u+1)*log((u+1)/2)": r"convexity: refuted",
    "1/(u-2)**2-1": r"pole at u = 2",
    "1/log(u)": r"f\(1\) = .* not a real number",
    "sqrt(u-1)": r"not real and defined.*at u = 0.5: f\(u\) is 0.707107\*I, not a real number",
    "log(2*u-1)": r"not real and defined|pole",
    "Piecewise((u*log(u), u<3), (u-1, u<1))": r"at u = 4: f\(u\) is undefined, not a real number",
    "u**3-3*u**2+2": r"convexity: refuted",
    "Abs(log(u))": r"convexity: refuted",
    "u-1": r"not affine: refuted: f is affine, so D_f\(P\|\|Q\) = 0 for all P and Q",
    "u*log(u)+0.3*(u-1)*exp(-4*(u-3)**2)": r"convexity: refuted: .*f''\(u\) = -",
    # f'' = -log(u) is no counterexample at u = 1, where it is 0
    "3*u**2/4-u**2*log(u)/2-3/4": r"convexity: refuted: f''\(u\) is negative.*f''\(u\) = -",
    # one odd point between two equal limits, at a root of the condition
    "Piecewise(((u-1)**2,u**2<4),((u-1)**2+1,u**2<=4),((u-1)**2,True))": r"not continuous at u = 2.*jump of f = 1",
    "Piecewise(((u-1)**2,u+log(u)<4),((u-1)**2+1,u+log(u)<=4),((u-1)**2,True))": r"not continuous.*jump of f = 1",
    "Piecewise(((u-1)**2,u**5+u<4),((u-1)**2+1,u**5+u<=4),((u-1)**2,True))": r"not continuous.*jump of f = 1",
    "Piecewise(((u-1)**2,Abs(u-3)>0),((u-1)**2+1,True))": r"not continuous at u = 3",
    # a piece narrower than any isolating interval, and a change of sign beyond where anyone would look
    NARROW: r"convexity: refuted: f''\(u\) is negative",
    "1e-12*1e-4*(1/(2*u)+1e-5*log(u)-1/2)": r"convexity: refuted: f''\(u\) is negative",
    "u*log(u)-1e-12*1e-12*1e-12*(u-1)**2": r"convexity: refuted: f''\(u\) is negative",
    "u*log(u)-1e-12*1e-12*1e-12*pi*(u-1)**2": r"convexity: refuted: f''\(u\) is negative",
    # a concave bump between two roots of a quintic, or of an equation that W0 solves only in part
    "(u-1)**2+1000*Max(0,1e-3-(u-2)**2*(u**3+pi*u+1))": r"convexity: refuted: f''\(u\) is negative",
    "Max(0,u*exp(-u/20)-7.3575888)": r"convexity: refuted: f''\(u\) is negative",
}


@pytest.mark.parametrize("text", REFUSED)
def test_it_is_refused_with_its_counterexample(text: str) -> None:
    divergence = fdiv.from_expression(text)
    certificate = fdiv.certify(divergence)
    assert not certificate.accepted
    objection = certificate.objections[0]
    assert objection.evidence == "refuted"
    assert objection.counterexample is not None
    with pytest.raises(fdiv.Refused, match=REFUSED[text]):
        fdiv.require(divergence)


BEYOND_THE_PARSER = {
    "a sine that bends a convex function": u * sympy.log(u) + (sympy.sin(50 * u) - sympy.sin(50)) / 10**4,
    "a complex value": u * sympy.log(u) + sympy.I * (u - 1),
    "poles": sympy.tan(u) - sympy.tan(1),
}


@pytest.mark.parametrize("name", BEYOND_THE_PARSER)
def test_what_only_sympy_can_write_is_refused_with_its_counterexample(name: str) -> None:
    certificate = fdiv.certify(custom(BEYOND_THE_PARSER[name]))
    assert certificate.objections[0].evidence == "refuted"
    assert certificate.objections[0].counterexample is not None


@pytest.mark.parametrize("generator", [sympy.floor(u) - 1, sympy.Heaviside(u - 2), sympy.Integral(u, (u, 1, u))])
def test_what_cannot_be_derived_is_refused_and_not_raised(generator: sympy.Expr) -> None:
    assert not fdiv.certify(custom(generator)).accepted


@pytest.mark.parametrize("function", [sympy.floor, sympy.sign, sympy.Heaviside, sympy.frac, sympy.tan])
def test_a_function_that_may_jump_is_not_proved_finite(function: type) -> None:
    third = sympy.Rational(1, 3)
    divergence = custom(u * sympy.log(u) + function(u - 2 * third) - function(third))
    assert foundations.finite(divergence).evidence in ("tested", "refuted")


CONCAVE_SOMEWHERE = [text for text, message in REFUSED.items() if "f''" in message]


@pytest.mark.parametrize("text", CONCAVE_SOMEWHERE)
def test_a_counterexample_can_be_checked_by_hand(text: str) -> None:
    divergence = fdiv.from_expression(text)
    shown = fdiv.certify(divergence).objections[0].counterexample
    assert shown is not None
    with mpmath.workdps(60):
        f = sympy.lambdify(u, divergence.generator, "mpmath")
        at, step = mpmath.mpf(shown.point), mpmath.mpf(shown.point) / 10**12
        chord = (f(at - step) + f(at + step)) / 2
        assert chord < f(at)  # the chord lies below the function
        assert float(2 * (chord - f(at)) / step**2) == pytest.approx(shown.value, rel=1e-6)


def accepted(generator: sympy.Expr) -> fdiv.Certificate:
    certificate = fdiv.certify(custom(generator))
    assert certificate.accepted, str(certificate)
    return certificate


@pytest.mark.parametrize(
    "text",
    [
        "u*log(u)-u+1",
        "log(u**3)*u/3 + Max(u-1, 1-u)",
        "0.3*u*log(u) + 0.7*(sqrt(u)-1)**2",
        "Max(u*log(u), 0)",
        "Max(3, sqrt(u))**3 - 27",
        "1/u-1",
        "Piecewise((1-u, u<1), (u-1, True))/2",
        "Abs(u-1)**1.5",
        "exp(-u)-exp(-1)",
        "u*log(u) - log(u)/2 - Min(u, 1) + 1",
        "sqrt((u-1)**2+1)-1",
        "sqrt((u-3)**2+1)-sqrt(5)",
        "log(1+exp(1-u))-log(2)",
        "u*log(u)+1e-7*Abs(u-3)**1.5-1e-7*2**1.5",
        "Piecewise(((u-1)**2, u**5+u<4), ((u-1)**2, True))",
        "sqrt(u**2+1)-sqrt(2)",
        "(u-1)**4",
        "exp(1-u)-1",
        "log(1+exp(10-u))-log(1+exp(9))",
        "Max(u*log(u)-u+1, (u-1)**2/4)",
        "Max(u**2-1, exp(u)-E)",
        "Max(-log(u), u*log(u), exp(1-u)-1)",
        "Max(sqrt((u-1)**2+1)-1, u*log(u)-u+1)",
        "Abs(u-1)**1.765432",
    ],
)
def test_a_convex_generator_is_accepted_in_any_disguise(text: str) -> None:
    accepted(fdiv.from_expression(text).generator)


def test_two_branches_of_a_maximum_cross_at_a_number_known_to_any_precision() -> None:
    divergence = fdiv.from_expression("Max(u*log(u)-u+1, (u-1)**2/4)")
    ((place, jump),) = divergence.kinks  # and not at 1, where they touch
    with mpmath.workdps(120):
        truth = mpmath.findroot(lambda x: x * mpmath.log(x) - x + 1 - (x - 1) ** 2 / 4, 5)
        assert abs(mpmath.mpmathify(place.evalf(110)) - truth) < mpmath.mpf(10) ** -105
        k, end = truth, (truth - 1) / 2
        assert float(jump) == pytest.approx(float(end - mpmath.log(k)), rel=1e-14)
        for t in (mpmath.log(k) - 1, (mpmath.log(k) + end) / 2, end + 3):
            pieces = (mpmath.exp(t) - 1, k * t - (k - 1) ** 2 / 4, t * t + t)
            expected = pieces[(t > mpmath.log(k)) + (t > end)]
            assert divergence.conjugate(float(t)) == pytest.approx(float(expected), rel=1e-14)


def test_where_a_maximum_outgrows_every_power_there_is_no_gaussian_loss() -> None:
    divergence = fdiv.from_expression("Max(u**2-1, exp(u)-E)")
    assert [place for place, _ in divergence.kinks] == [1]
    assert divergence.gaussian.kind == "infinite"


def test_what_is_not_settled_is_called_a_limit_of_the_software_and_refuted_by_nothing() -> None:
    divergence = custom(sympy.Max(sympy.loggamma(u), u - 1))
    certificate = fdiv.certify(divergence)
    assert not any(claim.evidence == "refuted" for claim in certificate.claims)
    assert str(certificate).endswith("limit of this software, and not of the mathematics")
    with pytest.raises(fdiv.Refused, match="limit of this software"):
        fdiv.require(divergence)


@pytest.mark.parametrize(("text", "truth"), [
    ("sqrt((u-1)**2+1)-1", lambda t: t + 1 - mpmath.sqrt(1 - t * t)),
    ("sqrt((u-3)**2+1)-sqrt(5)", lambda t: 3 * t + mpmath.sqrt(5) - mpmath.sqrt(1 - t * t)),
    ("sqrt(u**2+1)-sqrt(2)", lambda t: mpmath.sqrt(2) - mpmath.sqrt(1 - t * t)),
    ("log(1+exp(1-u))-log(2)", lambda t: t + mpmath.log(2) + (1 + t) * mpmath.log(1 + t) - t * mpmath.log(-t)),
    ("(u-1)**4", lambda t: t + 3 * mpmath.cbrt(t / 4) ** 4),
    ("exp(1-u)-1", lambda t: 2 * t + 1 - t * mpmath.log(-t)),
])  # fmt: skip
def test_the_conjugate_of_a_generator_with_a_finite_slope_at_infinity_is_exact_up_to_that_slope(text, truth) -> None:  # type: ignore[no-untyped-def]
    divergence = fdiv.from_expression(text)
    end = min(float(divergence.slope_at_infinity), 3.0)
    numbers = divergence.conjugate.on(numpy_backend())
    for distance in (1e-8, 1e-3, 0.0876, 0.1, 0.25):
        with mpmath.workdps(30), np.errstate(all="ignore"):
            expected = float(truth(mpmath.mpf(end - distance)))
            assert float(numbers(np.array(end - distance))) == pytest.approx(expected, rel=1e-9)


NO_SHRINKING = (Phase.explicit, Phase.generate)  # each example takes a second
SMOOTH = ("kl", "reverse_kl", "pearson", "squared_hellinger", "triangular", "shifted_log", "alpha:a=0.3")


@settings(max_examples=2, phases=NO_SHRINKING)
@given(
    st.lists(st.sampled_from(SMOOTH), min_size=2, max_size=2, unique=True),
    st.fractions(min_value="1/8", max_value="7/8", max_denominator=8),
    st.sampled_from(["1/1000", "3", "40"]),
)
def test_a_convex_combination_of_the_catalogue_is_accepted_at_any_scale(pair, share, scale) -> None:  # type: ignore[no-untyped-def]
    first, second = (fdiv.divergence(spec).generator for spec in pair)
    share = sympy.Rational(share.numerator, share.denominator)
    certificate = accepted(sympy.Rational(scale) * (share * first + (1 - share) * second))
    assert certificate.claim("convexity").evidence in ("proved", "certified")


@settings(max_examples=2, phases=NO_SHRINKING)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(1, 6)), min_size=2, max_size=4, unique=True))
def test_a_maximum_of_affine_functions_is_accepted(lines: list[tuple[int, int]]) -> None:
    functions = [slope * (u - sympy.Rational(place, 2)) for slope, place in lines]
    generator = sympy.Max(*functions)
    generator -= generator.subs(u, 1)
    certificate = fdiv.certify(custom(generator))
    affine = not generator.has(sympy.Max)
    assert certificate.accepted or affine or certificate.objections[0].name == "not affine", str(certificate)


@settings(max_examples=3, phases=NO_SHRINKING)
@given(st.sampled_from(SMOOTH), st.integers(-3, 3), st.sampled_from(["expand", "together", "simplify", "adjoint"]))
def test_a_disguised_entry_is_accepted(spec: str, slope: int, disguise: str) -> None:
    divergence = fdiv.divergence(spec)
    hidden = divergence.generator + slope * (u - 1)
    hidden = u * hidden.subs(u, 1 / u) if disguise == "adjoint" else getattr(sympy, disguise)(hidden)
    found = custom(hidden)
    accepted(hidden)
    assert found.gaussian(0.7) == pytest.approx(divergence.gaussian(0.7), rel=1e-11)
