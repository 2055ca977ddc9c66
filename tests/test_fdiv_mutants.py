"""Mutants of the records and of the derivations: the laws must tell every one of them from the truth.

A mutant is a wrong generator, conjugate, Gaussian value or activation, of a kind that published code has contained.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import sympy
from sympy import Rational, exp, log, sqrt
from test_fdiv_gaussian import expectation
from test_fdiv_laws import NAMED, assert_conjugate_is_the_supremum, finite_alphabet

import fdiv
from fdiv.calculus import s, t, u, v
from fdiv.conjugate import Conjugate
from fdiv.divergence import Divergence, custom
from fdiv.domain import Interval
from fdiv.lowering import lower, numpy_backend


def assert_named(divergence: Divergence, name: str) -> None:
    assert finite_alphabet(divergence) == pytest.approx(NAMED[name], rel=1e-9)


GENERATORS = {
    "constant added": ("kl", u * log(u) + Rational(1, 10)),
    "scaled by two": ("pearson", 2 * (u - 1) ** 2),
    "in bits": ("kl", u * log(u) / log(2)),
    "adjoint instead": ("kl", -log(u)),
    "sign of log": ("kl", -u * log(u)),
    "f of a sibling": ("squared_hellinger", (sqrt(u) - 1) ** 2 / 2),
    "mixture weights swapped": (
        "skew_jensen_shannon:pi=0.3",
        Rational(7, 10) * u * log(u) - (Rational(3, 10) + 7 * u / 10) * log(Rational(3, 10) + 7 * u / 10),
    ),
    "the number pi for the weight": (
        "skew_jensen_shannon:pi=0.3",
        sympy.pi * u * log(u) - (1 - sympy.pi + sympy.pi * u) * log(1 + sympy.pi * (u - 1)),
    ),
    "la for 1-la": ("blended_chi_squared:la=0.3", (u - 1) ** 2 / (2 * (7 * u / 10 + Rational(3, 10)))),
    "-1 dropped": ("alpha:a=0.3", (u ** Rational(3, 10) - Rational(3, 10) * (u - 1)) / Rational(-21, 100)),
    "plus for minus": ("jensen_shannon", u * log(u) / 2 + (u + 1) / 2 * log((u + 1) / 2)),
    "half of total variation": ("total_variation", sympy.Abs(u - 1) / 4),
}


@pytest.mark.parametrize("kind", GENERATORS)
def test_a_wrong_generator_is_not_the_named_divergence(kind: str) -> None:
    name, generator = GENERATORS[kind]
    assert_named(fdiv.divergence(name), name)
    with pytest.raises((AssertionError, TypeError)):  # a complex value is a TypeError
        assert_named(custom(generator), name)


def conjugate_laws(divergence: Divergence, conjugate: Conjugate) -> None:
    for point in np.linspace(-7, 5, 49).tolist():
        assert_conjugate_is_the_supremum(divergence, conjugate, point)
    end = float(divergence.slope_at_infinity)
    if math.isfinite(end):
        assert conjugate(end) == divergence.conjugate(end)
        assert conjugate(end + 1) == math.inf


def replaced(expression: sympy.Expr, at: int = -1) -> Callable[[Conjugate], Conjugate]:
    def mutate(conjugate: Conjugate) -> Conjugate:
        pieces = list(conjugate.pieces)
        pieces[at] = dataclasses.replace(pieces[at], expression=expression)
        return dataclasses.replace(conjugate, pieces=tuple(pieces))

    return mutate


def dropped_branch(conjugate: Conjugate) -> Conjugate:
    first = dataclasses.replace(conjugate.pieces[1], lower=-sympy.oo)
    return dataclasses.replace(conjugate, pieces=(first, *conjugate.pieces[2:]))


def narrowed(conjugate: Conjugate) -> Conjugate:
    return dataclasses.replace(conjugate, effective_domain=Interval(-sympy.oo, sympy.S.Zero), value_at_end=sympy.oo)


def opened(conjugate: Conjugate) -> Conjugate:
    return dataclasses.replace(conjugate, value_at_end=sympy.oo)


CONJUGATES = {
    "branch below f'(0+) dropped": ("pearson", dropped_branch),
    "branch below f'(0+) dropped, triangular": ("triangular", dropped_branch),
    "+inf below f'(0+)": ("pearson", replaced(sympy.Float(1e300), 0)),
    "f(0) of the wrong sign": ("triangular", replaced(sympy.S.One, 0)),
    "closed end opened": ("neyman", opened),
    "domain too narrow": ("neyman", narrowed),
    "abs(t) <= 1/2": ("total_variation", replaced(sympy.Float(1e300), 0)),
    "wrong root": ("neyman", replaced(2 + 2 * sqrt(1 - t))),
    "Lambert's other branch": ("lin_k", replaced(-sympy.LambertW(-exp(t - 1) / 2, -1))),
    "exp for expm1": ("squared_hellinger", replaced(1 / (1 - t))),
    "f* of a sibling": ("jensen_shannon", replaced(-log(2 - exp(t)))),
    "t shifted": ("kl", replaced(exp(t))),
    "scale inside only": ("half_jeffreys", replaced(fdiv.divergence("jeffreys").conjugate.pieces[0].expression)),
}


@pytest.mark.parametrize("kind", CONJUGATES)
def test_a_wrong_conjugate_is_not_the_supremum(kind: str) -> None:
    name, mutate = CONJUGATES[kind]
    divergence = fdiv.divergence(name)
    conjugate_laws(divergence, divergence.conjugate)
    with pytest.raises((AssertionError, TypeError)):
        conjugate_laws(divergence, mutate(divergence.conjugate))


def gaussian_laws(name: str, value: sympy.Expr, weight: sympy.Expr) -> None:
    divergence = fdiv.divergence(name)
    for point in (0.3, 2.0):
        assert float(value.subs(s, point)) == pytest.approx(expectation(divergence, point), rel=1e-8)
        near = expectation(divergence, point * 1.001) - expectation(divergence, point * 0.999)
        assert float(weight.subs(s, point)) == pytest.approx(near / (0.002 * point), rel=1e-4)


GAUSSIANS: dict[str, tuple[str, Callable[[sympy.Expr], sympy.Expr], Callable[[sympy.Expr], sympy.Expr]]] = {
    "s/4 for s/8": ("squared_hellinger", lambda d: d.subs(s, 2 * s), lambda w: w),
    "s/2 for s/8": ("squared_hellinger", lambda d: d.subs(s, 4 * s), lambda w: w),
    "sigma for sigma squared": ("kl", lambda d: d.subs(s, sqrt(s)), lambda w: w),
    "the constant dropped": ("pearson", lambda d: d + 1, lambda w: w),
    "log(1+D) for D": ("pearson", lambda d: log(1 + d), lambda w: w),
    "w in d, not in s": ("squared_hellinger", lambda d: d, lambda w: 2 * sqrt(s) * w),
    "w of a sibling": ("jeffreys", lambda d: d, lambda w: w / 2),
    "kink mass dropped": ("total_variation", lambda d: d, lambda w: 0 * w),
    "the limit of D for D": ("total_variation", lambda d: sympy.S.One, lambda w: w),
    "w negative": ("alpha:a=0.3", lambda d: d, lambda w: -w),
}


@pytest.mark.parametrize("kind", GAUSSIANS)
def test_a_wrong_gaussian_value_or_weight_is_not_the_expectation(kind: str) -> None:
    name, of_value, of_weight = GAUSSIANS[kind]
    gaussian = fdiv.divergence(name).gaussian
    gaussian_laws(name, gaussian.formula, gaussian.gradient_weight_formula)
    with pytest.raises(AssertionError):
        gaussian_laws(name, of_value(gaussian.formula), sympy.sympify(of_weight(gaussian.gradient_weight_formula)))


def activation_laws(name: str, output: sympy.Expr, term: sympy.Expr) -> None:
    """T increases inside the domain, f*(T) is the supremum there, and the bound is tight at the log ratio."""
    divergence, grid = fdiv.divergence(name), np.linspace(-3, 3, 7)
    values = [np.broadcast_to(lower(e, v, numpy_backend())(grid), grid.shape) for e in (output, term)]
    assert (np.diff(values[0]) >= 0).all()
    for x, critic_value, surplus in zip(grid, *values, strict=True):
        assert divergence.conjugate(float(critic_value)) == pytest.approx(surplus, rel=1e-9, abs=1e-9)
        value = float(divergence.generator.subs(u, math.exp(x)))
        assert math.exp(x) * critic_value - surplus == pytest.approx(value, rel=1e-9, abs=1e-9)


ACTIVATIONS = {
    "decreasing": ("reverse_kl", lambda T: T.subs(v, -v), lambda C: C),
    "outside the domain": ("squared_hellinger", lambda T: T + 1, lambda C: C),
    "too narrow": ("kl", lambda T: T / 2, lambda C: exp(v / 2 - Rational(1, 2))),
    "an eps in f*(T)": ("jensen_shannon", lambda T: T, lambda C: C + Rational(1, 10**6)),
    "-1 dropped": ("pearson", lambda T: T, lambda C: C + 1),
    "that of a sibling": ("triangular", lambda T: fdiv.divergence("le_cam").activation.output, lambda C: C),
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_a_wrong_activation_breaks_a_law(kind: str) -> None:
    name, of_output, of_term = ACTIVATIONS[kind]
    activation = fdiv.divergence(name).activation
    activation_laws(name, activation.output, activation.conjugate_term)
    with pytest.raises(AssertionError):
        activation_laws(name, of_output(activation.output), of_term(activation.conjugate_term))


def test_no_mutant_silently_vanishes() -> None:
    assert len(GENERATORS) + len(CONJUGATES) + len(GAUSSIANS) + len(ACTIVATIONS) >= 41
