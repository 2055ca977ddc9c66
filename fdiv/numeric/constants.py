"""Balls around real constants, by python-flint's `arb`, and the functions that ball arithmetic knows.

An expression becomes a ball in three ways, because the arithmetic differs. A constant is enclosed part by part, here;
`fdiv.numeric.lower` takes such constants as leaves, for balls as for arrays. `fdiv.balls.tails` computes with sums of
terms C w^p x^n that hold for every x beyond a point, where no single ball could hold the variable.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import sympy
from flint import arb, ctx, fmpq
from sympy import Expr

FUNCTIONS: dict[Any, Callable[[Any], Any]] = {
    sympy.exp: lambda z: z.exp(),
    sympy.log: lambda z: z.log(),
    sympy.sin: lambda z: z.sin(),
    sympy.cos: lambda z: z.cos(),
    sympy.atan: lambda z: z.atan(),
    sympy.erf: lambda z: z.erf(),
    sympy.sinh: lambda z: (z.exp() - (-z).exp()) / 2,
    sympy.cosh: lambda z: (z.exp() + (-z).exp()) / 2,
    sympy.tanh: lambda z: 1 - 2 / ((2 * z).exp() + 1),
}


class OpenError(ArithmeticError):
    """Ball arithmetic does not decide this."""


def rational(number: Fraction | sympy.Rational) -> Any:
    """Return a rational number of Python or SymPy as python-flint's."""
    return fmpq(int(number.numerator), int(number.denominator))


def exact(number: Fraction | sympy.Rational) -> Any:
    """Return a rational number as a ball."""
    return arb(rational(number))


def constant_ball(constant: Expr) -> Any:
    """Return a ball around a real constant; raises OpenError for one that it does not know."""
    if constant.is_Rational:
        return exact(constant)
    if constant is sympy.pi:
        return arb.pi()
    if constant is sympy.E:
        return arb.const_e()
    if constant.is_Float:
        return exact(sympy.Rational(constant))
    if constant.is_NumberSymbol:
        return _number_ball(constant)
    if not constant.args:
        raise OpenError(f"ball arithmetic has no {constant}")
    if constant.is_Pow and not constant.exp.is_Integer:
        return (constant_ball(constant.base).log() * constant_ball(constant.exp)).exp()
    parts = [constant_ball(argument) for argument in constant.args]
    if constant.is_Pow:
        return parts[0] ** int(constant.exp)
    if constant.is_Add or constant.is_Mul:
        total = parts[0]
        for other in parts[1:]:
            total = total + other if constant.is_Add else total * other
        return total
    if constant.func not in FUNCTIONS:
        raise OpenError(f"ball arithmetic has no {constant.func}")
    return FUNCTIONS[constant.func](parts[0])


def _number_ball(number: Expr) -> Any:
    """Return a ball around a number that SymPy evaluates to any precision."""
    near = sympy.Rational(number.evalf(int(ctx.prec * 0.302) + 8))
    return exact(near) + arb(0, exact(near).abs_upper() * arb(2) ** -ctx.prec)
