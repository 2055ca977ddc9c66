"""The bounds of the trapezoid rule, at the places where they are nearly attained."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import sympy
from flint import acb, arb, ctx
from mpmath.libmp import NoConvergence

import fdiv
from fdiv import u
from fdiv.derive import quadrature
from fdiv.derive.generator import Piece
from fdiv.derive.quadrature import Integrand, gaussian_error, tabulate
from fdiv.exact.symbols import DerivationError
from fdiv.kernel import claims
from fdiv.numeric.backends import numpy_backend


def rule(order: int, step: float, shift: float) -> float:
    """The relative error of the rule for x^(order - 1) e^{-x^2/2} with x = e^z, from sums and Gamma alone."""
    with mpmath.workdps(40):
        h = mpmath.mpf(step)
        nodes = [(j + mpmath.mpf(shift)) * h for j in range(-round(80 / step), round(4 / step))]
        total = h * mpmath.fsum(mpmath.exp(order * z - mpmath.exp(2 * z) / 2) for z in nodes)
        truth = mpmath.gamma(mpmath.mpf(order) / 2) * mpmath.mpf(2) ** (mpmath.mpf(order) / 2 - 1)
        return float(total / truth - 1)


@pytest.mark.parametrize("order", [1, 3, 5, 17])
@pytest.mark.parametrize("step", [0.2, 0.35])
def test_the_densitys_own_error_is_attained_and_never_exceeded(order: int, step: float) -> None:
    """A bound half as large, or a step counted wrong, would be exceeded; one twice as large is not attained."""
    worst = max(abs(rule(order, step, k / 24)) for k in range(24))
    assert 0.97 * gaussian_error(order, step) <= worst <= 1.001 * gaussian_error(order, step)


@pytest.mark.parametrize(("k", "s"), [(4, 0.05), (8, 0.05), (16, 1e-3), (16, 0.05), (16, 1.0)])
def test_a_generator_that_leaves_one_slowly_keeps_its_digits(k: int, s: float) -> None:
    """D(s) of puri_vincze:k=16 was off by 6e-10 with a step that did not heed the power of x."""
    with mpmath.workdps(30):
        root = mpmath.sqrt(s)

        def integrand(y: mpmath.mpf) -> mpmath.mpf:
            ratio = mpmath.exp(root * y - mpmath.mpf(s) / 2)
            return (ratio - 1) ** k / (2 * (ratio + 1) ** (k - 1)) * mpmath.npdf(y)

        truth = float(mpmath.quad(integrand, mpmath.linspace(-20, 20, 41)))
    assert fdiv.divergence("puri_vincze", k=k).gaussian(s) == pytest.approx(truth, rel=4e-14)


def narrow(angle: float) -> Integrand:
    """(u - 1)^2 over a quadratic whose zeros are e^(1 +- i angle): poles of kappa at 1 +- i angle."""
    top = math.e
    pole = u**2 - 2 * top * math.cos(angle) * u + top**2
    return Integrand((Piece(sympy.S.Zero, sympy.oo, (u - 1) ** 2 / pole),))


def error(step: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """The relative error of E_0 at s = 1 for poles at 1 +- .2 i, with that step in half-widths of the strip."""
    monkeypatch.setattr(quadrature, "STEP", step)
    table = tabulate(narrow(0.2), (), 1e-3, 4.0)
    found = float(table.means(np.array(1.0), numpy_backend())[0])
    with mpmath.workdps(30):
        low, top = mpmath.cos(mpmath.mpf("0.2")) * mpmath.e, mpmath.e

        def kappa(x: mpmath.mpf) -> mpmath.mpf:
            ratio = mpmath.exp(x)
            return mpmath.exp(-x / 2) * (ratio - 1) ** 2 / (ratio**2 - 2 * low * ratio + top**2)

        truth = mpmath.quad(lambda x: kappa(x) * mpmath.npdf(x), mpmath.linspace(-14, 14, 113))
    return float(found / truth - 1)


def test_the_strips_step_is_small_enough_and_twice_as_large_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the pole's own angle the rule errs by e^{-2 pi angle/h}: 1e-17 with h = .9 angle/5.5, and 4e-9 with 2 h."""
    usual = quadrature.STEP
    assert abs(error(usual, monkeypatch)) < 2e-14
    assert 1e-11 < abs(error(2 * usual, monkeypatch)) < 1e-6


def test_zeros_are_found_where_they_are_near_each_other_and_far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def search(*_: object, **__: object) -> None:
        raise NoConvergence("it does not")

    monkeypatch.setattr(sympy.Poly, "nroots", search)
    x = sympy.Symbol("x")
    zeros = quadrature._zeros(sympy.Poly(x * (x - 10**9) ** 2 * (x - sympy.Rational(1, 3)) + x / 10**9, x))
    assert sorted(z.real for z in zeros) == pytest.approx([0, 1 / 3, 1e9, 1e9])
    with pytest.raises(DerivationError, match=r"the zeros of .* were not found"):
        quadrature._zeros(sympy.Poly(x**2 - sympy.sqrt(2) * x - 1, x))


@pytest.mark.parametrize("name", ["jensen_shannon", "skew_kl", "modified_gan", "osterreicher_vajda", "puri_vincze"])
def test_the_tables_hold_what_the_kernel_bounds_the_error_of(name: str) -> None:
    """The nodes of the certificate's statement, and the kernel's own E and x E'/2 there, to the last digits."""
    record = fdiv.CATALOG[name]
    divergence = record.bind({parameter.name: parameter.example for parameter in record.parameters})
    statement, tables = fdiv.certify(divergence).statement, divergence.gaussian.quadrature
    assert tables is not None
    with ctx.workprec(256):
        stated = claims._Case(statement).rule
        assert stated is not None
        assert float(stated.switch) == tables.switch
        assert int(stated.least.p) / int(stated.least.q) == quadrature.SMALLEST
        for table, grid, function in ((tables.low, stated.low, stated.even), (tables.high, stated.high, stated.rest)):
            assert len(table.nodes) == grid.last - grid.first + 1
            assert float(arb(grid.step)) == table.step
            for i, node in enumerate(table.nodes):
                x = arb(table.step * (grid.first + i)).exp()  # of j h rounded to double precision
                weight = arb(grid.step) * (2 / arb.pi()).sqrt() * x
                truths = [weight * function.at(0, acb(x)).real, weight * x * function.at(1, acb(x)).real / 2]
                assert node == pytest.approx(float(x), rel=3e-16)
                assert table.columns[i, :2] == pytest.approx([float(truth) for truth in truths], rel=1e-15)
