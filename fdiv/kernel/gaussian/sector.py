"""Functions of x = -log w on a sector |arg x| <= angle of the complex plane: values, bounds and singularities.

They are continued from x > 0, which is w in (0, 1). See *Quadrature* in `docs/kernel.md` for the proofs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cached_property, reduce
from typing import Any

from flint import acb, arb, fmpq, fmpq_poly

from fdiv.kernel.ledger import Unproved, require
from fdiv.kernel.polynomials import FIRST, monomial, terms, used
from fdiv.kernel.ratio import Ratio
from fdiv.kernel.tails import limit
from fdiv.kernel.values import Form, is_log

_FAR = (8, 16, 32)  # Re x from which on a function is bounded by that of its power series: the first that serves
_ARCS = 4  # parts of half the circle, times the order of the roots
_HALVINGS = 6


def size(value: Any) -> Any:
    """The largest modulus in a ball; raises `Unproved` for what is not bounded."""
    require(bool(value.is_finite()), "a ball is not bounded")
    return value.abs_upper()


def largest(values: Iterable[Any]) -> Any:
    """An upper bound of real balls."""
    return reduce(arb.max, (value.upper() for value in values))


class Analytic:
    """A function of x and its derivatives; for w -> 0 of the order of w^exponent times powers of log w."""

    def __init__(self, ratio: Ratio, exponent: fmpq) -> None:
        """Take a function on w in (0, 1), which `require_analytic` shows to have a continuation."""
        self.field, self.exponent = ratio.field, exponent
        self.derivatives, self.forms, self.series = [ratio], dict[int, Form](), dict[int, list[Any]]()

    def derivative(self, k: int) -> Ratio:
        """The k-th derivative in x, d/dx being -w d/dw."""
        while len(self.derivatives) <= k:
            self.derivatives.append(self.field.theta(self.derivatives[-1]) * -1)
        return self.derivatives[k]

    def at(self, k: int, x: Any) -> Any:
        """The k-th derivative in a complex ball of x."""
        if k not in self.forms:
            self.forms[k] = Form(self.derivative(k))
        return self.forms[k].at(-x / self.field.order)

    def over(self, k: int, way: Any, low: Any, high: Any, halvings: int = _HALVINGS) -> list[Any]:
        """Its values for x = way r, low <= r <= high, by the mean value theorem; halved where the balls are wide."""
        middle, box = (low + high) / 2, way * arb(low).union(arb(high))
        try:
            self.at(k, box)  # no log or root in it meets its branch cut on the way
            around = arb(0, size(self.at(k + 1, box)) * (high - low) / 2)
            found = self.at(k, way * middle) + acb(around, around if way.imag != 0 else 0)
            if not halvings or found.rel_accuracy_bits() > 0:
                return [found]
        except Unproved:
            if not halvings:
                raise
        return [
            value
            for part in ((low, middle), (middle, high))
            for value in self.over(k, way, *part, halvings=halvings - 1)
        ]

    def most(self, k: int, way: Any, low: Any, high: Any) -> Any:
        """The largest modulus there; far out by the power series."""
        if not low * way.real > self.far:
            return largest(map(size, self.over(k, way, low, high)))
        rate = -way.real * arb(self.exponent)
        return largest([(rate * low).exp(), (rate * high).exp()]) * self.powers(k, high)

    def powers(self, k: int, x: Any, least: int = 0) -> Any:
        """S(|x|) with |k-th derivative| <= |w|^exponent S(|x|) in the sector for Re x >= far, times |x|^least."""
        if k not in self.series:
            self.series[k] = list(self._coefficients(k))
        return sum((c * x ** (i + least) for i, c in enumerate(self.series[k])), arb(0))

    def degree(self, k: int) -> int:
        """That of S."""
        self.powers(k, arb(1))
        return len(self.series[k]) - 1

    @cached_property
    def far(self) -> int:
        """Where the divisors and arguments of the function, but for powers of q, have no zero any more."""
        for far in _FAR:
            radius = (-arb(far) / self.field.order).exp()
            if all(_free(poly, radius) for poly in _polynomials(self.derivatives[0])):
                return far
        raise Unproved("a singularity too far out")

    def _coefficients(self, k: int) -> Iterator[Any]:
        """Those of S, one for each power of log w.

        Divided by w^exponent, its parts are analytic for small q, also at 0 where they have a limit, so that each is
        largest on the circle.
        """
        field, start = self.field, -arb(self.far) / self.field.order
        whole = self.derivative(k) * field.power(field.u, -self.exponent)
        require(all(_free(poly, start.exp()) for poly in _polynomials(whole)), "a singularity near 0")
        place = next((i for i in used(whole.num) if is_log(field, i)), -1)
        parts: dict[int, Any] = {}
        for powers, c in terms(whole.num):
            n = powers.pop(place, 0)
            parts[n] = parts.get(n, 0) + monomial(powers) * c
        count = _ARCS * field.order
        arcs = [arb(fmpq(i, count)).union(arb(fmpq(i + 1, count))) * arb.pi() for i in range(count)]
        for n in range(max(parts, default=0) + 1):
            part = field.ratio(parts.get(n, whole.num * 0), whole.den)
            require(part.zero or isinstance(limit(part, -1), Ratio), "it is not bounded near 0")
            form = Form(part)
            yield largest(size(form.at(acb(start, arc))) for arc in arcs) / field.order**n


def require_analytic(ratio: Ratio, angle: Any) -> None:
    """Show that no divisor, radicand or argument of a log vanishes for x in the sector.

    A zero y = q^n of one is x = -order (log y + 2 pi i j)/n, of which j = 0 is nearest to the real axis.
    """
    for coefficients in _polynomials(ratio):
        n = math.gcd(*(j for j, c in enumerate(coefficients) if c != 0)) or 1
        poly = fmpq_poly(coefficients[::n]).numer()
        ratio.field.ledger.spend(4 * poly.degree() ** 2)
        for y, _ in poly.complex_roots():
            turn = arb.pi() * int(y.real < 0) if y.imag == 0 else arb.pi() / 2 - (y.real / abs(y.imag)).atan()
            require(bool(turn > -abs(y).log() * angle.tan()), "a singularity in the sector")


def _polynomials(ratio: Ratio) -> list[list[fmpq]]:
    """Divisors, radicands and arguments of logs, as the coefficients of polynomials in q without the factor q."""
    found, stack = [], [ratio.den]
    for i in {*used(ratio.num), *used(ratio.den)}:
        atom = ratio.field.atoms[i]
        if atom.kind in ("log", "root") and not is_log(ratio.field, i):
            stack += [atom.argument.num, atom.argument.den]
        else:
            require(not atom.varies or atom.kind in ("u", "log"), "a function that is not continued")
    for poly in stack:
        require(set(used(poly)) <= {FIRST}, "a divisor or argument of log that is no polynomial")
        degree = int(poly.degrees()[FIRST])
        ratio.field.ledger.spend(degree)
        coefficients = [poly[(0,) * FIRST + (j,)] for j in range(degree + 1)]
        while coefficients[0] == 0:
            coefficients.pop(0)
        found.append(coefficients)
    return found


def _free(coefficients: list[fmpq], radius: Any) -> bool:
    """Whether a polynomial stays nearer to its value at 0 than 0 is, for |q| <= radius."""
    rest = sum((abs(arb(c)) * radius**j for j, c in enumerate(coefficients[1:], 1)), arb(0))
    return bool(rest < abs(arb(coefficients[0])))
