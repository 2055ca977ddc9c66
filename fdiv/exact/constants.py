"""Balls around real constants, by python-flint's `arb`, and the functions that ball arithmetic knows.

An expression becomes a ball in three ways, because the arithmetic differs. A constant is enclosed part by part, here;
`fdiv.numeric.lower` takes such constants as leaves, for balls as for arrays. `fdiv.balls.tails` computes with sums of
terms C w^p x^n that hold for every x beyond a point, where no single ball could hold the variable.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from typing import Any

import sympy
from flint import arb, ctx, fmpq
from sympy import Expr

from fdiv.exact.symbols import DerivationError

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
"""Functions that are smooth wherever they are defined: all of the line, and for log the positive half."""
SINGULAR: dict[Any, Callable[[Any], Any]] = {sympy.tan: lambda z: z.tan()}
"""Functions that have poles."""
NUMBERS: dict[Any, Callable[[], Any]] = {
    sympy.pi: arb.pi,
    sympy.E: arb.const_e,
    sympy.EulerGamma: arb.const_euler,
    sympy.Catalan: arb.const_catalan,
    sympy.GoldenRatio: lambda: (1 + arb(5).sqrt()) / 2,
}


_LONG_ROOT = 10**4
_LARGEST_PRIME = 2**15


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
    if constant in NUMBERS:
        return NUMBERS[constant]()
    if constant.is_Float:
        return exact(sympy.Rational(constant))
    if hasattr(constant, "enclosed"):
        return constant.enclosed()
    if isinstance(constant, sympy.polys.rootoftools.ComplexRootOf) and constant.is_real:
        radius = sympy.Rational(1, 2**ctx.prec)
        return exact(constant.eval_rational(radius, radius)) + arb(0, exact(radius).upper())
    if not constant.args:
        raise OpenError(f"ball arithmetic has no {constant}")
    if constant.is_Pow and constant.exp.is_Rational and constant.exp.q == 2:
        root = constant_ball(constant.base).sqrt()
        return root ** int(constant.exp.p)
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
    if isinstance(constant, sympy.LambertW):
        return parts[0].lambertw(0 if len(parts) == 1 else int(constant.args[1]))
    if isinstance(constant, sympy.Max | sympy.Min):
        return reduce(arb.max if isinstance(constant, sympy.Max) else arb.min, parts)
    if isinstance(constant, sympy.Abs):
        return abs(parts[0])
    functions = {**FUNCTIONS, **SINGULAR}
    if constant.func not in functions:
        raise OpenError(f"ball arithmetic has no {constant.func}")
    return functions[constant.func](parts[0])


def value_at(expression: Expr, symbol: sympy.Symbol, place: Expr) -> Expr:
    """Return the expression at a place.

    Raises:
        DerivationError: SymPy would write out a power such as 1536^0.123456789012, whose factors have 10^10 digits.
    """
    if place.is_Rational:
        for power in expression.atoms(sympy.Pow):
            if power.exp.is_Rational and power.exp.q > _LONG_ROOT and power.base.has(symbol):
                base = power.base.subs(symbol, place)
                if base.is_Rational and _wraps(base, power.exp):
                    raise DerivationError(f"{base}^({power.exp}) is too long to be written out")
    return expression.subs(symbol, place)


def _wraps(base: sympy.Rational, exponent: sympy.Rational) -> bool:
    """Whether the exponent of one of several primes, times that of the power, exceeds 1: what is left is arbitrary."""
    share = abs(int(exponent.p)) % int(exponent.q)
    factors = [sympy.factorint(number, limit=_LARGEST_PRIME) for number in (abs(int(base.p)), int(base.q))]
    return any(len(found) > 1 and max(found.values()) * share >= exponent.q for found in factors)
