"""D(s) and w(s) against quadratures and formulas written by hand, and the reduction to MSE."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import erf, erfcx
from test_fdiv_laws import SPECS, every_divergence, few

import fdiv
from fdiv.calculus import u

SMOOTH = [spec for spec in SPECS if len(fdiv.divergence(spec).pieces) == 1]  # at a kink f'' has a mass


def expectation(divergence: fdiv.Divergence, s: float) -> float:
    """E_Q[f] between two normals, by SciPy in fp64; a tangent drops out and removes the cancellation at small s."""
    f = sympy.lambdify(u, divergence.generator, ["scipy", "numpy"])
    root, tangent = math.sqrt(s), float(divergence.slope_at_one)

    def integrand(y: float) -> float:
        ratio = math.exp(root * y - s / 2)
        return float(f(np.float64(ratio)) - tangent * (ratio - 1)) * math.exp(-y * y / 2)

    parts = [
        quad(integrand, a, b, epsabs=1e-14, epsrel=1e-11)[0] for a, b in ((-9, root / 2), (root / 2, 9 + 2 * root))
    ]
    return sum(parts) / math.sqrt(2 * math.pi)


@every_divergence
@pytest.mark.parametrize("s", [0.3, 2.0])
def test_its_gaussian_value_is_the_expectation_of_f(spec: str, s: float) -> None:
    divergence = fdiv.divergence(spec)
    assert divergence.gaussian(s) == pytest.approx(expectation(divergence, s), rel=1e-8)


@every_divergence
@few
@given(x=st.floats(-9, 0.3))
def test_its_gradient_weight_is_the_derivative_of_its_value(spec: str, x: float) -> None:
    gaussian, s = fdiv.divergence(spec).gaussian, 10**x
    step = s / 400
    near, far = (gaussian(s + k * step) - gaussian(s - k * step) for k in (1, 2))
    assert gaussian.gradient_weight(s) == pytest.approx((8 * near - far) / (12 * step), rel=1e-6)
    assert gaussian.gradient_weight(s) >= 0


@pytest.mark.parametrize("spec", SMOOTH)
@pytest.mark.parametrize("s", [0.4, 1.7, 9.0])
def test_its_gradient_weight_is_half_the_expectation_of_u_squared_f_second(spec: str, s: float) -> None:
    divergence = fdiv.divergence(spec)
    second = sympy.lambdify(u, u**2 * sympy.diff(divergence.generator, u, 2), "numpy")
    y = np.linspace(-12, 16, 4001)
    mean = (
        np.sum(second(np.exp(math.sqrt(s) * y - s / 2)) * np.exp(-y * y / 2)) * (y[1] - y[0]) / math.sqrt(2 * math.pi)
    )
    assert divergence.gaussian.gradient_weight(s) == pytest.approx(mean / 2, rel=1e-8)


@every_divergence
def test_it_reduces_to_half_the_curvature_times_s(spec: str) -> None:
    divergence = fdiv.divergence(spec)
    claim = fdiv.certify(divergence).claim("reduction to MSE")
    if divergence.curvature is None or not divergence.curvature.is_finite or divergence.curvature == 0:
        assert claim.evidence == "not applicable"
        return
    assert claim.evidence in ("proved", "tested")
    second = sympy.diff(divergence.generator, u, 2).subs(u, 1)
    for s in (1e-12, 1e-8, 1e-5):
        assert divergence.gaussian(s) / s == pytest.approx(float(second) / 2, rel=5e-3 if s > 1e-6 else 1e-3)
    assert divergence.gaussian(0.0) == 0.0


PUBLISHED = {
    "kl": lambda s: s / 2,
    "reverse_kl": lambda s: s / 2,
    "jeffreys": lambda s: s,
    "pearson": math.expm1,
    "neyman": math.expm1,
    "symmetric_chi_squared": lambda s: 2 * math.expm1(s),
    "squared_hellinger": lambda s: -2 * math.expm1(-s / 8),
    "alpha:a=0.3": lambda s: -math.expm1(-0.105 * s) / 0.21,
    "alpha:a=3": lambda s: math.expm1(3 * s) / 6,
    "total_variation": lambda s: float(erf(math.sqrt(s / 8))),
}


@pytest.mark.parametrize("spec", PUBLISHED)
@given(x=st.floats(-12, 2))
def test_its_gaussian_value_is_the_published_closed_form(spec: str, x: float) -> None:
    s = 10**x
    assert fdiv.divergence(spec).gaussian(s) == pytest.approx(PUBLISHED[spec](s), rel=1e-12)


@given(x=st.floats(-9, 4))
def test_martons_value_keeps_its_digits_where_its_closed_form_cancels(x: float) -> None:
    s = 10**x
    d = math.sqrt(s)
    mills = math.sqrt(math.pi / 2) * erfcx(1.5 * d / math.sqrt(2))
    weight = math.exp(-s / 8) / math.sqrt(2 * math.pi) * mills
    assert fdiv.divergence("marton").gaussian.gradient_weight(s) == pytest.approx(weight, rel=1e-11, abs=1e-300)


@given(x=st.floats(-10, 3))
def test_the_classes_of_equal_gaussian_value_agree(x: float) -> None:
    s = 10**x
    value = {name: fdiv.divergence(name).gaussian(s) for name in fdiv.names() if not fdiv.CATALOG[name].parameters}
    assert value["shifted_log"] == pytest.approx(value["jensen_shannon"], rel=1e-12)
    assert value["lin_k"] == pytest.approx(value["jensen_shannon"], rel=1e-12)
    assert value["triangular"] == pytest.approx(2 * value["harmonic"], rel=1e-12)
    assert value["arithmetic_geometric"] == pytest.approx(s / 2 - value["capacitory"], rel=1e-11)


@given(x=st.floats(-8, 2))
def test_the_slope_of_capacitory_determines_the_triangular_value(x: float) -> None:
    s = 10**x
    weight = fdiv.divergence("capacitory").gaussian.gradient_weight(s)
    assert fdiv.divergence("triangular").gaussian(s) == pytest.approx(2 - 8 * weight, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("spec", [s for s in SPECS if fdiv.divergence(s).slope_at_infinity.is_finite])
def test_a_bounded_divergence_tends_to_the_sum_of_its_two_limits(spec: str) -> None:
    divergence = fdiv.divergence(spec)
    if divergence.value_at_zero.is_finite:
        limit = float(divergence.value_at_zero + divergence.slope_at_infinity)
        assert divergence.gaussian(1e5) == pytest.approx(limit, rel=1e-12)
