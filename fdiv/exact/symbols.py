"""The four symbols that every formula is written in, the error of what cannot be derived, and powers with an end.

SymPy writes 56^(p/q) by way of 2^(3p mod q) 7^(p mod q): whole numbers of as many digits as q is large, which for an
exponent of twelve digits no memory holds, and in a call that no guard can interrupt. Once this is imported the fraction
of such an exponent, p mod q over q, stays where it is; every other power is SymPy's own.
"""

from __future__ import annotations

import math

import sympy
from sympy import Expr, Integer, Rational

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


_MOST_BITS = 100_000
_SMALL = 1_000  # denominators up to which no factors are looked for
_whole = Integer._eval_power


def _eval_power(number: Integer, exponent: Expr) -> Expr | None:
    """Return what SymPy makes of a power, or None to leave it.

    What is left has an exponent between 0 and 1, as SymPy's own powers have: its products turn others over without end.
    """
    if not isinstance(exponent, Rational) or exponent.q <= _SMALL or _bits(number, exponent) <= _MOST_BITS:
        return _whole(number, exponent)
    whole = exponent.p // exponent.q
    return number**whole * number ** (exponent - whole) if whole else None


def _bits(number: Integer, exponent: Rational) -> float:
    """Return the bits of the whole number that SymPy gathers under the root of order q."""
    left = {prime: order * exponent.p % exponent.q for prime, order in abs(number).factors(limit=2**15).items()}
    left = {prime: power for prime, power in left.items() if power and math.gcd(power, exponent.q) == 1}
    common = math.gcd(*left.values())
    return sum(power // common * math.log2(prime) for prime, power in left.items())


Integer._eval_power = _eval_power
