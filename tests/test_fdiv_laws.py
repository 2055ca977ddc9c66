"""The laws that every divergence of the catalogue obeys. Oracles read the generator alone."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import kl_div, rel_entr

import fdiv
from fdiv.calculus import u
from fdiv.divergence import Divergence

SPECS = [
    fdiv.divergence(record.name, **{p.name: p.example for p in record.parameters}).spec
    for record in fdiv.CATALOG.values()
]
SPECS += ["alpha:a=-1.5", "alpha:a=0.123456", "alpha:a=3", "alpha:a=1", "vajda:k=1.5", "osterreicher_vajda:b=0.3"]

every_divergence = pytest.mark.parametrize("spec", SPECS)
log_ratios = st.floats(-12, 12)
few = settings(max_examples=6)  # of each entry


def test_the_specification_covers_the_whole_catalogue() -> None:
    assert {spec.partition(":")[0] for spec in SPECS} == set(fdiv.names())
    assert len(SPECS) >= 40


def number(divergence: Divergence, ratio: float, digits: int = 40) -> mpmath.mpf:
    """f(ratio), by SymPy's own evaluation."""
    value = divergence.generator.subs(u, sympy.Float(ratio, digits)).evalf(digits)
    return mpmath.mpmathify(value)


def supremum(divergence: Divergence, t: float) -> float:
    """sup over u >= 0 of u t - f(u): brute force, then SciPy's bounded search in log u."""
    f = sympy.lambdify(u, divergence.generator, ["scipy", "numpy"])
    grid = np.linspace(-300, 60, 12001)
    with np.errstate(all="ignore"):
        values = np.nan_to_num(np.exp(grid) * t - f(np.exp(grid)), nan=-np.inf, posinf=-np.inf)
        best = int(np.argmax(values))
        bounds = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        found = minimize_scalar(
            lambda x: f(np.exp(x)) - np.exp(x) * t, bounds=bounds, method="bounded", options={"xatol": 1e-10}
        )
    return float(max(values[best], -found.fun))


def assert_conjugate_is_the_supremum(divergence: Divergence, conjugate, t: float) -> None:
    end = float(divergence.slope_at_infinity)
    if t > end + 1e-6:
        assert conjugate(t) == math.inf
    elif end == math.inf or t < end - 1e-2 * max(1, abs(end)):
        assert conjugate(t) == pytest.approx(supremum(divergence, t), rel=1e-6, abs=2e-7)


@every_divergence
def test_it_is_certified_and_its_convexity_is_proved(spec: str) -> None:
    certificate = fdiv.certify(fdiv.divergence(spec))
    assert certificate.accepted, str(certificate)
    assert certificate.claim("f(1) = 0").evidence == "proved"
    assert certificate.claim("convexity").evidence == "proved"


@every_divergence
def test_its_conjugate_is_proved_where_it_is_smooth(spec: str) -> None:
    divergence = fdiv.divergence(spec)
    if len(divergence.pieces) == 1:
        assert fdiv.certify(divergence).claim("conjugate").evidence == "proved"


@every_divergence
@few
@given(a=log_ratios, b=log_ratios, share=st.floats(0, 1))
def test_a_chord_lies_above_the_generator(spec: str, a: float, b: float, share: float) -> None:
    divergence = fdiv.divergence(spec)
    x, y = math.exp(a), math.exp(b)
    chord = share * number(divergence, x) + (1 - share) * number(divergence, y)
    assert number(divergence, share * x + (1 - share) * y) <= chord + 1e-12 * (1 + abs(chord))


@every_divergence
@few
@given(t=st.floats(-8, 8))
def test_its_conjugate_is_the_supremum_at_every_t(spec: str, t: float) -> None:
    divergence = fdiv.divergence(spec)
    assert_conjugate_is_the_supremum(divergence, divergence.conjugate, t)


