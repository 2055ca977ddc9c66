"""The sign of an expression in u for all x = |log u| >= X, by its leading term and an explicit remainder.

Every subexpression is a finite sum of terms C w^p x^n with w = e^x, where w is u at infinity and 1/u at zero.
A coefficient is an exact rational, or a ball that holds for every x >= X (a coefficient that varies with x stays
inside). log, exp and powers are expanded to a few terms in the ratio of the small terms to the leading one, and
the rest of Taylor's formula, in Lagrange's form over a ball, becomes one more term: nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import sympy
from flint import arb, fmpq
from sympy import Expr

from fdiv.exact.constants import OpenError, constant_ball, exact, rational
from fdiv.exact.symbols import u

Terms = dict[tuple[Fraction, Fraction], Any]  # (p, n) -> C
_ORDER = 4  # terms of a Taylor expansion before the remainder
_MOST_TERMS = 60
_VANISHING = 64  # exp(-w) is bounded by a multiple of w^-64
_ONE = (Fraction(0), Fraction(0))


def tail_is_positive(expression: Expr, side: int, start: int) -> bool:
    """Whether `expression` is certainly positive for side * log u >= start >= 1; raises OpenError if unknown."""
    tail = _Tail(side, start)
    leading, rest = tail.split(tail.expand(expression))
    # the expression is C M (1 + rest), and both C and 1 + rest are positive balls
    return bool(leading[1] > 0 and tail.bound(rest) > -1)


def limit(expression: Expr, side: int, start: int) -> Any:
    """Return a ball that contains the limit, arb(inf) or arb(-inf); raises OpenError if unknown."""
    tail = _Tail(side, start)
    terms = tail.expand(expression)
    if all(key < _ONE for key, c in terms.items() if not _vanishes(c)):
        return arb(0)
    (order, coefficient), _ = tail.split(terms)
    if order == _ONE:
        return arb(coefficient)
    return arb.pos_inf() if coefficient > 0 else arb.neg_inf()


def is_bounded_by_a_power(expression: Expr, side: int, start: int) -> bool:
    """Whether |expression| <= C w^N for x >= start; raises OpenError if unknown."""
    return bool(_Tail(side, start).expand(expression))


class _Tail:
    """The arithmetic of such sums for x >= start."""

    def __init__(self, side: int, start: int) -> None:
        self.side, self.start = side, start

    def expand(self, node: Expr) -> Terms:
        if node == u:
            return {(Fraction(self.side), Fraction(0)): fmpq(1)}
        if not node.has(u):
            return {_ONE: _constant(node)}
        if node.is_Add:
            return _sum(*(self.expand(argument) for argument in node.args))
        if node.is_Mul:
            return self.product(*(self.expand(argument) for argument in node.args))
        if node == sympy.log(u):
            return {(Fraction(0), Fraction(1)): fmpq(self.side)}
        if node.is_Pow and node.exp.is_Rational:
            return self.power(self.expand(node.base), Fraction(int(node.exp.p), int(node.exp.q)))
        if node.is_Pow:
            return self.exponential(self.product(self.logarithm(self.expand(node.base)), self.expand(node.exp)))
        if isinstance(node, sympy.log):
            return self.logarithm(self.expand(node.args[0]))
        if isinstance(node, sympy.exp):
            return self.exponential(self.expand(node.args[0]))
        if isinstance(node, sympy.sin | sympy.cos | sympy.tanh | sympy.erf):
            return {_ONE: arb(0, 1)}  # no value of theirs leaves [-1, 1]
        raise OpenError(f"no expansion of {node.func}")

    def split(self, terms: Terms) -> tuple[tuple[tuple[Fraction, Fraction], Any], Terms]:
        """Return the leading term, and the others divided by it."""
        terms = {key: c for key, c in terms.items() if not _vanishes(c)}
        if not terms:
            raise OpenError("it vanishes")
        (p, n) = top = max(terms)
        coefficient = terms.pop(top)
        if not (coefficient > 0 or coefficient < 0):
            raise OpenError("the leading coefficient is not separated from zero")
        return (top, coefficient), {(a - p, b - n): c / coefficient for (a, b), c in terms.items()}

    def bound(self, small: Mapping[tuple[Fraction, Fraction], Any]) -> Any:
        """Return a ball that contains the sum of terms that vanish at infinity."""
        total = arb(0)
        for (p, n), coefficient in small.items():
            total += coefficient * self._range(p, n)
        return total

    def _range(self, p: Fraction, n: Fraction) -> Any:
        """Return a ball around [0, sup of e^{p x} x^n over x >= start]."""
        if (p, n) == _ONE:
            return arb(1)
        if p > 0 or (p == 0 and n > 0):
            raise OpenError("a term does not vanish")
        # e^{p x} x^n rises up to x = n/-p, where its derivative vanishes, and falls from there on
        at = max(Fraction(self.start), n / -p) if p < 0 else Fraction(self.start)
        x = exact(at)
        top = ((exact(p) * x).exp() * (x.log() * exact(n)).exp()).upper()
        return arb(0).union(arb(top))

    def product(self, first: Terms, *others: Terms) -> Terms:
        for other in others:
            found: Terms = {}
            for (a, b), c in first.items():
                for (p, n), d in other.items():
                    found[a + p, b + n] = found.get((a + p, b + n), fmpq(0)) + c * d
            first = self._short(found)
        return first

    def _short(self, terms: Terms) -> Terms:
        """Gather the smallest of too many terms into a ball on the largest of them."""
        if len(terms) <= _MOST_TERMS:
            return terms
        order = sorted(terms, reverse=True)
        kept, (p, n) = order[: _MOST_TERMS - 1], order[_MOST_TERMS - 1]  # the largest of those gathered
        gathered = self.bound({(a - p, b - n): terms[a, b] for a, b in order[_MOST_TERMS - 1 :]})
        return {**{key: terms[key] for key in kept}, (p, n): gathered}

    def _taylor(self, small: Terms, coefficients: list[Any], remainder: Any) -> Terms:
        """Return sum c_k r^k + remainder r^K for a vanishing sum r."""
        total: Terms = {_ONE: coefficients[0]}
        power: Terms = {_ONE: fmpq(1)}
        for coefficient in coefficients[1:]:
            power = self.product(power, small)
            total = _sum(total, {key: coefficient * c for key, c in power.items()})
        return _sum(total, {key: remainder * c for key, c in self.product(power, small).items()})

    def power(self, terms: Terms, exponent: Fraction) -> Terms:
        """Return (C M)^q (1 + r)^q; the last term of the binomial series is C(q, K) (1 + xi)^{q - K} r^K (Lagrange).

        xi lies between 0 and r, so the ball `inside` holds 1 + xi for every x.
        """
        if exponent.denominator == 1 and 0 <= exponent <= _ORDER:
            return self.product({_ONE: fmpq(1)}, *[terms] * int(exponent))
        ((p, n), c), small = self.split(terms)
        if exponent.denominator != 1 and not c > 0:
            raise OpenError("a root of a negative number")
        lead = {(p * exponent, n * exponent): _raised(c, exponent)}
        if not small:
            return lead
        inside = 1 + arb(0).union(self.bound(small))
        if not inside > 0:
            raise OpenError("the remainder outweighs the leading term")
        binomials = [fmpq(1)]
        for k in range(_ORDER):
            binomials.append(binomials[-1] * rational(exponent - k) / (k + 1))
        last = binomials.pop() * (inside.log() * exact(exponent - _ORDER)).exp()
        return self.product(lead, self._taylor(small, binomials, last))

    def logarithm(self, terms: Terms) -> Terms:
        """Return log(C M) + log(1 + r); the last term of the series is (-1)^{K+1} r^K / (K (1 + xi)^K)."""
        ((p, n), c), small = self.split(terms)
        if n != 0 or not c > 0:
            raise OpenError("the logarithm of a logarithm, or of a negative number")
        constant = fmpq(0) if c == 1 else arb(c).log()
        lead: Terms = {_ONE: constant, (Fraction(0), Fraction(1)): rational(p)}
        if not small:
            return lead
        inside = 1 + arb(0).union(self.bound(small))
        if not inside > 0:
            raise OpenError("the remainder outweighs the leading term")
        coefficients = [fmpq(0), *(fmpq((-1) ** (k + 1), k) for k in range(1, _ORDER))]
        last = fmpq((-1) ** (_ORDER + 1), _ORDER) / inside**_ORDER
        return _sum(lead, self._taylor(small, coefficients, last))

    def exponential(self, terms: Terms) -> Terms:
        """Return exp of the vanishing terms by Taylor, of a constant and of c x exactly, of -w by a bound.

        The last term of Taylor's series is e^xi r^K / K!, with xi between 0 and r.
        """
        terms = {key: c for key, c in terms.items() if not _vanishes(c)}
        large = {key: c for key, c in terms.items() if key > (Fraction(0), Fraction(1))}
        if large:
            return self._vanishing(terms)
        slope = terms.get((Fraction(0), Fraction(1)), fmpq(0))
        if not isinstance(slope, fmpq) or any(key > _ONE for key in terms if key != (Fraction(0), Fraction(1))):
            raise OpenError("an exponent that is no rational multiple of log u")
        constant = terms.get(_ONE, fmpq(0))
        lead = {(Fraction(int(slope.p), int(slope.q)), Fraction(0)): fmpq(1) if constant == 0 else arb(constant).exp()}
        small = {key: c for key, c in terms.items() if key < _ONE}
        if not small:
            return lead
        coefficients = [fmpq(1)]
        for k in range(1, _ORDER + 1):
            coefficients.append(coefficients[-1] / k)
        last = coefficients.pop() * arb(0).union(self.bound(small)).exp()
        return self.product(lead, self._taylor(small, coefficients, last))

    def _vanishing(self, terms: Terms) -> Terms:
        """Bound exp(-a w^p x^n (1 + r)), n >= 0, by B w^-64: the exponent plus 64 x is largest at a known x."""
        ((p, n), c), small = self.split(terms)
        share = 1 + self.bound(small)
        if not (c < 0 and share > 0 and p > 0 and n >= 0):
            raise OpenError("it grows faster than every power of u")
        rate = (-arb(c) * share).lower()  # x^n >= 1
        # the derivative of 64 x - rate e^{p x} vanishes where e^{p x} = 64/(rate p), and is negative from there on
        x = (_VANISHING / (rate * exact(p))).log() / exact(p)
        x = x.max(arb(self.start))
        largest = (_VANISHING * x - rate * (exact(p) * x).exp()).exp().upper()
        return {(Fraction(-_VANISHING), Fraction(0)): arb(0).union(arb(largest))}


def _sum(*parts: Terms) -> Terms:
    total: Terms = {}
    for part in parts:
        for key, c in part.items():
            total[key] = total[key] + c if key in total else c
    return {key: c for key, c in total.items() if not (isinstance(c, fmpq) and c == 0)} or {_ONE: fmpq(0)}


def _constant(node: Expr) -> Any:
    return rational(node) if node.is_Rational else constant_ball(node)


def _vanishes(c: Any) -> bool:
    return bool(c == 0)  # a ball that merely contains zero is neither == 0 nor != 0


def _raised(c: Any, exponent: Fraction) -> Any:
    if exponent.denominator == 1:
        return c ** int(exponent)
    return fmpq(1) if c == 1 else (arb(c).log() * exact(exponent)).exp()
