"""f(u), f*(t) and D(s) of arrays and tensors are those of the numbers in them."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
import torch

import fdiv
from tests.laws.strategies import EXAMPLES, SPECS

every_divergence = pytest.mark.parametrize("spec", SPECS)
some_divergences = pytest.mark.parametrize("spec", EXAMPLES[::3])
RATIOS = np.array([1e-200, 1e-5, 0.3, 0.9, 0.999, 1 - 1e-9, 1.0, 1 + 1e-9, 1.01, 1.11, 1.4, 2.0, 7.0, 1e5])


@cache
def exactly(spec: str, ratio: float) -> float:
    with mpmath.workdps(250):
        return float(sympy.lambdify(fdiv.u, fdiv.divergence(spec).generator, "mpmath")(mpmath.mpf(ratio)))


@every_divergence
def test_the_generator_of_an_array_is_its_formula_in_many_digits(spec: str) -> None:
    divergence = fdiv.divergence(spec)
    truth = [exactly(spec, float(ratio)) for ratio in RATIOS]
    scale = 1 if spec.startswith(("alpha", "amari", "tsallis", "cressie", "t_power")) else 1e-3  # f(0) is a difference
    assert divergence(RATIOS) == pytest.approx(truth, rel=1e-12, abs=scale * 1e-15)
    assert divergence(float(RATIOS[2])) == pytest.approx(truth[2], rel=1e-12)
    tensor = divergence(torch.tensor(RATIOS)).numpy()
    assert tensor == pytest.approx(truth, rel=1e-12, abs=scale * 1e-15)


@every_divergence
def test_at_its_ends_the_generator_has_its_limits_and_below_0_no_value(spec: str) -> None:
    divergence = fdiv.divergence(spec)
    zero, infinite, nothing = divergence([0, math.inf, -1])
    assert zero == float(divergence.value_at_zero)
    assert math.isinf(infinite) or infinite == pytest.approx(divergence(1e15), rel=1e-6, abs=1e-6)
    assert math.isnan(nothing)
    assert divergence(1) == 0


@some_divergences
def test_arrays_have_the_values_of_their_numbers(spec: str) -> None:
    divergence = fdiv.divergence(spec)
    end = min(float(divergence.slope_at_infinity), 3.0)
    for function, points in (
        (divergence.conjugate, [-9.0, -0.4, -0.1, 0.1 * end, 0.7 * end, end + 1]),
        (divergence.gaussian, [0.0, 1e-9, 0.3, 2.0, 40.0]),
    ):
        truth = [function(x) for x in points]
        assert function(points) == pytest.approx(truth, rel=1e-9)
        assert function(np.array(points).reshape(1, -1)).shape == (1, len(points))
        tensor = function(torch.tensor(points, dtype=torch.float64))
        torch.testing.assert_close(tensor, torch.tensor(truth, dtype=torch.float64), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_dtype_and_shape_are_kept_and_gradients_flow(dtype: torch.dtype) -> None:
    divergence = fdiv.divergence("js")
    for function in (divergence, divergence.conjugate, divergence.gaussian):
        x = torch.tensor([[0.1, 0.25]], dtype=dtype, requires_grad=True)
        value = function(x)
        assert (value.dtype, value.shape) == (torch.promote_types(dtype, torch.float32), (1, 2))
        value.sum().backward()
        assert x.grad is not None
        assert (x.grad != 0).all()
        assert function(x.detach().numpy()).dtype == str(value.dtype).removeprefix("torch.")


@some_divergences
def test_the_slopes_of_all_three_pass_gradcheck(spec: str) -> None:
    divergence = fdiv.divergence(spec)
    u = torch.tensor([0.0, 0.3, 0.97, 1.03, 2.1, 40.0], dtype=torch.float64)[1:].requires_grad_()
    end = min(float(divergence.slope_at_infinity), 0.2)
    t = torch.tensor([end - 0.4, end - 0.25, end - 0.15], dtype=torch.float64, requires_grad=True)
    s = torch.tensor([0.2, 3.0], dtype=torch.float64, requires_grad=True)
    functions: tuple[tuple[Any, Any], ...] = ((divergence, u), (divergence.conjugate, t), (divergence.gaussian, s))
    for function, x in functions:
        assert torch.autograd.gradcheck(function, x, rtol=1e-4, atol=1e-6)


def test_between_gaussians_a_negative_s_is_nan_in_an_array() -> None:
    value = fdiv.divergence("kl").gaussian(np.array([-1.0, 2.0]))
    assert math.isnan(value[0])
    assert value[1] == 1