@every_divergence
def test_its_conjugate_is_constant_below_the_slope_at_zero(spec: str) -> None:
    divergence = fdiv.divergence(spec)
    start = divergence.slope_at_zero
    if start == -sympy.oo:
        assert divergence.conjugate(-1e6) <= divergence.conjugate(-1e5)
    else:
        for below in (0.0, 1e-9, 1.0, 100.0):
            value = divergence.conjugate(float(start) - below)
            assert value == pytest.approx(-float(divergence.value_at_zero), abs=1e-12)


@every_divergence
def test_its_conjugate_has_the_right_value_at_the_end_of_the_domain(spec: str) -> None:
    divergence = fdiv.divergence(spec)
    domain, end = divergence.conjugate.effective_domain, divergence.slope_at_infinity
    assert domain.upper == end
    if end == sympy.oo:
        return
    with mpmath.workdps(200):  # u f'(inf) - f(u) increases to its limit
        gap = mpmath.mpf(10) ** 60
        at = [r * mpmath.mpmathify(end.evalf(200)) - number(divergence, r, 200) for r in (gap, gap**2)]
    assert domain.upper_closed == (abs(at[1] - at[0]) < 1e-5)
    assert divergence.conjugate(float(end)) == (
        pytest.approx(float(at[1]), abs=1e-6) if domain.upper_closed else math.inf
    )


@every_divergence
@few
@given(x=st.floats(-5, 5), t=st.floats(-8, 8))
def test_fenchel_and_young_hold_with_equality_at_the_slope(spec: str, x: float, t: float) -> None:
    divergence = fdiv.divergence(spec)
    ratio = math.exp(x)
    value = float(number(divergence, ratio))
    assert ratio * t <= value + divergence.conjugate(t) + 1e-9 * (1 + abs(value) + abs(ratio * t))
    if divergence.kinks:
        return
    with mpmath.workdps(40):
        step = mpmath.mpf(ratio) * mpmath.mpf(10) ** -12
        slope = float((number(divergence, ratio + step) - number(divergence, ratio - step)) / (2 * step))
    equality = value + divergence.conjugate(min(slope, math.nextafter(float(divergence.slope_at_infinity), -math.inf)))
    assert ratio * slope == pytest.approx(equality, rel=1e-6, abs=1e-6)


@every_divergence
@few
@given(x=log_ratios)
def test_the_adjoint_is_an_involution_that_swaps_the_limits(spec: str, x: float) -> None:
    divergence = fdiv.divergence(spec)
    ratio = math.exp(x)
    once = divergence.adjoint
    swapped = ratio * number(divergence, 1 / ratio)
    assert float(number(once, ratio)) == pytest.approx(float(swapped), rel=1e-9, abs=1e-9 * (1 + ratio))
    assert float(once.value_at_zero) == pytest.approx(float(divergence.slope_at_infinity))
    assert float(once.slope_at_infinity) == pytest.approx(float(divergence.value_at_zero))


