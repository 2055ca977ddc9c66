"""D(s) and w(s) against formulas written by hand, and at s = 0. (Against quadratures: test_spec.py.)"""

from __future__ import annotations

import math
from functools import cache

import mpmath
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erf, erfcx

import fdiv
from fdiv.exact.symbols import u
from fdiv.losses import GaussianLoss
from tests.laws.strategies import EXAMPLES

every_divergence = pytest.mark.parametrize("spec", EXAMPLES)


@every_divergence
@pytest.mark.parametrize("s", [1e-9, 1e-4])
def test_its_gradient_weight_is_the_derivative_of_its_value_at_small_s_too(spec: str, s: float) -> None:
    gaussian, step = fdiv.divergence(spec).gaussian, s / 400
    near, far = (gaussian(s + k * step) - gaussian(s - k * step) for k in (1, 2))
    assert gaussian.gradient_weight(s) == pytest.approx((8 * near - far) / (12 * step), rel=1e-6)


@every_divergence
def test_at_zero_it_is_zero_and_its_weight_the_limit_or_the_subgradient_zero(spec: str) -> None:
    divergence = fdiv.divergence(spec)
    gaussian, f = divergence.gaussian, sympy.lambdify(u, divergence.generator, "mpmath")
    assert gaussian(0.0) == 0.0
    with mpmath.workdps(60):  # half the mean of f'' on both sides of 1; the first difference shows a kink
        h = mpmath.mpf(10) ** -15
        kink = (f(1 + h) + f(1 - h)) / h
        bends = [(f(1 + 2 * k * h) - 2 * f(1 + k * h) + f(mpmath.mpf(1))) / h**2 for k in (1, -1)]
        limit = 0.0 if kink > 1e-6 else float(sum(bends)) / 4
    assert gaussian.gradient_weight(0.0) == pytest.approx(limit, rel=1e-12, abs=1e-12)
    if kink <= 1e-6:
        assert gaussian.gradient_weight(1e-13) == pytest.approx(limit, rel=2e-6, abs=2e-6)


@pytest.mark.parametrize("spec", ["soft_chi", "marton", "one_sided_chi_squared"])
def test_where_two_curvatures_meet_the_loss_starts_with_their_mean_halved(spec: str) -> None:
    s = torch.zeros((), dtype=torch.float64, requires_grad=True)
    loss = GaussianLoss(fdiv.divergence(spec))
    loss(s).backward()
    assert s.grad == loss.gradient_weight(torch.zeros(())) == 0.5


@pytest.mark.parametrize(("spec", "curvature"), [("vajda:k=1.5", math.inf), ("vajda:k=2.5", 0), ("vajda:k=2", 2)])
def test_a_curvature_may_be_infinite_without_a_kink(spec: str, curvature: float) -> None:
    divergence = fdiv.divergence(spec)
    assert not divergence.kinks
    assert divergence.curvature == curvature


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


ORDERS = {  # of D, w and dw/ds as s -> 0: D ~ s^{k/2} where f ~ |u - 1|^k; dw/ds is rougher where f'' jumps
    "jensen_shannon": (1, 0, 0),
    "marton": (1, 0, -0.5),
    "puri_vincze:k=3": (1.5, 0.5, -0.5),
    "puri_vincze:k=2.3": (1.15, 0.15, -0.85),
    "vajda:k=1.5": (0.75, -0.25, -1.25),
}


@pytest.mark.parametrize("spec", ORDERS)
def test_below_the_smallest_tabulated_s_it_follows_its_leading_powers(spec: str) -> None:
    gaussian = fdiv.divergence(spec).gaussian
    for function, order in zip((gaussian, gaussian.gradient_weight, gaussian.weight_slope), ORDERS[spec], strict=True):
        assert function(1e-15) / function(1e-12) == pytest.approx(1e-3**order, rel=1e-5)


typed = cache(fdiv.from_expression)


