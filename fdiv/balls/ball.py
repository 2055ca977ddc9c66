"""The sign of an expression in u on (0, inf) by ball arithmetic: certified, refuted at a point, or left open.

With x = log u the half-line has three parts. On a compact range of x, boxes are bisected until a first-order
Taylor model in python-flint's `arb` (Johansson 2017) encloses each away from zero. On the two tails the
expression is a finite sum of terms C u^p x^n whose coefficients C are exact, or balls that hold for every x
beyond X: Taylor's remainder becomes such a ball, so nothing is dropped, and the leading term decides when it
outweighs the bound of all others.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import flint
import sympy
from flint import arb, arb_series
from sympy import Expr

from fdiv.balls.tails import tail_is_positive
from fdiv.exact.comparison import PRECISIONS, inside
from fdiv.exact.constants import OpenError, constant_ball, exact
from fdiv.exact.simplify import factored
from fdiv.exact.symbols import u, v
from fdiv.numeric.backends import Function, flint_backend
from fdiv.numeric.lower import lower

_BITS = 192
_MOST_BOXES = 1000
_NARROWEST = Fraction(1, 2**50)
_STARTS = (1, 2, 4, 8, 16, 32, 64)  # candidates for X
_FAR = tuple(side * 2**k for k in range(4, 10) for side in (1, -1))  # log u up to where doubles end
_SEARCH = 10  # the range of x that is searched for a counterexample where a tail stays open
_BROKEN = (ZeroDivisionError, ValueError, OverflowError, OpenError)


@dataclass(frozen=True)
class Verdict:
    """`positive` is True (certified), False (refuted at log u = `point`) or None (open, for that `reason`)."""

    positive: bool | None
    reason: str
    point: Fraction | None = None


def enclose(expression: Expr, log_ratio: Any) -> Any:
    """Return a ball that contains `expression` at u = e^x for an `arb` x; raises OpenError where it is undefined."""
    return series(expression, arb_series([log_ratio], prec=1))[0]


def certify_sign(expression: Expr, lower: Expr, upper: Expr, strict: bool = False) -> Verdict:
    """Judge `expression` >= 0, or > 0 if `strict`, on the open interval (lower, upper) of u.

    The factors are certified one by one; where that fails, the whole is searched for a point at which it is negative.

    Args:
        expression: smooth in u on the interval.
        lower: the lower end, 0 or a positive constant.
        upper: the upper end, a constant or infinity.
        strict: whether a zero inside refutes it.

    Returns:
        A verdict that is positive or negative by enclosures alone, and open wherever one is not tight enough.
    """
    with flint.ctx.workprec(_BITS):
        try:
            stretch = _stretch(lower, upper)
        except _BROKEN as error:
            return Verdict(None, str(error))
        negative, reasons = False, []
        for factor, even in _factors(expression):
            if even and not strict:
                continue
            try:
                found = _one_sign(factor, stretch)
            except _BROKEN as error:
                found = Verdict(None, str(error))
            if found.positive is None:
                return _searched(expression, stretch, found.reason)
            negative ^= not even and not found.positive
            reasons.append(found.reason)
        if negative:
            return _searched(expression, stretch, "negative, but no point was found")
    return Verdict(True, "; ".join(dict.fromkeys(filter(None, reasons))) or "a product of positive factors")


@dataclass(frozen=True)
class _Stretch:
    """An open interval of u as balls of log u; None for an infinite end."""

    left: Any | None
    right: Any | None

    def contains(self, x: Fraction) -> bool:
        point = exact(x)
        return bool((self.left is None or self.left < point) and (self.right is None or point < self.right))

    def middle(self) -> Fraction:
        if self.left is not None and self.right is not None:
            return (fraction(self.left) + fraction(self.right)) / 2
        if self.left is not None:
            return fraction(self.left) + Fraction(3, 4)
        return Fraction(1, 3) if self.right is None else fraction(self.right) - Fraction(3, 4)


def _stretch(lower: Expr, upper: Expr) -> _Stretch:
    ends = (None if end in (0, sympy.oo) else constant_ball(sympy.log(end)) for end in (lower, upper))
    return _Stretch(*ends)


def _factors(expression: Expr) -> list[tuple[Expr, bool]]:
    """Return the factors that are not positive at sight, bases for integer powers, and whether the power is even."""
    found = []
    for factor in sympy.Mul.make_args(expression):
        base, exponent = factor.as_base_exp()
        if base != u and not isinstance(factor, sympy.exp):
            found.append((base if exponent.is_Integer else factor, bool(exponent.is_even)))
    return found


def _one_sign(factor: Expr, stretch: _Stretch) -> Verdict:
    """Judge whether a factor is positive or negative throughout."""
    value = _at(factor, stretch.middle())
    if value is not None and value < 0:
        opposite = _positive(-factor, stretch)
        return Verdict(False, opposite.reason) if opposite.positive else Verdict(None, opposite.reason)
    found = _positive(factor, stretch)
    return found if found.positive else Verdict(None, found.reason)


def _positive(factor: Expr, stretch: _Stretch) -> Verdict:
    if not factor.has(u):
        return Verdict(True if constant_ball(factor) > 0 else None, "")
    left, left_reason = _start(factor, stretch.left, -1)
    right, right_reason = _start(factor, stretch.right, 1)
    found = _bisect(factor, left, right, stretch) if left < right else Verdict(True, "")
    return Verdict(found.positive, "; ".join(filter(None, (found.reason, left_reason, right_reason))), found.point)


def _start(factor: Expr, edge: Any | None, side: int) -> tuple[Fraction, str]:
    """Return where the compact range must begin on that side, and what settles the rest; raises OpenError."""
    if edge is not None:
        return fraction(edge.upper() if side > 0 else edge.lower()), ""
    for start in _STARTS:
        for form in _rescaled(factor):
            try:
                if tail_is_positive(form, side, start):
                    return Fraction(side * start), f"leading term for log u {'>' if side > 0 else '<'} {side * start}"
            except _BROKEN:
                continue
    raise OpenError(f"no leading term as u -> {'inf' if side > 0 else '0'}")


def sign_beyond(expression: Expr, side: int) -> Fraction:
    """Return a log u beyond which, on that side, `expression` keeps one sign and is not zero; raises OpenError."""
    try:
        return _start(expression, None, side)[0]
    except OpenError:
        return _start(-expression, None, side)[0]


def _rescaled(factor: Expr) -> list[Expr]:
    """Return the factor, and its quotients by each of its exponentials, of the same sign.

    A sum that e^u dominates has no expansion in powers; divided by e^u it has.
    """
    scales = sorted((e for e in factor.atoms(sympy.exp) if e.has(u)), key=sympy.default_sort_key)
    return [factor, *(sympy.expand(factor / scale) for scale in scales[:3])]


def _searched(expression: Expr, stretch: _Stretch, reason: str) -> Verdict:
    """Look for a point at which the whole expression is negative; open for that `reason` if there is none."""
    left = None if stretch.left is None else fraction(stretch.left)
    right = None if stretch.right is None else fraction(stretch.right)
    low = left if left is not None else min(Fraction(0), right or Fraction(0)) - _SEARCH
    high = right if right is not None else max(Fraction(0), low) + _SEARCH
    whole = _bisect(expression, low, high, stretch)
    if whole.positive is False:
        return whole
    for point in [Fraction(x) for x in _FAR if stretch.contains(Fraction(x))]:
        value = _at(expression, point)
        if value is not None and value < 0:
            return Verdict(False, "negative in ball arithmetic", point)
    return Verdict(None, reason)


def _bisect(expression: Expr, left: Fraction, right: Fraction, stretch: _Stretch) -> Verdict:
    """Enclose the expression on boxes, those nearest 1 and then the lowest first; stop at a negative point inside."""
    steps = max(1, int(right - left))
    edges = [left + (right - left) * i / steps for i in range(steps + 1)]
    fresh = sorted(itertools.pairwise(edges), key=lambda box: -abs(box[0] + box[1]))
    count = itertools.count()
    boxes: list[tuple[float, int, Fraction, Fraction]] = []
    for _ in range(_MOST_BOXES):
        if fresh:
            halves = [fresh.pop()]
        elif boxes:
            *_, a, b = heapq.heappop(boxes)
            if b - a < _NARROWEST:
                break
            halves = [(a, (a + b) / 2), ((a + b) / 2, b)]
        else:
            return Verdict(True, f"ball arithmetic for log u in [{float(left):g}, {float(right):g}]")
        for a, b in halves:
            middle = (a + b) / 2
            value = _at(expression, middle)
            if value is not None and value < 0 and stretch.contains(middle):
                return Verdict(False, "negative in ball arithmetic", middle)
            bound = _lower_bound(expression, middle, (b - a) / 2)
            if not bound > 0:  # NaN too: what is undefined on a box is not proved there
                heapq.heappush(boxes, (-float("inf") if bound != bound else bound, next(count), a, b))
    return Verdict(None, "boxes do not separate it from zero" + (f" near log u = {float(a):g}" if boxes else ""))


def counterexample(expression: Expr, x: Fraction, lower: Expr, upper: Expr) -> tuple[Fraction, float]:
    """Return the simplest decimal or binary u near e^x at which `expression` is certainly negative, and its value."""
    with flint.ctx.workprec(_BITS):
        ratio = fraction(exact(x).exp())
        for denominator in (1, 2, 4, 10, 100, 1000, 10**6):
            near = Fraction(round(ratio * denominator), denominator)
            if near > 0 and inside(sympy.Rational(near), lower, upper):
                value = _at(expression, near, plain=True)
                if value is not None and value < 0:
                    return near, float(value)
        return ratio, float(enclose(expression, exact(x)))


def _at(expression: Expr, point: Fraction, plain: bool = False) -> Any | None:
    """Return a ball around the value at log u = point, or at u = point if `plain`; None where it is undefined."""
    try:
        return enclose(expression, exact(point).log() if plain else exact(point))
    except _BROKEN:
        return None


def _lower_bound(expression: Expr, middle: Fraction, half: Fraction) -> float:
    """Return a lower bound on the box, the better of the plain enclosure and the mean value form; NaN if none."""
    spread = arb(0, exact(half).upper())
    box = exact(middle) + spread
    try:
        value, slope = series(expression, arb_series([box, 1], prec=2))
        # the mean value theorem: f(x) = f(m) + f'(xi) (x - m) with xi in the box, which wins on narrow boxes
        centred = enclose(expression, exact(middle)) + slope * spread
    except _BROKEN:
        return float("nan")
    return max(float(value.lower()), float(centred.lower()))


def series(expression: Expr, x: Any) -> list[Any]:
    """Return the Taylor coefficients of `expression` at u = e^x, as balls; raises OpenError where it is undefined."""
    result = _in_log_ratio(expression, flint.ctx.prec)(x)
    if not isinstance(result, arb_series):
        return [result, *[arb(0)] * (x.prec - 1)]
    coefficients = [result[i] for i in range(x.prec)]
    if not all(c.is_finite() for c in coefficients):
        raise OpenError("undefined on a box")
    return coefficients


@cache
def _in_log_ratio(expression: Expr, bits: int) -> Function:
    """Lower a smooth expression in u to a function of x = log u; log u itself becomes x, and u^p e^{p x}."""
    if expression.has(sympy.Piecewise):  # its conditions would compare balls, and a ball may be on both sides
        raise OpenError("ball arithmetic has no Piecewise")
    try:
        return lower(expression.subs(u, sympy.exp(v)), v, flint_backend(bits))
    except NotImplementedError as error:
        raise OpenError(str(error)) from error


def sign_at(expression: Expr, point: sympy.Rational) -> int:
    """Return the sign of `expression` at a rational u, 0 where it vanishes identically; raises OpenError."""
    at = Fraction(int(point.p), int(point.q))
    for bits in PRECISIONS:
        with flint.ctx.workprec(bits):
            value = _at(expression, at, plain=True)
        if value is not None and (value > 0 or value < 0):
            return 1 if value > 0 else -1
        if bits == PRECISIONS[1] and (sympy.expand(expression) == 0 or factored(expression) == 0):
            return 0
    raise OpenError(f"the sign of {expression} at u = {point} is not decided in {PRECISIONS[-1]} bits")


def rational_point(number: Any) -> Fraction:
    """Return a number of mpmath as the fraction that it is."""
    sign, mantissa, exponent, _ = number._mpf_
    return (-1) ** sign * Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def fraction(ball: Any) -> Fraction:
    """Return the middle of a ball."""
    mantissa, exponent = ball.mid().man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