P = np.array([0.7, 0.2, 0.1])
Q = np.array([0.2, 0.3, 0.5])
M = (P + Q) / 2
NAMED = {
    "kl": rel_entr(P, Q).sum(),
    "reverse_kl": rel_entr(Q, P).sum(),
    "jeffreys": ((P - Q) * np.log(P / Q)).sum(),
    "half_jeffreys": ((P - Q) * np.log(P / Q)).sum() / 2,
    "pearson": ((P - Q) ** 2 / Q).sum(),
    "neyman": ((P - Q) ** 2 / P).sum(),
    "symmetric_chi_squared": ((P - Q) ** 2 * (P + Q) / (P * Q)).sum(),
    "squared_hellinger": 2 - 2 * np.sqrt(P * Q).sum(),
    "alpha:a=0.3": (1 - (P**0.3 * Q**0.7).sum()) / 0.21,
    "jensen_shannon": (rel_entr(P, M).sum() + rel_entr(Q, M).sum()) / 2,
    "capacitory": rel_entr(P, M).sum() + rel_entr(Q, M).sum(),
    "shifted_log": rel_entr(Q, M).sum(),
    "lin_k": rel_entr(P, M).sum(),
    "skew_jensen_shannon:pi=0.3": 0.3 * rel_entr(P, 0.3 * P + 0.7 * Q).sum()
    + 0.7 * rel_entr(Q, 0.3 * P + 0.7 * Q).sum(),
    "arithmetic_geometric": 2 * rel_entr(M, np.sqrt(P * Q)).sum(),
    "triangular": ((P - Q) ** 2 / (P + Q)).sum(),
    "le_cam": ((P - Q) ** 2 / (P + Q)).sum() / 2,
    "harmonic": 1 - (2 * P * Q / (P + Q)).sum(),
    "blended_chi_squared:la=0.3": ((P - Q) ** 2 / (0.3 * P + 0.7 * Q)).sum() / 2,
    "total_variation": np.abs(P - Q).sum() / 2,
    "marton": (np.maximum(Q - P, 0) ** 2 / Q).sum(),
    "halved_hellinger": 1 - np.sqrt(P * Q).sum(),
    "amari:a=0.3": 4 / 0.91 * (1 - (P**0.65 * Q**0.35).sum()),
    "tsallis:a=0.3": (1 - (P**0.3 * Q**0.7).sum()) / 0.7,
    "cressie_read:la=0.6666666666666666": 9 / 5 * (P * ((P / Q) ** (2 / 3) - 1)).sum(),
    "t_power:t=0.3": 1 - (P**0.3 * Q**0.7).sum(),
    "skew_kl:pi=0.3": rel_entr(P, 0.7 * P + 0.3 * Q).sum(),
    "skew_reverse_kl:pi=0.3": rel_entr(Q, 0.7 * Q + 0.3 * P).sum(),
    "modified_gan": rel_entr(Q, P).sum() - rel_entr(Q, M).sum(),
    "geometric_jensen_shannon": ((P - Q) * np.log(P / Q)).sum() / 4 + np.sqrt(P * Q).sum() - 1,
    "skew_geometric_jensen_shannon:la=0.3": 0.7 * kl_div(P, P**0.7 * Q**0.3).sum()
    + 0.3 * kl_div(Q, P**0.7 * Q**0.3).sum(),
    "osterreicher_vajda:b=1.5": 3 * (((P**1.5 + Q**1.5) ** (2 / 3)).sum() - 2 ** (2 / 3)),
    "hockey_stick:gamma=1.5": np.maximum(P - 1.5 * Q, 0).sum(),
    "degroot:pi=0.3": 0.3 - np.minimum(0.3 * P, 0.7 * Q).sum(),
    "max_ratio": (np.maximum(P, Q**2 / P)).sum() - 1,
    "one_sided_chi_squared": (np.maximum(P - Q, 0) ** 2 / Q).sum(),
    "vajda:k=3": (np.abs(P - Q) ** 3 / Q**2).sum(),
    "puri_vincze:k=3": (np.abs(P - Q) ** 3 / (P + Q) ** 2).sum() / 2,
    "soft_chi": np.where(P < Q, kl_div(P, Q), (P - Q) ** 2 / (2 * Q)).sum(),
    "taneja_type": ((P**2 - Q**2) ** 2 / (P * Q) ** 1.5).sum(),
}


def finite_alphabet(divergence: Divergence) -> float:
    return float(sum(q * float(number(divergence, p / q)) for p, q in zip(P, Q, strict=True)))


@pytest.mark.parametrize("spec", NAMED)
def test_on_three_letters_it_is_the_published_divergence_in_nats_and_this_orientation(spec: str) -> None:
    assert finite_alphabet(fdiv.divergence(spec)) == pytest.approx(NAMED[spec], rel=1e-12)


def test_every_entry_has_a_published_formula_here() -> None:
    assert {spec.partition(":")[0] for spec in NAMED} == set(fdiv.names())
