"""The torch losses: values, exact gradients, precision, stable tails and refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

import fdiv
from fdiv.evidence.certificate import certify
from fdiv.losses import GaussianLoss, VariationalLoss
from tests.laws.strategies import EXAMPLES

GRID = torch.tensor(
    [0.0, 1e-12, 1e-6, 1e-3, 0.05, 0.5, 1.0, 3.0, 9.0, 20.0, 64.0, 500.0, 1e4, 1e6], dtype=torch.float64
)
every_divergence = pytest.mark.parametrize("spec", EXAMPLES)
some_divergences = pytest.mark.parametrize("spec", EXAMPLES[::4])


@every_divergence
def test_the_loss_is_the_gaussian_value_and_its_gradient_is_the_weight(spec: str) -> None:
    loss = GaussianLoss(fdiv.divergence(spec))
    s = GRID.clone().requires_grad_()
    value = loss(s)
    (gradient,) = torch.autograd.grad(value.sum(), s)
    assert torch.equal(gradient, loss.gradient_weight(GRID))
    expected = torch.tensor([loss.divergence.gaussian(float(x)) for x in GRID], dtype=torch.float64)
    torch.testing.assert_close(value.detach(), expected, rtol=1e-13, atol=0)
    assert not value.isnan().any()


@some_divergences
def test_first_and_second_derivatives_pass_gradcheck(spec: str) -> None:
    loss = GaussianLoss(fdiv.divergence(spec))
    s = torch.tensor([1e-2, 0.4, 1.7, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, s, rtol=1e-4)
    assert torch.autograd.gradgradcheck(loss, s, rtol=1e-3)


@every_divergence
def test_single_precision_keeps_two_parts_in_a_million(spec: str) -> None:
    loss = GaussianLoss(fdiv.divergence(spec))
    exact = loss(GRID.float().double())
    finite = (exact < 1e37) & ((exact > 1e-36) | (exact == 0))  # a flat D underflows
    torch.testing.assert_close(loss(GRID.float()).double()[finite], exact[finite], rtol=2e-6, atol=0)
    weight = loss.gradient_weight(GRID.float().double())
    normal = (weight < 1e37) & (weight > 1e-36)
    torch.testing.assert_close(loss.gradient_weight(GRID.float()).double()[normal], weight[normal], rtol=2e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_is_computed_in_single(dtype: torch.dtype) -> None:
    loss = GaussianLoss(fdiv.divergence("squared_hellinger"))
    s = torch.tensor([1e-3, 0.01, 2.0], dtype=dtype, requires_grad=True)
    value = loss(s)
    value.sum().backward()
    assert value.dtype == torch.float32
    assert s.grad is not None
    assert s.grad.dtype == dtype
    torch.testing.assert_close(value, -2 * torch.expm1(-s.float() / 8))


@pytest.mark.parametrize("shape", [(), (3,), (2, 1, 4), (0,)])
def test_any_shape_goes_in_and_comes_out(shape: tuple[int, ...]) -> None:
    for spec in ("kl", "jensen_shannon", "total_variation"):
        assert GaussianLoss(fdiv.divergence(spec))(torch.ones(shape)).shape == shape


def test_a_negative_s_gives_nan_and_an_integer_is_a_type_error() -> None:
    loss = GaussianLoss(fdiv.divergence("kl"))
    assert loss(torch.tensor(-1.0)).isnan()
    with pytest.raises(TypeError, match="floating-point"):
        loss(torch.tensor(1))


@pytest.mark.parametrize("spec", ["kl", "total_variation", "jensen_shannon", "triangular"])
def test_where_there_is_no_value_there_is_no_gradient_and_none_is_left_at_infinity(spec: str) -> None:
    loss = GaussianLoss(fdiv.divergence(spec))
    for function in (loss, loss.gradient_weight, loss.wrapped):
        s = torch.tensor([math.nan, -1.0, 1.0], requires_grad=True)
        function(s).sum().backward()
        assert s.grad is not None
        assert s.grad.isnan().tolist() == [True, True, False]
    far = torch.tensor([1e5, math.inf])
    assert loss.gradient_weight(far).tolist() == ([0.5, 0.5] if spec == "kl" else [0.0, 0.0])


def test_total_variation_has_the_zero_subgradient_at_zero() -> None:
    s = torch.zeros(2, requires_grad=True)
    GaussianLoss(fdiv.divergence("total_variation"))(s).sum().backward()
    assert torch.equal(s.grad, torch.zeros(2))


@pytest.mark.parametrize("spec", ["pearson", "neyman", "symmetric_chi_squared", "alpha:a=2"])
def test_the_wrapped_chi_squared_is_s_itself(spec: str) -> None:
    loss = GaussianLoss(fdiv.divergence(spec))
    s = torch.tensor([0.0, 1e-6, 0.3, 88.0, 1e4], dtype=torch.float32)
    torch.testing.assert_close(loss.wrapped(s), s, rtol=1e-6, atol=0)
    assert loss(s)[-1] == math.inf


@every_divergence
def test_the_wrapper_is_the_logarithm_of_the_loss(spec: str) -> None:
    loss = GaussianLoss(fdiv.divergence(spec))
    value = loss.wrapped(GRID)
    curvature = loss.divergence.curvature
    factor = 2 / float(curvature) if curvature is not None and curvature.is_finite and curvature != 0 else 1.0
    torch.testing.assert_close(value[:8], torch.log1p(factor * loss(GRID))[:8], rtol=1e-12, atol=1e-15)


@every_divergence
def test_the_critic_stays_exact_in_single_precision_up_to_80(spec: str) -> None:
    loss = VariationalLoss(fdiv.divergence(spec))
    v = torch.tensor([-80, -20, -17, -14, -3, -0.1, 0, 0.1, 3, 14, 17, 20, 80], dtype=torch.float32)
    for function in (loss.output_activation, loss.conjugate_term):
        exact_in = v.double().requires_grad_()
        exact = function(exact_in)
        (exact_slope,) = torch.autograd.grad(exact.sum(), exact_in)
        single_in = v.clone().requires_grad_()
        single = function(single_in)
        (slope,) = torch.autograd.grad(single.sum(), single_in)
        for got, want, atol in ((single, exact, 1e-6), (slope, exact_slope, 0.0)):
            kept = (want.abs() < 1e37) & ((want.abs() > 1e-36) | (atol > 0))
            torch.testing.assert_close(got.double()[kept], want[kept], rtol=4e-5, atol=atol)
            assert not got.isnan().any()


@every_divergence
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_a_critics_value_never_leaves_the_closed_effective_domain(spec: str, dtype: torch.dtype) -> None:
    divergence = fdiv.divergence(spec)
    v = torch.tensor([-6e4, -20, -1, 0, 1, 9, 14, 16, 17, 18, 20, 30, 80, 700, 6e4], dtype=dtype)
    values = VariationalLoss(divergence).output_activation(v).double()
    assert not (values > float(divergence.conjugate.effective_domain.upper)).any()
    assert not values[v.abs() <= 80].isnan().any()


@some_divergences
def test_the_activation_is_twice_differentiable(spec: str) -> None:
    loss = VariationalLoss(fdiv.divergence(spec))
    v = torch.tensor([-4.0, -0.4, 0.2, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss.output_activation, v)
    assert torch.autograd.gradcheck(loss.conjugate_term, v)
    assert torch.autograd.gradgradcheck(loss.conjugate_term, v)


def test_the_loss_is_a_difference_of_two_means() -> None:
    loss = VariationalLoss(fdiv.divergence("kl"))
    v_p, v_q = torch.tensor([0.5, 1.5]), torch.tensor([[0.0], [1.0], [2.0]])
    assert loss(v_p, v_q).shape == ()
    torch.testing.assert_close(loss(v_p, v_q), (v_p + 1).mean() - v_q.exp().mean())


@pytest.mark.parametrize("asked", [GaussianLoss, VariationalLoss, certify])
@pytest.mark.parametrize("name", ["hellinger", fdiv.u, None])
def test_what_is_no_divergence_is_told_how_to_become_one(asked: Callable[[Any], object], name: object) -> None:
    with pytest.raises(TypeError, match=r"got .*fdiv\.divergence\(.*fdiv\.resolve\("):
        asked(name)


def test_the_uncertified_has_no_loss() -> None:
    wrong = fdiv.from_expression("u*log(u)**2")
    for kind in (GaussianLoss, VariationalLoss):
        with pytest.raises(fdiv.Refused, match=r"convexity: refuted: .* at u = .*f''\(u\) = -"):
            kind(wrong)


def test_a_divergence_without_finite_gaussian_value_has_no_gaussian_loss() -> None:
    divergence = fdiv.from_expression("exp(u-1)-u")
    assert fdiv.certify(divergence).accepted
    assert divergence.gaussian.kind == "infinite"
    with pytest.raises(fdiv.Refused, match="faster than every power"):
        GaussianLoss(divergence)
