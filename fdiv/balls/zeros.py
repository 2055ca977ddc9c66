"""Where two smooth branches of a Max, Min or Abs meet: the zeros of a function of u that have no formula.

Ball arithmetic isolates every zero in x = log u: the tails have a certain sign; a box is discarded where the
function keeps away from zero, holds one zero where it is monotone and changes its sign, and is split otherwise. A
zero at a simple fraction, which may be multiple, is recognised exactly; any other is a number known to any precision.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import flint
import mpmath
import sympy
from flint import arb, arb_series
from sympy import Expr

from fdiv.balls import ball
from fdiv.exact.comparison import vanishes
from fdiv.exact.constants import OpenError, constant_ball, exact, value_at
from fdiv.exact.symbols import DerivationError, u
from fdiv.numeric.backends import MPMATH
from fdiv.numeric.lower import lower

_BITS = 192
_MOST_BOXES = 2000
_NARROWEST = Fraction(1, 2**60)
_SPLIT = Fraction(31, 67)  # unlikely to be a zero
_LARGEST_DENOMINATOR = 12
_MOST_MULTIPLE = 8


class Crossing(sympy.NumberSymbol):
    """The only zero of a smooth function of u near log u = x, where its slope is not zero."""

    is_real = True
    is_positive = True

    def __new__(cls, function: Expr, x: Fraction) -> Crossing:
        """Make a new number; `_crossing` keeps one for each zero, since SymPy compares such numbers by identity."""
        number = sympy.AtomicExpr.__new__(cls)
        number.function, number.x = function, x
        return number

    def enclosed(self) -> Any:
        """Return a ball at the working precision, in which ball arithmetic has seen the function change its sign."""
        return _enclosed(self.function, self.x, flint.ctx.prec)

    def _hashable_content(self) -> tuple[Any, ...]:
        return self.function, self.x

    def _as_mpf_val(self, precision: int) -> Any:
        return _to_precision(self.function, self.x, 1 << precision.bit_length())

    def _sympystr(self, printer: Any) -> str:
        return f"{float(self):.6g}"

    _latex = _sympystr


def has_formula(place: Expr) -> bool:
    """Whether SymPy can compare values at `place` exactly; those at a `Crossing` it compares in ever more digits."""
    return not place.has(Crossing)


@cache
def _to_precision(function: Expr, x: Fraction, bits: int) -> Any:
    """Improve e^x by Newton's method."""
    with mpmath.workprec(bits + 24):
        value, slope = (lower(e, u, MPMATH) for e in (function, sympy.diff(function, u)))
        point = mpmath.exp(mpmath.mpf(x.numerator) / x.denominator)
        for _ in range((bits // 50).bit_length() + 2):  # each step doubles the 60 bits of x
            point -= value(point) / slope(point)
        return point._mpf_


@cache
def _enclosed(function: Expr, x: Fraction, bits: int) -> Any:
    """Enclose e^x for the only zero near x: the function has unlike signs at both ends of a box within that one."""
    with flint.ctx.workprec(bits + 64), mpmath.workprec(bits + 64):
        point = mpmath.mpf(_to_precision(function, x, bits + 64))
        near = ball.rational_point(mpmath.log(point))
        for radius in (Fraction(1, 2 ** (bits + 8)), Fraction(1, 2 ** (bits // 2)), _NARROWEST / 4):
            low, high = near - radius, near + radius
            if not (x - _NARROWEST / 2 <= low and high <= x + _NARROWEST / 2):
                continue
            values = [ball.enclose(function, exact(end)) for end in (low, high)]
            if (values[0] < 0 and values[1] > 0) or (values[0] > 0 and values[1] < 0):
                return exact(low).union(exact(high)).exp()
    raise OpenError(f"the zero of {function} near log u = {float(x):g} is not enclosed")


@cache
def _crossing(function: Expr, x: Fraction) -> Crossing:
    return Crossing(function, x)


@cache
def crossings(function: Expr) -> tuple[Expr, ...]:
    """Return all zeros of a smooth function in (0, inf), also those where it does not change its sign.

    Raises DerivationError where ball arithmetic does not separate them.
    """
    try:
        with flint.ctx.workprec(_BITS):
            return tuple(_isolated(function, ball.sign_beyond(function, -1), ball.sign_beyond(function, 1)))
    except (OpenError, ZeroDivisionError, ValueError, OverflowError) as error:
        raise DerivationError(f"this software cannot locate the kinks where {function} = 0: {error}") from error


def _isolated(function: Expr, left: Fraction, right: Fraction) -> list[Expr]:
    found: list[Expr] = []
    boxes = [(left, right)]
    for _ in range(_MOST_BOXES):
        if not boxes:
            return found
        low, high = boxes.pop()
        value, slope = _on_box(function, low, high)
        if value is not None and not value.contains(0):
            continue  # no zero here
        simple = _simple_zero(function, low, high) if high - low < Fraction(1, 4) else None
        if simple is not None:
            found.append(simple)
        elif slope is not None and not slope.contains(0):  # monotone: one zero if the signs at the ends differ
            if _negative(function, low) != _negative(function, high):
                near = _narrowed(function, low, high)
                found.append(_simple_zero(function, *near) or _crossing(function, sum(near) / 2))
        elif high - low < _NARROWEST:
            break
        else:
            middle = low + (high - low) * _SPLIT
            boxes += [(low, middle), (middle, high)]
    raise OpenError("its zeros are not separated")


def _on_box(function: Expr, low: Fraction, high: Fraction) -> tuple[Any, Any]:
    """Enclose the function and its derivative by x = log u; None where it is undefined on a part of the box."""
    middle, half = (low + high) / 2, arb(0, exact((high - low) / 2).upper())
    try:
        value, slope = ball.series(function, arb_series([exact(middle) + half, 1], prec=2))
        centred = ball.enclose(function, exact(middle)) + slope * half
    except (OpenError, ZeroDivisionError, ValueError):
        return None, None
    return (centred if value.contains(0) else value), slope


def _negative(function: Expr, x: Fraction) -> bool:
    value = ball.enclose(function, exact(x))
    if value.contains(0):
        raise OpenError("a zero lies at the end of a box")
    return bool(value < 0)


def _narrowed(function: Expr, low: Fraction, high: Fraction) -> tuple[Fraction, Fraction]:
    falling = _negative(function, high)
    while high - low > _NARROWEST:
        middle = low + (high - low) * _SPLIT
        low, high = (middle, high) if _negative(function, middle) != falling else (low, middle)
    return low, high


def _simple_zero(function: Expr, low: Fraction, high: Fraction) -> Expr | None:
    """Return a simple fraction that is certainly the only zero in the box, of whatever multiplicity, or None.

    If the first derivative that does not vanish there keeps away from zero on the box, Taylor's formula has no other.
    """
    ends = [exact(end).exp() for end in (low, high)]
    near = ball.fraction((ends[0] + ends[1]) / 2).limit_denominator(_LARGEST_DENOMINATOR)
    if not ends[0] < exact(near) < ends[1]:
        return None
    place, derivative = sympy.Rational(near), function
    for order in range(_MOST_MULTIPLE):
        try:
            value = value_at(derivative, u, place)
        except DerivationError:
            return None
        if not constant_ball(value).contains(0) or not vanishes(value):
            whole = exact(low).union(exact(high))
            return place if order and not ball.enclose(derivative, whole).contains(0) else None
        derivative = sympy.diff(derivative, u)
    return None
