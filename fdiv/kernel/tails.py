"""Limits of functions for u -> 0 and u -> infinity, by expansions with exact coefficients."""

from __future__ import annotations

import math
from typing import Any

from flint import fmpq

from fdiv.kernel.ledger import Unproved, require
from fdiv.kernel.polynomials import RING, terms
from fdiv.kernel.ratio import Ratio

_LENGTHS = (3, 6, 12)  # terms of each expansion; more where they cancel
_EXACT = fmpq(-(10**9))  # the order of what leaves nothing out
Terms = dict[tuple[fmpq, int], Ratio]
Expansion = tuple[Terms, fmpq]  # the terms c w^p (log w)^n, and an order: all else is O(w^order (log w)^m) for some m


class _Tail:
    """Expansions as w = u^side -> infinity, with exact coefficients."""

    def __init__(self, field: Any, side: int, length: int) -> None:
        self.field, self.side, self.length = field, side, length

    def expand(self, poly: Any) -> Expansion:
        total: Expansion = ({}, _EXACT)
        for powers, c in terms(poly):
            term = self._term(self.field.constant(c))
            for i, e in powers.items():
                term = self._times(term, self._atom(i, e))
            total = self._plus(total, term)
        return total

    def lead(self, x: Expansion) -> tuple[tuple[fmpq, int], Ratio]:
        """The leading term, whose coefficient is proved not to be zero."""
        require(bool(x[0]), "no leading term is left")
        key = max(x[0])
        self.field.sign(x[0][key])
        return key, x[0][key]

    def _term(self, c: Ratio, p: Any = 0, n: int = 0) -> Expansion:
        return {} if c.zero else {(fmpq(p), n): c}, _EXACT

    def _plus(self, a: Expansion, b: Expansion) -> Expansion:
        found, order = dict(a[0]), max(a[1], b[1])
        for key, c in b[0].items():
            found[key] = found[key] + c if key in found else c
        return {key: c for key, c in found.items() if key[0] > order and not c.zero}, order

    def _times(self, a: Expansion, b: Expansion) -> Expansion:
        self.field.ledger.spend(30 * len(a[0]) * len(b[0]))
        tops = [max((p for p, _ in x[0]), default=x[1]) for x in (a, b)]
        total: Expansion = ({}, max(tops[0] + b[1], tops[1] + a[1]))
        for (p, n), c in a[0].items():
            total = self._plus(total, ({(p + q, n + m): c * k for (q, m), k in b[0].items()}, _EXACT))
        return total

    def _atom(self, i: int, e: int) -> Expansion:
        """The e-th power of an atom."""
        atom, field = self.field.atoms[i], self.field
        if not atom.varies:
            return self._term(Ratio(field, RING.gen(i) ** e))
        if atom.kind == "u":
            return self._term(field.constant(1), fmpq(self.side * e, field.order))
        above, below = self.expand(atom.argument.num), self.expand(atom.argument.den)
        argument = self._times(above, self._raised(below, fmpq(-1)))
        if atom.kind == "root":
            return self._raised(argument, fmpq(e, field.order))
        if atom.kind == "exp":
            return self._exp(argument, fmpq(e))
        require(atom.kind == "log" and e <= 8, "no expansion of this function is known")
        log, power = self._log(argument), self._term(field.constant(1))
        for _ in range(e):
            power = self._times(power, log)
        return power

    def _raised(self, x: Expansion, e: fmpq) -> Expansion:
        """|x|^e; for an integer x^e."""
        sign = self.field.sign(self.lead(x)[1]) if e.q == 1 and e.p % 2 else 1
        return self._times(self._exp(self._log(x), e), self._term(self.field.constant(sign)))

    def _log(self, x: Expansion) -> Expansion:
        """log|x| = p log w + log|c| + log(1 + small), where x = c w^p (1 + small)."""
        (p, n), c = self.lead(x)
        require(n == 0, "a logarithm leads")
        constant, one = self.field.log(c * self.field.sign(c)), self.field.constant(1)
        small = self._plus(self._times(x, self._term(one.over(c), -p)), self._term(one * -1))
        taylor = [fmpq(0)] + [fmpq((-1) ** (j + 1), j) for j in range(1, self.length)]
        known = self._plus(self._term(one * p, 0, 1), self._term(constant))
        return self._plus(known, self._series(small, taylor))

    def _exp(self, x: Expansion, e: fmpq) -> Expansion:
        """exp(e x), where x = c log w + constant + small."""
        x = self._times(x, self._term(self.field.constant(e)))
        large = {key: c for key, c in x[0].items() if key[0] >= 0}
        rate = large.pop((fmpq(0), 1), self.field.constant(0)).rational
        size = self.field.exp(large.pop((fmpq(0), 0), self.field.constant(0)))
        require(not large and rate is not None, "an exponential of more than a logarithm")
        small = {key: c for key, c in x[0].items() if key[0] < 0}, x[1]
        taylor = [fmpq(1, math.factorial(j)) for j in range(self.length)]
        return self._times(self._term(size, rate), self._series(small, taylor))

    def _series(self, small: Expansion, coefficients: list[fmpq]) -> Expansion:
        """A power series in what tends to zero; what is left out is of the order of the next power."""
        top = max((p for p, _ in small[0]), default=small[1])
        require(top < 0, "an expansion in what does not tend to zero")
        total: Expansion = ({}, len(coefficients) * top)
        power = self._term(self.field.constant(1))
        for c in coefficients:
            total = self._plus(total, self._times(power, self._term(self.field.constant(c))))
            power = self._times(power, small)
        return total


def limit(x: Ratio, side: int) -> Ratio | str:
    """The limit for u -> inf (side 1) or u -> 0 (side -1): a constant, "inf" or "-inf"."""
    if x.zero:
        return x
    reason = ""
    for length in _LENGTHS:
        tail = _Tail(x.field, side, length)
        try:
            (top, c), (bottom, k) = tail.lead(tail.expand(x.num)), tail.lead(tail.expand(x.den))
        except Unproved as error:
            reason = str(error)
            continue
        if top <= bottom:
            return c.over(k) if top == bottom else x.field.constant(0)
        return "inf" if x.field.sign(c) == x.field.sign(k) else "-inf"
    raise Unproved(f"no limit is known: {reason}")
