"""The specification of an f-divergence: one law a test, over the whole catalogue or over one divergence of your own.

``pytest -k spec`` reads it over the catalogue, with families also at the parameters where their formulas are 0/0.
``pytest --divergence FILE.py:NAME`` (or a name, or a generator such as ``"u*log(u)"``) reads it over that divergence
alone. A law that does not apply is skipped, and the reason is the mathematics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sympy
import torch
from hypothesis import given, settings, target
from hypothesis import strategies as st

import fdiv
from fdiv.exact.symbols import DerivationError
from fdiv.losses import GaussianLoss, VariationalLoss
from tests.laws import laws
from tests.laws import strategies as domains
from tests.laws.claims import Claims, DoesNotApply, Gap, apart, claims
from tests.laws.strategies import EXAMPLES, SPECS

FEW = settings(max_examples=4)  # of each divergence; the points listed in each law come first
LOGS = (-4.0, -1.1, -0.3, 0.2, 0.9, 3.5)
PAIRS = [(x, y) for x in LOGS[1:5] for y in LOGS[1:5]]
CRITICS = [(-80.0, -20.0), (-20.0, -3.0), (-3.0, -0.5), (-0.5, 0.0), (0.0, 0.5), (0.5, 3.0), (3.0, 20.0), (20.0, 80.0)]
MODERATE = (0.3, 2.0)
LETTERS = ((0.7, 0.2, 0.1), (0.2, 0.3, 0.5))
SINGULAR = [((0.5, 0.5), (1.0, 0.0)), ((1.0, 0.0), (0.3, 0.7)), ((0.2, 0.8, 0.0), (0.0, 0.4, 0.6))]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "divergence" in metafunc.fixturenames:
        own = metafunc.config.getoption("--divergence")
        metafunc.parametrize("divergence", [own] if own else SPECS, indirect=True)


@pytest.fixture
def divergence(request: pytest.FixtureRequest) -> fdiv.Divergence:
    """One divergence; the laws are asked only of what is convex with f(1) = 0, and the gate says what is not."""
    found = _resolved(request.param)
    if request.node.originalname != FIRST:
        objections = [c for c in fdiv.certify(found).claims[:4] if not c.holds]
        if objections:
            pytest.skip(f"rests on the claim '{objections[0].name}', which does not hold")
    return found


_resolve = {}


def _resolved(text: str) -> fdiv.Divergence:
    if text not in _resolve:
        _resolve[text] = fdiv.resolve(text)
    return _resolve[text]


def obey(
    law: Callable[..., Gap], c: Claims, points: Sequence[Any], drawn: st.SearchStrategy[Any] | None = None
) -> None:
    """Put the law at the points, then at drawn ones, where Hypothesis climbs towards the largest error."""
    try:
        for point in points:
            _hold(law, point, law(c, *point))
        if drawn is None:
            return

        @FEW
        @given(drawn)
        def everywhere(point: Any) -> None:
            gap = law(c, point)
            _hold(law, (point,), gap)
            target(gap.error)

        everywhere()
    except (DoesNotApply, DerivationError) as reason:
        pytest.skip(str(reason))


def _hold(law: Callable[..., Gap], point: Any, gap: Gap) -> None:
    where = f" at {point}" if point else ""
    assert gap.error <= 1, (
        f"{law.__doc__} Not so{where}: {gap.value} against {gap.truth}, {gap.error:.3g} times too far"
    )


def singles(points: Sequence[Any]) -> list[tuple[Any]]:
    return [(point,) for point in points]


FIRST = "test_it_is_certified_with_evidence_for_every_claim"


def test_it_is_certified_with_evidence_for_every_claim(divergence: fdiv.Divergence) -> None:
    certificate = fdiv.certify(divergence)
    assert certificate.accepted, str(certificate)
    assert certificate.claim("f(1) = 0").evidence == "proved"
    if divergence.name in fdiv.names():
        assert certificate.claim("convexity").evidence == "proved"
        if len(divergence.pieces) == 1:
            assert certificate.claim("conjugate").evidence == "proved"


def test_its_generator_vanishes_at_one(divergence: fdiv.Divergence) -> None:
    obey(laws.vanishes_at_one, claims(divergence), [()])


def test_its_generator_lies_below_its_chords(divergence: fdiv.Divergence) -> None:
    drawn = domains.several((-30, 30), (-30, 30), (0, 1))
    obey(laws.convex, claims(divergence), [((-2.0, 2.0, 0.4),), ((-0.1, 0.1, 0.5),)], drawn)


def test_its_limits_are_those_of_its_values(divergence: fdiv.Divergence) -> None:
    obey(laws.limits, claims(divergence), [()])


def test_its_conjugate_is_the_supremum_at_every_slope(divergence: fdiv.Divergence) -> None:
    points = (-6.0, -3.0, -1.2, -0.4, 0.05, 0.3, 0.8, 1.5, 4.0)
    obey(
        laws.supremum, claims(divergence), singles(points), domains.slopes(divergence).filter(_off_the_end(divergence))
    )


def _off_the_end(divergence: fdiv.Divergence) -> Callable[[float], bool]:
    return lambda t: abs(t - float(divergence.slope_at_infinity)) > 1e-9


def test_its_conjugate_is_the_constant_minus_f_0_below_the_slope_at_zero(divergence: fdiv.Divergence) -> None:
    obey(laws.constant_branch, claims(divergence), singles((0.0, 1e-9, 1.0, 100.0)))


def test_its_conjugate_has_the_right_value_at_the_end_of_its_domain(divergence: fdiv.Divergence) -> None:
    obey(laws.closed_end, claims(divergence), [()])


def test_its_conjugate_is_infinite_beyond_its_domain(divergence: fdiv.Divergence) -> None:
    obey(laws.beyond_the_end, claims(divergence), singles((1e-6, 0.5, 100.0)))


def test_its_biconjugate_is_itself(divergence: fdiv.Divergence) -> None:
    obey(laws.biconjugate, claims(divergence), singles(LOGS))


def test_fenchel_and_young_hold_with_equality_exactly_at_the_slope(divergence: fdiv.Divergence) -> None:
    near = domains.several((-4, 4), (-4, 4))
    obey(laws.fenchel_young, claims(divergence), singles(PAIRS), near)


def test_its_adjoint_is_an_involution(divergence: fdiv.Divergence) -> None:
    obey(laws.involution, claims(divergence), singles(LOGS), domains.log_ratios(divergence))


def test_its_adjoint_exchanges_p_and_q_with_singular_atoms(divergence: fdiv.Divergence) -> None:
    obey(laws.exchange, claims(divergence), singles([LETTERS, *SINGULAR]), domains.alphabets(singular=True))


def test_on_finite_alphabets_it_is_the_published_divergence(divergence: fdiv.Divergence) -> None:
    obey(laws.published_value, claims(divergence), singles([LETTERS, *SINGULAR]), domains.alphabets(singular=False))


def test_its_activation_increases_inside_the_domain_of_the_conjugate(divergence: fdiv.Divergence) -> None:
    obey(laws.increasing, claims(divergence), singles(CRITICS), domains.several((-80, 80), (-20, 20)))


def test_its_activation_carries_the_conjugate_with_it(divergence: fdiv.Divergence) -> None:
    obey(laws.surplus, claims(divergence), singles(LOGS))


def test_the_slopes_of_its_activation_are_its_derivatives(divergence: fdiv.Divergence) -> None:
    obey(laws.critic_slopes, claims(divergence), singles((-4.1, -0.43, 0.21, 3.07)))


def test_no_critic_exceeds_the_divergence(divergence: fdiv.Divergence) -> None:
    obey(laws.bound, claims(divergence), singles([(0.0, 0.0, 0.0), (1.0, -0.5, -1.6)]), domains.critic_triples())


def test_the_variational_bound_is_tight_at_the_log_ratio(divergence: fdiv.Divergence) -> None:
    obey(laws.tight, claims(divergence), [()])


def test_between_gaussians_it_is_zero_at_zero_and_never_negative(divergence: fdiv.Divergence) -> None:
    points = (0.0, 1e-12, 1e-6, 1e-2, 1.0, 30.0, 1e3, 1e6)
    obey(laws.nonnegative, claims(divergence), singles(points), domains.squared_distances())


def test_between_gaussians_it_is_the_mean_of_its_generator(divergence: fdiv.Divergence) -> None:
    obey(laws.expectation, claims(divergence), singles(MODERATE), domains.moderate_distances())


def test_its_gradient_weight_is_the_derivative_of_its_value(divergence: fdiv.Divergence) -> None:
    obey(laws.derivative, claims(divergence), singles(MODERATE))


def test_its_gradient_weight_is_half_the_mean_of_its_curvature_with_the_kinks(divergence: fdiv.Divergence) -> None:
    obey(laws.gradient_law, claims(divergence), singles(MODERATE), domains.moderate_distances())


def test_near_zero_it_is_half_its_curvature_times_s_or_provably_no_mse(divergence: fdiv.Divergence) -> None:
    obey(laws.universality, claims(divergence), [()])
    evidence = fdiv.certify(divergence).claim("reduction to MSE").evidence
    curvature = divergence.curvature
    hypothesis = curvature is not None and curvature.is_finite and curvature > 0
    assert (evidence in ("proved", "certified", "tested")) == bool(hypothesis)


def test_a_bounded_generator_has_the_sum_of_its_limits_as_its_limit(divergence: fdiv.Divergence) -> None:
    obey(laws.large_s, claims(divergence), [()])


def loss_of(kind: type, divergence: fdiv.Divergence) -> Any:
    try:
        return kind(divergence)
    except fdiv.Refused as reason:
        pytest.skip(str(reason))


GRID = (0.0, 1e-12, 1e-6, 1e-3, 0.05, 0.5, 1.0, 3.0, 9.0, 20.0, 64.0, 500.0, 1e4, 1e6)


def test_its_monotone_wrapper_is_finite_and_increasing(divergence: fdiv.Divergence) -> None:
    wrapped = loss_of(GaussianLoss, divergence).wrapped(torch.tensor(GRID, dtype=torch.float64))
    assert wrapped.isfinite().all()
    assert (wrapped.diff() >= 0).all()
    assert wrapped[0] == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_its_loss_has_the_exact_value_and_gradient(divergence: fdiv.Divergence, dtype: torch.dtype) -> None:
    loss, c = loss_of(GaussianLoss, divergence), claims(divergence)
    s = torch.tensor([1e-3, 0.05, 0.5, 1.0, 3.0, 9.0], dtype=dtype, requires_grad=True)
    value = loss(s)
    (gradient,) = torch.autograd.grad(value.sum(), s)
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert gradient.dtype == dtype
    allowed = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 2e-6}[dtype]
    rounding = 2**-8 if dtype == torch.bfloat16 else allowed  # the gradient is in the input's precision
    for x, d, w in zip(s.tolist(), value.tolist(), gradient.tolist(), strict=True):
        assert apart(d, c.gaussian(x), allowed, 1e-36).error <= 1, (x, d, c.gaussian(x))
        assert apart(w, c.weight(x), rounding, 1e-36).error <= 1, (x, w, c.weight(x))


def test_its_variational_loss_has_the_exact_gradients_of_the_bound(divergence: fdiv.Divergence) -> None:
    loss, c = loss_of(VariationalLoss, divergence), claims(divergence)
    v = torch.tensor([-3.1, -0.4, 0.2, 2.7], dtype=torch.float64, requires_grad=True)
    for function, slope in ((loss.output_activation, c.output_slope), (loss.conjugate_term, c.term_slope)):
        (gradient,) = torch.autograd.grad(function(v).sum(), v)
        assert gradient.tolist() == pytest.approx([slope(x) for x in v.tolist()], rel=1e-12, abs=1e-300)


def test_the_specification_covers_the_whole_catalogue_and_no_test_vanishes(request: pytest.FixtureRequest) -> None:
    assert {spec.partition(":")[0] for spec in EXAMPLES} == set(fdiv.names())
    assert len(set(SPECS)) == len(SPECS) >= 65
    sentences = [name for name in globals() if name.startswith("test_")]
    assert len(sentences) >= 28
    ran = [item for item in request.session.items if item.fspath.basename == "test_spec.py"]
    whole = not request.config.getoption("--divergence") and "::" not in " ".join(request.config.args)
    if whole and request.config.getoption("-k") in ("", "spec"):
        assert len(ran) >= 28 * len(SPECS)


FAMILIES = [record for record in fdiv.CATALOG.values() if record.parameters]


@pytest.mark.parametrize("record", FAMILIES, ids=lambda record: record.name)
def test_a_family_is_convex_and_vanishes_at_one_at_every_parameter_of_its_domain(record: fdiv.Record) -> None:
    assert len(FAMILIES) >= 15

    @settings(max_examples=3)
    @given(domains.parameters(record))
    def everywhere(values: dict[str, float]) -> None:
        generator = record.bind(values).generator
        low, one, high = (float(generator.subs(fdiv.u, x).evalf(40)) for x in (sympy.Rational(1, 2), 1, 2))
        assert abs(one) <= 1e-12
        assert one <= (2 * low + high) / 3 + 1e-12 * (abs(low) + abs(high))

    everywhere()