def crossing() -> mpmath.mpf:
    """Where u log u - u + 1 meets (u - 1)^2/4 again, in more digits than a quadrature asks."""
    with mpmath.workdps(40):
        return mpmath.findroot(lambda x: x * mpmath.log(x) - x + 1 - (x - 1) ** 2 / 4, 5)


BENT = {  # mpmath's f above a tangent, and the places where it bends
    "sqrt((u-1)**2+1)-1": (lambda x: mpmath.sqrt((x - 1) ** 2 + 1) - 1, ()),
    "exp(1-u)-1": (lambda x: mpmath.exp(1 - x) - 2 + x, ()),
    "log(1+exp(1-u))-log(2)": (lambda x: mpmath.log1p(mpmath.exp(1 - x)) - mpmath.log(2) + (x - 1) / 2, ()),
    "log(1+exp(10-u))-log(1+exp(9))": (
        lambda x: mpmath.log1p(mpmath.exp(10 - x)) - mpmath.log1p(mpmath.exp(9)),
        (7, 8, 9, 10, 11, 12, 13, 15, 18, 22, 30, 50),
    ),
    "exp(-u/1000)-exp(-1/1000)": (
        lambda x: mpmath.exp(-x / 1000) - mpmath.exp(mpmath.mpf(-1) / 1000) * (1 - (x - 1) / 1000),
        (),
    ),
    "1.001**-u-1/1.001": (
        lambda x: mpmath.mpf("1.001") ** -x - (1 - mpmath.log(mpmath.mpf("1.001")) * (x - 1)) / mpmath.mpf("1.001"),
        (),
    ),
    "2**-u-1/2": (lambda x: mpmath.mpf(2) ** -x - 1 / 2 + mpmath.log(2) / 2 * (x - 1), ()),
    "2**u*3**-u*5**u/7**u-10/21": (
        lambda x: (mpmath.mpf(10) / 21) ** x - mpmath.mpf(10) / 21 * (1 - mpmath.log(mpmath.mpf(21) / 10) * (x - 1)),
        (),
    ),
    "Max(u*log(u)-u+1,(u-1)**2/4)": (
        lambda x: max(x * mpmath.log(x) - x + 1, (x - 1) ** 2 / 4),
        (crossing(),),
    ),
    "u*log(u)+1e-7*Abs(u-3)**1.5-1e-7*2**1.5": (
        lambda x: x * mpmath.log(x) - x + 1 + (abs(x - 3) ** 1.5 - mpmath.mpf(2) ** 1.5) / 10**7,
        (3,),
    ),
}


@pytest.mark.parametrize("text", BENT)
@pytest.mark.parametrize("s", [0.01, 0.7, 4.0])
def test_the_value_of_a_typed_generator_is_mpmaths_expectation(text: str, s: float) -> None:
    f, places = BENT[text]

    def expectation(weight):  # type: ignore[no-untyped-def]
        bends = [(mpmath.log(x) + mpmath.mpf(s) / 2) / root for x in (mpmath.mpf("0.1"), 1, 3, *places)]
        kept = sorted([*range(-16, 17, 4), -2, 2, 20, *(cut for cut in bends if -16 < cut < 20)])
        return mpmath.quad(lambda y: weight(y, mpmath.exp(root * y - s / 2)) * mpmath.npdf(y), kept)

    with mpmath.workdps(25):
        root = mpmath.sqrt(s)
        truth = expectation(lambda y, x: f(x))
        # Stein's lemma for dD/ds: x = e^(d y - s/2), and d/ds = (y/d - 1)/2 d/dx x after one integration by parts
        slope = expectation(lambda y, x: f(x) * ((y * y - 1) / s - y / root) / 2)
    gaussian = typed(text).gaussian
    assert gaussian(s) == pytest.approx(float(truth), rel=1e-12)
    assert gaussian.gradient_weight(s) == pytest.approx(float(slope), rel=1e-11)
