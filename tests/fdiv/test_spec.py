"""The specification of an f-divergence: one law a test, over the whole catalogue or over one divergence of your own.

``pytest -k spec`` reads it over the catalogue, with families also at the parameters where their formulas are 0/0.
``pytest --divergence FILE.py:NAME`` (or a name, or a generator such as ``"u*log(u)"``) reads it over that divergence
alone. A law that does not apply is skipped, and the reason is the mathematics.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sympy
import torch
from hypothesis import given, settings

import fdiv
from fdiv.exact.symbols import DerivationError
from fdiv.losses import GaussianLoss, VariationalLoss
from tests.laws import strategies as domains
from tests.laws.mutation import EQUIVALENT, LAWS, OPERATORS, equivalent, report, verdict
from tests.laws.mutation import SPECS as MUTATED
from tests.laws.strategies import DRAWN, EXAMPLES, SPECS
from theory.laws.claims import Claims, DoesNotApply, Law, claims
from theory.laws.general import LETTERS, divergence_of

FEW = settings(max_examples=4)  # of each divergence; the points listed in each law come first


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "law" in metafunc.fixturenames:
        metafunc.parametrize("law", LAWS, ids=lambda law: law.name)
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


FIRST = "test_it_is_certified_with_evidence_for_every_claim"


def test_it_is_certified_with_evidence_for_every_claim(divergence: fdiv.Divergence) -> None:
    certificate = fdiv.certify(divergence)
    assert certificate.accepted, str(certificate)
    assert certificate.claim("f(1) = 0").evidence == "proved"
    if divergence.name in fdiv.names():
        assert certificate.claim("convexity").evidence == "proved"
        if len(divergence.pieces) == 1:
            assert certificate.claim("conjugate").evidence == "proved"


def test_it_obeys(law: Law, divergence: fdiv.Divergence) -> None:
    """At the points of the law, then at drawn ones."""
    c = claims(divergence)
    try:
        for point in law.points:
            hold(law, c, point)
        if law in DRAWN:

            @FEW
            @given(DRAWN[law](divergence))
            def everywhere(point: Any) -> None:
                hold(law, c, (point,))

            everywhere()
    except (DoesNotApply, DerivationError) as reason:
        pytest.skip(str(reason))


def hold(law: Law, c: Claims, point: tuple[Any, ...]) -> None:
    for comparison in law.check(c, *point):
        assert comparison.holds, f"{law.statement} Not so at {comparison}"


def test_near_zero_it_is_said_to_be_mse_exactly_where_its_curvature_is_one(divergence: fdiv.Divergence) -> None:
    evidence = fdiv.certify(divergence).claim("reduction to MSE").evidence
    curvature = divergence.curvature
    hypothesis = curvature is not None and curvature.is_finite and curvature > 0
    assert (evidence in ("proved", "certified", "tested")) == bool(hypothesis)


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
        assert d == pytest.approx(c.gaussian(x), rel=allowed, abs=1e-36), x
        assert w == pytest.approx(c.weight(x), rel=rounding, abs=1e-36), x


def test_its_variational_loss_has_the_exact_gradients_of_the_bound(divergence: fdiv.Divergence) -> None:
    loss, c = loss_of(VariationalLoss, divergence), claims(divergence)
    v = torch.tensor([-3.1, -0.4, 0.2, 2.7], dtype=torch.float64, requires_grad=True)
    for function, slope in ((loss.output_activation, c.output_slope), (loss.conjugate_term, c.term_slope)):
        (gradient,) = torch.autograd.grad(function(v).sum(), v)
        assert gradient.tolist() == pytest.approx([slope(x) for x in v.tolist()], rel=1e-12, abs=1e-300)


def test_the_specification_covers_the_whole_catalogue_and_no_test_vanishes(request: pytest.FixtureRequest) -> None:
    assert {spec.partition(":")[0] for spec in EXAMPLES} == set(fdiv.names())
    assert len(set(SPECS)) == len(SPECS) >= 65
    assert len(LAWS) >= 22
    assert set(DRAWN) <= set(LAWS)
    ran = [item for item in request.session.items if item.fspath.basename == "test_spec.py"]
    whole = not request.config.getoption("--divergence") and "::" not in " ".join(request.config.args)
    if whole and request.config.getoption("-k") in ("", "spec"):
        assert len(ran) >= (len(LAWS) + 7) * len(SPECS)


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


ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests" / "golden" / "values.json").read_text())
ROWS = [(spec, quantity) for spec, quantities in GOLDEN.items() for quantity in quantities]


@pytest.mark.parametrize(("spec", "quantity"), ROWS)
def test_golden_values_of_thirty_digits(spec: str, quantity: str) -> None:
    divergence = fdiv.divergence(spec)
    gaussian = divergence.gaussian
    function = {"gaussian": gaussian, "gradient-weight": gaussian.gradient_weight, "conjugate": divergence.conjugate}
    for point, golden in GOLDEN[spec][quantity].items():
        assert len(golden) <= 50
        assert function[quantity](float(point)) == pytest.approx(float(golden), rel=1e-12, abs=1e-14), point


def test_the_golden_values_are_many_and_their_script_uses_mpmath_alone() -> None:
    assert sum(len(values) for quantities in GOLDEN.values() for values in quantities.values()) >= 200
    assert len(GOLDEN) >= 25
    script = (ROOT / "tests" / "golden" / "make.py").read_text()
    imports = {line.split()[1].split(".")[0] for line in script.splitlines() if line.startswith(("import ", "from "))}
    assert imports == {"__future__", "json", "collections", "pathlib", "mpmath"}


def test_relative_entropy_is_torchs() -> None:
    on_letters = [torch.distributions.Categorical(torch.tensor(one, dtype=torch.float64)) for one in LETTERS]
    expected = float(torch.distributions.kl_divergence(*on_letters))
    assert divergence_of(claims(fdiv.divergence("kl")), LETTERS) == pytest.approx(expected, rel=1e-14)
    p, q = torch.distributions.Normal(0.3, 1.7), torch.distributions.Normal(-1.1, 1.7)
    s = float(((p.mean - q.mean) / 1.7) ** 2)
    for name in ("kl", "reverse_kl"):
        expected = float(torch.distributions.kl_divergence(p, q))
        assert fdiv.divergence(name).gaussian(s) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_mutant_is_killed_by_a_named_law_or_equal_by_a_theorem(operator: str) -> None:
    found = {spec: verdict(operator, spec) for spec in MUTATED}
    made = {spec: law for spec, law in found.items() if law is not None}
    assert made, "the operator makes no mutant"
    survivors = [spec for spec, law in made.items() if not law and not equivalent(operator, spec)]
    assert not survivors, f"{operator} survives in {survivors}"
    miracles = [spec for spec, law in made.items() if law and equivalent(operator, spec)]
    assert not miracles, f"{operator} is said to change nothing in {miracles}, and a law saw it"


def test_what_is_mutated_obeys_every_law_above() -> None:
    assert set(MUTATED) <= set(SPECS)


def test_the_theorems_name_operators_and_each_is_needed() -> None:
    assert set(EQUIVALENT) <= set(OPERATORS)
    for operator in EQUIVALENT:
        assert any(equivalent(operator, spec) and verdict(operator, spec) == "" for spec in MUTATED)


def test_the_mutants_are_many_and_none_vanishes() -> None:
    verdicts = [verdict(operator, spec) for operator in OPERATORS for spec in MUTATED]
    assert sum(law is not None for law in verdicts) >= 3000
    killers = {law for law in verdicts if law}
    assert len(killers) >= 15


def test_the_document_of_mutants_is_up_to_date() -> None:
    assert report() in (ROOT / "docs" / "mutation.md").read_text(), "write it with: python docs/mutation.py"
