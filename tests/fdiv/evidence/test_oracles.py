"""The gate's own oracles: their arithmetic against mpmath's, and that they see what is slightly wrong."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import flint
import mpmath
import pytest
import sympy
from flint import arb

import fdiv
from fdiv import u
from fdiv.evidence import oracles
from fdiv.evidence.signs import in_balls, in_many_digits
from fdiv.exact.symbols import v
from fdiv.record import Divergence

SPECS = [
    record.bind({parameter.name: parameter.example for parameter in record.parameters}).spec
    for record in fdiv.CATALOG.values()
]
OTHERS = ["u**sqrt(2)-1", "exp(pi*(u-1))-1", "Max(3,u)-3+u*log(u)", "sqrt(1+u**2)-sqrt(2)", "0.1*(u-1)**2"]


@pytest.mark.parametrize("spec", [*SPECS, *OTHERS])
def test_balls_hold_what_mpmath_computes_in_more_digits(spec: str) -> None:
    generator = fdiv.resolve(spec).generator
    balls, numbers = in_balls(generator), in_many_digits(generator)
    for ratio in (0.0078125, 0.59375, 1.0, 1.71875, 40.5):
        with flint.ctx.workprec(136):
            ball = arb(balls(arb(ratio)))
            assert ball.rad() <= 1e-30 * (1 + abs(ball))
        with mpmath.workdps(60):
            exact = mpmath.mpmathify(numbers(mpmath.mpf(ratio)))
            assert abs(mpmath.mpf(ball.mid().str(50, radius=False)) - exact) < mpmath.mpf(10) ** -36 * (1 + abs(exact))


def test_a_ball_is_not_a_number_where_the_generator_is_undefined() -> None:
    with flint.ctx.workprec(136):
        assert math.isnan(float(in_balls(sympy.log(u - 2))(arb(1))))
        assert math.isnan(float(in_balls(1 / (u - 1))(arb(1))))


def with_conjugate(change: Any) -> Divergence:
    """Return KL with a conjugate that is changed by a function of t."""
    found = dataclasses.replace(fdiv.divergence("kl"))
    right = found.conjugate

    class Changed:
        exact, effective_domain = True, right.effective_domain

        def __call__(self, t: Any) -> Any:
            return right(t) + change(t)

    found.__dict__["conjugate"] = Changed()
    return found


def test_a_conjugate_that_is_too_large_at_the_slope_or_too_small_beside_it_is_seen() -> None:
    assert oracles.compare_biconjugate(with_conjugate(lambda t: 0.0)).evidence == "tested"
    at = 0.06 + 1  # f'(u) = log u + 1 at one of the ratios that are looked at
    wrong = (
        lambda t: 1e-6 * math.exp(-((t - at) ** 2) * 1e6),
        lambda t: -1.0 * (abs(t - at - 0.8) < 0.1),
        lambda t: 1e-7,
        lambda t: -1e-7,
    )
    for change in wrong:
        assert oracles.compare_biconjugate(with_conjugate(change)).open


def test_what_was_compared_nowhere_is_not_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracles, "_slope", lambda divergence, log_ratio: math.nan)
    assert oracles.compare_conjugate(fdiv.divergence("kl")).open


def test_what_is_infinite_or_not_a_number_agrees_with_nothing() -> None:
    assert not oracles._close(5.0, math.inf)
    infinite = with_conjugate(lambda t: math.inf)
    assert oracles.compare_fenchel_young(infinite).open
    assert oracles.compare_conjugate(infinite).open
    nowhere = dataclasses.replace(fdiv.divergence("kl"))
    nowhere.__dict__["activation"] = dataclasses.replace(nowhere.activation, output=sympy.log(-sympy.exp(v) - 1))
    assert oracles.compare_activation(nowhere).open
    beyond = dataclasses.replace(fdiv.divergence("js"))
    right = beyond.conjugate

    class Finite:
        exact, effective_domain, pieces = True, right.effective_domain, right.pieces

        def __call__(self, t: float) -> float:
            return min(float(right(t)), 7.0)

    beyond.__dict__["conjugate"] = Finite()
    assert oracles.compare_conjugate(beyond).open


def test_the_quadrature_is_right_to_eleven_digits() -> None:
    value = oracles.gaussian_value(fdiv.divergence("pearson"), 0.7)
    assert value == pytest.approx(math.expm1(0.7), rel=1e-13)
