"""The four symbols that every formula is written in, the error of what cannot be derived, and powers with an end.

SymPy writes 56^(p/q) by way of 2^(3p mod q) 7^(p mod q): whole numbers of as many digits as q is large, which for an
exponent of twelve digits no memory holds, and in a call that no guard can interrupt. Once this is imported it is
2^(3p/q) 7^(p/q), as 8^(p/q) 7^(p/q) is: the primes under the fractions of their exponents, one power for each fraction.
Nor do polynomials then have a term for every power of such a root, nor is its minimal polynomial looked for.
"""

from __future__ import annotations

import math
from typing import Any

import sympy
from flint import fmpz
from sympy import Add, Expr, Integer, Rational
from sympy.polys import numberfields, polyutils

u = sympy.Symbol("u", positive=True)
"""The ratio dP/dQ."""
t = sympy.Symbol("t", real=True)
"""The argument of the conjugate f*."""
v = sympy.Symbol("v", real=True)
"""A critic's raw output, an estimate of the log ratio log u."""
s = sympy.Symbol("s", positive=True)
"""The squared distance of two Gaussian means over their common variance."""


class DerivationError(ValueError):
    """A quantity cannot be derived from the generator; the message says which and why."""


LARGEST_ORDER = 24
"""Of a root that polynomials are written in: u^0.123456 would be one of degree 15,432, whose roots nobody counts.
Powers of numbers are SymPy's own up to it: for those a single root has a better separation bound than a product."""
_LARGEST_PRIME = 2**15  # up to which a whole number is taken apart, as by SymPy
_HIGHEST_DEGREE = 200  # of a number whose minimal polynomial is looked for
_whole, _common = Integer._eval_power, Add.as_content_primitive
_decompose, _minimal = polyutils.decompose_power, numberfields.minimal_polynomial


def _eval_power(number: Integer, exponent: Expr) -> Expr | None:
    """Return what a power is in primes, one power for each fraction of an exponent, or None if it is that."""
    if not isinstance(exponent, Rational) or exponent.q <= LARGEST_ORDER:
        return _whole(number, exponent)
    whole = exponent.p // exponent.q
    if whole:
        return number**whole * number ** (exponent - whole)
    outside, roots = Integer(1), dict[Rational, Integer]()
    for prime, order in in_primes(abs(number)).items():
        times, left = divmod(order * exponent.p, exponent.q)
        outside *= Integer(prime) ** times
        if left:
            fraction = Rational(left, exponent.q)
            roots[fraction] = roots.get(fraction, Integer(1)) * prime
    if roots == {exponent: abs(number)}:
        return None
    sign = Integer(-1) ** exponent if number < 0 else Integer(1)
    return sign * outside * sympy.Mul(*(base**fraction for fraction, base in roots.items()))


def in_primes(number: Rational) -> dict[int, int]:
    """Return the powers of the primes in a positive rational number; large primes may stay together in one factor."""
    parts = ((fmpz(int(number.p)), 1), (fmpz(int(number.q)), -1))
    return {
        int(prime): side * int(order)
        for part, side in parts
        for prime, order in part.factor(trial_limit=_LARGEST_PRIME)
    }


def _decomposed(power: Expr) -> tuple[Expr, int]:
    """Return the base and exponent that SymPy's polynomials take a power for: itself and 1 for a root of high order."""
    rate, _ = power.as_base_exp()[1].as_coeff_Mul(rational=True)
    return (power, 1) if rate.q > LARGEST_ORDER else _decompose(power)


def _content(total: Add, radical: bool = False, clear: bool = True) -> Any:
    """Return a sum's common factor and the rest, without the search for common roots if some are of high order."""
    roots = (power.exp for power in total.atoms(sympy.Pow) if power.is_number and power.exp.is_Rational)
    return _common(total, radical and all(exponent.q <= LARGEST_ORDER for exponent in roots), clear)


def _minimal_polynomial(number: Expr, *arguments: Any, **options: Any) -> Any:
    """Return SymPy's minimal polynomial; raises NotImplementedError, as it does itself, for one of high degree."""
    roots = {power for power in number.atoms(sympy.Pow) if power.exp.is_Rational}
    if math.prod(int(power.exp.q) for power in roots) > _HIGHEST_DEGREE:
        raise NotImplementedError(f"the minimal polynomial of {number} may have too high a degree")
    return _minimal(number, *arguments, **options)


Integer._eval_power = _eval_power
polyutils.decompose_power = _decomposed
Add.as_content_primitive = _content
numberfields.minimal_polynomial = _minimal_polynomial
