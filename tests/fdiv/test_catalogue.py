"""The catalogue's names and families: aliases, limits at singular parameters, and the same function everywhere."""

from __future__ import annotations

import math
import subprocess
import sys

import flint
import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fdiv
from fdiv.exact.symbols import t
from fdiv.losses import GaussianLoss, VariationalLoss
from fdiv.numeric.backends import numpy_backend, torch_backend
from tests.laws.strategies import EXAMPLES
from theory.laws.generators import Oracle
from theory.laws.published import TERMS

every_divergence = pytest.mark.parametrize("spec", EXAMPLES)


def test_every_alias_resolves_to_its_entry_and_names_nothing_else() -> None:
    assert len(fdiv.names()) >= 35
    for record in fdiv.CATALOG.values():
        example = {p.name: p.example for p in record.parameters}
        for alias in record.aliases:
            assert fdiv.divergence(alias, **example) is fdiv.divergence(record.name, **example)
            assert alias not in fdiv.CATALOG
    aliases = [alias for record in fdiv.CATALOG.values() for alias in record.aliases]
    assert len(aliases) == len(set(aliases)) == len(fdiv.ALIASES)
    assert {"chi2", "js", "tv", "hellinger"} <= set(aliases)


def test_every_entry_has_a_published_formula_to_be_compared_with() -> None:
    assert set(TERMS) == set(fdiv.names())


MEMBERS = {  # spec: (its name, the factor)
    "alpha:a=0": ("reverse_kl", 1),
    "alpha:a=1": ("kl", 1),
    "amari:a=-1": ("reverse_kl", 1),
    "amari:a=1": ("kl", 1),
    "tsallis:a=1": ("kl", 1),
    "osterreicher_vajda:b=1": ("capacitory", 1),
    "osterreicher_vajda:b=0.5": ("squared_hellinger", 1),
    "hockey_stick:gamma=1": ("total_variation", 1),
    "puri_vincze:k=1": ("total_variation", 1),
    "puri_vincze:k=2": ("le_cam", 1),
    "vajda:k=2": ("pearson", 1),
    "skew_kl:pi=1": ("kl", 1),
    "skew_reverse_kl:pi=1": ("reverse_kl", 1),
    "skew_jensen_shannon:pi=0.5": ("jensen_shannon", 1),
    "blended_chi_squared:la=0.5": ("triangular", 1),
    "blended_chi_squared:la=0": ("pearson", sympy.Rational(1, 2)),
    "blended_chi_squared:la=1": ("neyman", sympy.Rational(1, 2)),
    "cressie_read:la=0": ("kl", 2),
    "cressie_read:la=-1": ("reverse_kl", 2),
}


@pytest.mark.parametrize("spec", MEMBERS)
def test_a_family_contains_its_named_members_and_multiples_of_them(spec: str) -> None:
    name, factor = MEMBERS[spec]
    relation = fdiv.compare(fdiv.divergence(spec), fdiv.divergence(name))
    kind = "equal" if factor == 1 else "proportional"
    assert (relation.kind, relation.factor, relation.evidence) == (kind, factor, "proved")


SINGULAR = [("alpha", "a", 0.0), ("alpha", "a", 1.0), ("amari", "a", 1.0), ("amari", "a", -1.0), ("tsallis", "a", 1.0)]
SINGULAR += [("cressie_read", "la", 0.0), ("cressie_read", "la", -1.0), ("osterreicher_vajda", "b", 1.0)]
TOLERANCE = 20  # times the distance of the parameters


@pytest.mark.parametrize(("name", "parameter", "place"), SINGULAR)
@pytest.mark.parametrize("step", [1e-6, -1e-6])
def test_a_family_is_continuous_in_value_and_gradient_at_a_singular_parameter(
    name: str, parameter: str, place: float, step: float
) -> None:
    if name == "osterreicher_vajda":
        step *= 100  # nearer, its activation, a difference of terms of size 1/(b-1), loses the digits that certify asks
    tolerance = TOLERANCE * abs(step)
    at, near = (fdiv.divergence(name, **{parameter: value}) for value in (place, place + step))
    for s in (1e-6, 0.5, 4.0):
        assert near.gaussian(s) == pytest.approx(at.gaussian(s), rel=TOLERANCE * abs(step))
        assert near.gaussian.gradient_weight(s) == pytest.approx(
            at.gaussian.gradient_weight(s), rel=TOLERANCE * abs(step)
        )
    v = torch.linspace(-2, 2, 5, dtype=torch.float64)
    for x, y in zip(_tangent_free(at, v), _tangent_free(near, v), strict=True):
        torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance)


