"""D_f between arrays of probabilities, against SciPy, formulas by hand, torch, and 60 digits of the raw generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import rel_entr
from torch.distributions import Categorical, kl_divergence

import fdiv
from tests.laws.strategies import EXAMPLES, SPECS
from theory.laws.published import published

every_divergence = pytest.mark.parametrize("spec", SPECS)
some_divergences = pytest.mark.parametrize("spec", EXAMPLES[::3])
FINITE = [spec for spec in EXAMPLES if (d := fdiv.divergence(spec)).value_at_zero + d.slope_at_infinity < sympy.oo]


@cache
def raw(spec: str) -> Callable[[Any], Any]:
    return sympy.lambdify(fdiv.u, fdiv.divergence(spec).generator, "mpmath")


def exactly(spec: str, p: Any, q: Any) -> float:
    """The sum of q f(p/q) in 60 digits, for p, q > 0."""
    with mpmath.workdps(60):
        pairs = [(mpmath.mpf(float(a)), mpmath.mpf(float(b))) for a, b in zip(p, q, strict=True)]
        return float(mpmath.fsum(b * raw(spec)(a / b) for a, b in pairs))


def whole_numbers(seed: int, atoms: int, power: int = 40) -> Any:
    """Random probabilities that are multiples of 2^-power and sum to 1 exactly."""
    cuts = np.sort(np.random.default_rng(seed).choice(2**power, atoms - 1, replace=False))
    return np.diff(np.concatenate([[0], cuts, [2**power]])) / 2.0**power


def pair(seed: int, atoms: int = 6) -> tuple[Any, Any]:
    p, q = np.random.default_rng(seed).dirichlet(np.full(atoms, 0.7), 2)
    return p, q


@every_divergence
def test_it_is_the_published_value_also_where_atoms_are_missing(spec: str) -> None:
    reference, divergence = published(spec), fdiv.divergence(spec)
    assert reference is not None
    p, q = pair(1)
    assert divergence.between(p, q) == pytest.approx(reference(p, q), rel=1e-12)
    for p, q in (([0.5, 0.5, 0], [0.25, 0, 0.75]), ([1, 0], [0.3, 0.7]), ([0.2, 0.8], [1, 0]), ([1, 0], [0, 1])):
        assert divergence.between(p, q) == pytest.approx(reference(p, q), rel=1e-12)


@every_divergence
@pytest.mark.parametrize("power", [3, 6, 12, 24])
def test_nearly_equal_distributions_keep_their_digits(spec: str, power: int) -> None:
    q = whole_numbers(power, 8, 30) if power < 24 else np.full(8, 1 / 8)
    step = np.array([1, -1, 2, -2, 3, -3, 1, -1]) * np.min(q) * 2.0**-power / 4
    step = np.round(step * 2**52) / 2**52
    p = q + step
    assert math.fsum(p) == 1 == math.fsum(q)
    assert fdiv.divergence(spec).between(p, q) == pytest.approx(exactly(spec, p, q), rel=2e-13, abs=1e-50)


@every_divergence
@pytest.mark.parametrize("tiny", [1e-12, 1e-60, 1e-150, 1e-305, 5e-324])
def test_far_ratios_neither_overflow_nor_lose_digits(spec: str, tiny: float) -> None:
    p, q = np.array([0.25, 0.75, tiny]), np.array([0.25, tiny, 0.75])
    truth = exactly(spec, p, q)
    assert fdiv.divergence(spec).between(p, q) == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize("atoms", [2, 1000, 200_000])
def test_many_atoms_are_the_sum_that_scipy_has(atoms: int) -> None:
    p, q = pair(5, atoms)
    assert fdiv.divergence("kl").between(p, q) == pytest.approx(rel_entr(p, q).sum(), rel=1e-12)
    assert fdiv.divergence("kl").between(torch.tensor(p), torch.tensor(q)).item() == pytest.approx(
        rel_entr(p, q).sum(), rel=1e-12
    )


@some_divergences
def test_the_axes_before_the_last_are_a_batch(spec: str) -> None:
    p, q = np.random.default_rng(3).dirichlet(np.ones(4), (2, 3, 5))
    divergence = fdiv.divergence(spec)
    one_by_one = [[divergence.between(p[i, j], q[i, j]) for j in range(5)] for i in range(3)]
    assert divergence.between(p, q) == pytest.approx(np.array(one_by_one), rel=1e-14)
    torch.testing.assert_close(
        divergence.between(torch.tensor(p), torch.tensor(q)), torch.tensor(one_by_one), rtol=1e-13, atol=0
    )


@pytest.mark.parametrize(
    ("dtype", "returned", "relative"),
    [("float64", "float64", 1e-12), ("float32", "float32", 1e-5), ("float16", "float32", 0.1)],
)
def test_the_dtype_is_kept_in_both_libraries(dtype: str, returned: str, relative: float) -> None:
    truth = fdiv.divergence("js").between([0.1, 0.2, 0.7], [0.3, 0.3, 0.4])
    p, q = (np.array(x, dtype=dtype) for x in ([0.1, 0.2, 0.7], [0.3, 0.3, 0.4]))
    between = fdiv.divergence("js").between
    for value in (between(p, q), between(torch.tensor(p), torch.tensor(q))):
        assert str(value.dtype).removeprefix("torch.") == returned
        assert float(value) == pytest.approx(truth, rel=relative)


def test_gradients_along_the_simplex_are_those_of_torch_distributions() -> None:
    a, b = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in ([0.3, -1.0, 2.0], [1.0, 0.1, 1.8]))
    ours = fdiv.divergence("kl").between(a.softmax(0), b.softmax(0))
    theirs = kl_divergence(Categorical(logits=a), Categorical(logits=b))
    torch.testing.assert_close(ours, theirs)
    for one, other in zip(torch.autograd.grad(ours, (a, b)), torch.autograd.grad(theirs, (a, b)), strict=True):
        torch.testing.assert_close(one, other)


@some_divergences
def test_first_and_second_derivatives_pass_gradcheck(spec: str) -> None:
    divergence = fdiv.divergence(spec)
    a = torch.tensor([0.0, 0.9, 2.0, -1.0], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([0.03, -0.1, 1.3, -0.2], dtype=torch.float64, requires_grad=True)
    function = lambda a, b: divergence.between(a.softmax(0), b.softmax(0))  # noqa: E731
    assert torch.autograd.gradcheck(function, (a, b))
    assert torch.autograd.gradgradcheck(function, (a, b))


@pytest.mark.parametrize("spec", FINITE)
def test_no_gradient_is_nan_where_atoms_are_missing(spec: str) -> None:
    p = torch.tensor([0.5, 0.5, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([0.25, 0.0, 0.75, 0.0], dtype=torch.float64, requires_grad=True)
    divergence = fdiv.divergence(spec)
    for gradient in torch.autograd.grad(divergence.between(p, q), (p, q)):
        assert gradient.isfinite().all()
        assert gradient[3] == 0
    equal = torch.autograd.grad(divergence.between(p, p.detach()), p)[0]
    assert equal.isfinite().all()
    if divergence.reduces_to_mse:
        assert (equal == 0).all()


def test_a_missing_atom_has_the_one_sided_gradient_where_it_is_finite() -> None:
    p = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([0.5, 0.5], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(fdiv.divergence("pearson").between(p, q), p)
    torch.testing.assert_close(gradient, torch.tensor([2.0, -2.0], dtype=torch.float64))  # 2 (u - 1)


def test_an_atom_that_neither_has_adds_nothing() -> None:
    for spec in EXAMPLES:
        between = fdiv.divergence(spec).between
        assert between([0.5, 0, 0.5], [0.25, 0, 0.75]) == between([0.5, 0.5], [0.25, 0.75])


simplex = arrays(float, 5, elements=st.floats(0, 1)).filter(lambda x: x.sum() > 0.1).map(lambda x: x / x.sum())
letters = st.tuples(simplex, simplex)
specs = st.sampled_from(FINITE)


@given(specs, letters)
def test_it_is_not_negative_and_zero_only_between_equals(spec: str, both: tuple[Any, Any]) -> None:
    divergence, (p, q) = fdiv.divergence(spec), both
    assert 0 <= divergence.between(p, q) <= float(divergence.value_at_zero + divergence.slope_at_infinity) * (1 + 1e-9)
    assert divergence.between(p, p) == 0


@given(specs, letters)
def test_the_adjoint_exchanges_p_and_q(spec: str, both: tuple[Any, Any]) -> None:
    divergence, (p, q) = fdiv.divergence(spec), both
    assert divergence.adjoint.between(q, p) == pytest.approx(divergence.between(p, q), rel=1e-11, abs=1e-300)


@given(specs, letters, st.integers(0, 99))
def test_a_channel_loses_information(spec: str, both: tuple[Any, Any], seed: int) -> None:
    divergence, (p, q) = fdiv.divergence(spec), both
    channel = np.random.default_rng(seed).dirichlet(np.full(3, 0.5), 5)
    assert divergence.between(p @ channel, q @ channel) <= divergence.between(p, q) * (1 + 1e-11) + 1e-15


@given(specs, letters, letters, st.floats(0, 1))
def test_it_is_jointly_convex(spec: str, one: tuple[Any, Any], other: tuple[Any, Any], share: float) -> None:
    between = fdiv.divergence(spec).between
    mixed = [share * a + (1 - share) * b for a, b in zip(one, other, strict=True)]
    mean = share * between(*one) + (1 - share) * between(*other)
    assert between(*mixed) <= mean * (1 + 1e-11) + 1e-15


@pytest.mark.parametrize(
    ("p", "q", "message"),
    [
        ([0.5, 0.6], [0.5, 0.5], r"p sums to 1 along its last axis within 1e-06; a sum is off by 0\.1"),
        ([0.5, 0.5], [0.5, 0.4], "q sums to 1"),
        ([1.5, -0.5], [0.5, 0.5], r"p holds probabilities, which are >= 0; got -0\.5"),
        ([0.5, math.nan], [0.5, 0.5], "got nan"),
        ([0.5, math.inf], [0.5, 0.5], "off by inf"),
        ([0.5, 0.5], [0.2, 0.3, 0.5], r"one shape, got \(2,\) and \(3,\)"),
        (0.5, 0.5, r"at least one atom .* shape \(\)"),
        ([], [], "at least one atom"),
        ([[0.5, 0.5], [1]], [0.5, 0.5], "p is no array of probabilities"),
        (["a", "b"], [0.5, 0.5], "real numbers; got <U1"),
        ([0.5 + 1j, 0.5], [0.5, 0.5], "got complex128"),
        (torch.tensor([0.5, 0.5]), [0.5, 0.5], "both tensors or both arrays, got Tensor and list"),
        (torch.tensor([1, 0]), torch.tensor([1, 0]), "floating point, got torch.int64"),
        (torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.5], device="meta"), "one device, got cpu and meta"),
    ],
)
def test_what_is_no_distribution_is_refused_in_one_line(p: Any, q: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fdiv.divergence("kl").between(p, q)


def test_sums_of_short_floats_may_be_off_by_their_rounding() -> None:
    p = torch.tensor([0.1, 0.2, 0.7], dtype=torch.bfloat16)
    assert fdiv.divergence("kl").between(p, p) == 0