def _tangent_free(divergence: fdiv.Divergence, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """T and f*(T) for the generator above its tangent at u = 1, which an affine term does not change."""
    loss, zero = VariationalLoss(divergence), torch.zeros(1, dtype=v.dtype)
    output, term = loss.output_activation(v), loss.conjugate_term(v)
    return output - loss.output_activation(zero), term - loss.conjugate_term(zero)


@pytest.mark.parametrize("a", [1e-9, -1e-9, 1 + 1e-12, 1 - 1e-9])
def test_alpha_keeps_its_digits_beside_a_singular_value(a: float) -> None:
    gaussian = fdiv.divergence("alpha", a=a).gaussian
    for s in (1e-12, 1e-3, 2.0, 50.0):
        rate = a * (a - 1) * s / 2  # D = expm1(rate)/(a (a-1)) = s/2 (1 + rate/2 + ...)
        assert gaussian(s) == pytest.approx(s / 2 * (1 + rate / 2), rel=1e-12)
        assert gaussian.gradient_weight(s) == pytest.approx(math.exp(rate) / 2, rel=1e-12)


@pytest.mark.parametrize("spec", ["t_power:t=1", "t_power:t=0", "tsallis:a=0", "vajda:k=0.9", "skew_kl:pi=0"])
def test_a_value_without_a_divergence_is_refused(spec: str) -> None:
    with pytest.raises(fdiv.ParameterError, match="is outside"):
        fdiv.divergence(spec)


@every_divergence
@settings(max_examples=3)
@given(point=st.floats(-8, 8))
def test_the_conjugate_is_one_function_as_formula_and_number(spec: str, point: float) -> None:
    conjugate = fdiv.divergence(spec).conjugate
    exact = conjugate(point)
    with np.errstate(all="ignore"):
        assert float(conjugate.on(numpy_backend())(np.array(point))) == pytest.approx(exact, rel=1e-9, abs=1e-9)
    x = torch.tensor(point, dtype=torch.float64)
    assert float(conjugate.on(torch_backend())(x)) == pytest.approx(exact, rel=1e-9, abs=1e-9)
    formula = conjugate.formula
    if formula is not None and math.isfinite(exact):
        assert complex(formula.subs(t, sympy.Float(point, 30)).evalf(20)) == pytest.approx(exact, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("spec", ["arithmetic_geometric", "kl", "osterreicher_vajda:b=1.5", "taneja_type", "marton"])
def test_the_numeric_conjugate_is_differentiable_with_the_maximiser_as_its_slope(spec: str) -> None:
    divergence = fdiv.divergence(spec)
    conjugate = divergence.conjugate.on(torch_backend())
    end = min(float(divergence.slope_at_infinity), 2.0)
    x = torch.tensor([end - 1.7, end - 0.9, end - 0.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(conjugate, x)
    assert torch.autograd.gradgradcheck(conjugate, x)
    oracle = Oracle(divergence.generator)
    for point in x.tolist():
        assert float(conjugate(torch.tensor(point))) == pytest.approx(oracle.supremum(point), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("spec", ["jensen_shannon", "hockey_stick:gamma=1.5"])
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
def test_compiled_losses_are_the_eager_ones(spec: str) -> None:
    loss = GaussianLoss(fdiv.divergence(spec))
    s = torch.tensor([0.01, 1.0, 30.0], dtype=torch.float64)
    compiled = torch.compile(loss, backend="aot_eager")
    first, second = s.clone().requires_grad_(), s.clone().requires_grad_()
    (eager,), (traced,) = (torch.autograd.grad(f(x).sum(), x) for f, x in ((loss, first), (compiled, second)))
    torch.testing.assert_close(compiled(s), loss(s), rtol=1e-14, atol=0)
    torch.testing.assert_close(traced, eager, rtol=1e-14, atol=0)


def truth(density, s: float) -> float:
    """e^{-s/8} E[density(sqrt(s) |y|)] by python-flint's rigorous integration."""
    with flint.ctx.workprec(160):
        d = flint.arb(s).sqrt()
        reach = 14 * d if s < 100 else flint.arb(160)

        def integrand(x, _):
            return density(x) * (-(x * x) / (2 * s)).exp()

        scaled = (
            2 * flint.acb.integral(integrand, 0, reach) * (-flint.acb(s) / 8).exp() / (2 * flint.acb.pi() * s).sqrt()
        )
    return float(scaled.real.mid())


DENSITIES = {  # the even parts of g for w, and of its like for dw/ds, by hand
    "jensen_shannon": (lambda x: (x / 2).sech() / 8, lambda x: -((x / 2).sech() ** 3) / 32),
    "triangular": (
        lambda x: (x / 2).sech() ** 3 / 2,
        lambda x: (x / 2).sech() ** 3 / 2 - 3 * (x / 2).sech() ** 5 / 4,
    ),
    "marton": (lambda x: (-3 * x / 2).exp() / 2, None),
}


@pytest.mark.parametrize("spec", DENSITIES)
@pytest.mark.parametrize("s", [1e-12, 1e-7, 1e-3, 0.2, 0.8, 1.5, 2.5, 7.0, 40.0, 300.0])
def test_the_weight_and_its_slope_are_exact(spec: str, s: float) -> None:
    gaussian, (weight, slope) = fdiv.divergence(spec).gaussian, DENSITIES[spec]
    assert gaussian.gradient_weight(s) == pytest.approx(truth(weight, s), rel=1e-12)
    if slope is not None:
        assert gaussian.weight_slope(s) == pytest.approx(truth(slope, s), rel=1e-12)


@pytest.mark.parametrize("spec", EXAMPLES[::4])
def test_the_slope_of_the_weight_is_its_derivative(spec: str) -> None:
    gaussian = fdiv.divergence(spec).gaussian
    for s in (0.3, 1.2, 4.0):
        h = s / 200
        near, far = (gaussian.gradient_weight(s + k * h) - gaussian.gradient_weight(s - k * h) for k in (1, 2))
        scale = abs(gaussian.weight_slope(s)) + 1e-6 * gaussian.gradient_weight(s) / s
        assert abs(gaussian.weight_slope(s) - (8 * near - far) / (12 * h)) <= 1e-5 * scale


@every_divergence
def test_nothing_is_nan_from_zero_to_overflow(spec: str) -> None:
    loss = GaussianLoss(fdiv.divergence(spec))
    s = torch.cat([torch.zeros(1), torch.logspace(-30, 30, 121)]).double()
    for function in (loss, loss.gradient_weight, loss.wrapped):
        assert not function(s).isnan().any()
    assert loss.wrapped(s[s < 1e7]).isfinite().all()
    finite = loss(s).isfinite()
    assert (finite[1:] <= finite[:-1]).all()  # once infinite, always: true overflow


ELSEWHERE = [  # than at the examples: beside a singular parameter, beside an end of the family, between whole powers
    *(f"osterreicher_vajda:b={1 + step:.12g}" for step in (-1e-6, -1e-9, 1e-9, 1e-6)),
    *(f"alpha:a={place + step:.12g}" for place in (0, 1) for step in (-1e-9, 1e-6)),
    "tsallis:a=1e-9",
    "t_power:t=-1e-9",
    "t_power:t=1.000000001",
    *(f"{family}={pi}" for family in ("skew_kl:pi", "skew_jensen_shannon:pi", "degroot:pi") for pi in (1e-6, 0.999999)),
    *(
        f"{family}={la}"
        for family in ("blended_chi_squared:la", "skew_geometric_jensen_shannon:la")
        for la in (1e-6, 0.999999)
    ),
    "vajda:k=1.999999",
    *(f"{family}={k}" for family in ("vajda:k", "puri_vincze:k") for k in (1.05, 1.6, 2.3)),
]


@pytest.mark.parametrize("spec", ELSEWHERE)
def test_a_family_is_accepted_and_has_both_losses_elsewhere_than_at_its_example(spec: str) -> None:
    divergence = fdiv.divergence(spec)
    certificate = fdiv.certify(divergence)
    assert certificate.accepted, str(certificate)
    GaussianLoss(divergence)
    VariationalLoss(divergence)


SCRIPT = """
import fdiv
for spec in ("lin_k", "alpha:a=1", "soft_chi"):
    d = fdiv.divergence(spec)
    print(spec, d.generator, d.conjugate.formula, d.activation, d.gaussian.formula, d.gaussian(0.7), d.conjugate(-0.3))
"""


def test_derivations_do_not_depend_on_the_hash_seed() -> None:
    runs = [
        subprocess.run([sys.executable, "-c", SCRIPT], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True)
        for seed in ("1", "77")
    ]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.splitlines()) == 3
