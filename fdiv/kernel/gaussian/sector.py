"""Functions of x = -log w on a sector |arg x| <= angle of the complex plane: values, bounds and singularities.

They are continued from x > 0, which is w in (0, 1). See *Quadrature* in `docs/kernel.md` for the proofs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cached_property, reduce
from typing import Any

from flint import acb, arb, fmpq, fmpq_poly

from fdiv.kernel.field import Field
from fdiv.kernel.ledger import require
from fdiv.kernel.polynomials import FIRST, monomial, terms, used
from fdiv.kernel.ratio import Ratio
from fdiv.kernel.tails import limit

_FAR = 8  # Re x from which on a function is bounded by that of its power series
_ARCS = 4  # parts of half the circle, times the order of the roots


def size(value: Any) -> Any:
    """The largest modulus in a ball; raises `Unproved` for what is not bounded."""
    require(bool(value.is_finite()), "a ball is not bounded")
    return value.abs_upper()


def largest(values: Iterable[Any]) -> Any:
    """An upper bound of real balls."""
    return reduce(arb.max, (value.upper() for value in values))


class _Form:
    """A function of q = w^(1/order), for values in complex balls."""

    def __init__(self, ratio: Ratio) -> None:
        self.field, self.ratio = ratio.field, ratio
        self.terms = terms(ratio.num), terms(ratio.den)

    @cached_property
    def arguments(self) -> dict[int, _Form]:
        """The arguments of the atoms other than q, log q and numbers."""
        indices = {i for part in self.terms for powers, _ in part for i in powers}
        named = {i: self.field.atoms[i] for i in indices if not is_log(self.field, i)}
        signed = {
            i: atom.argument * (self.field.sign(atom.argument) if atom.kind in ("log", "root") else 1)
            for i, atom in named.items()
            if atom.kind not in ("u", "pi")
        }
        return {i: _Form(argument) for i, argument in signed.items()}

    def at(self, q: Any, log_q: Any = None) -> Any:
        """The value at q, where log q is given, or may not occur."""
        self.field.ledger.spend(5 + sum(map(len, self.terms)))
        values = {i: self._atom(i, argument.at(q, log_q)) for i, argument in self.arguments.items()}

        def value(i: int) -> Any:
            if i in values:
                return values[i]
            if self.field.atoms[i].kind == "pi":
                return arb.pi()
            found = log_q if is_log(self.field, i) else q
            require(found is not None, "a logarithm of w where none may be")
            return found

        above, below = (
            sum((math.prod((value(i) ** e for i, e in powers.items()), start=acb(c)) for powers, c in part), acb(0))
            for part in self.terms
        )
        return above / below

    def _atom(self, i: int, a: Any) -> Any:
        kind = self.field.atoms[i].kind
        if kind == "exp":
            return a.exp()
        require(kind in ("log", "root"), "no complex value of this function is known")
        require(bool(a.real > 0 or a.imag > 0 or a.imag < 0), "a logarithm or root may meet its branch cut")
        return a.log() if kind == "log" else (a.log() / self.field.order).exp()


class Analytic:
    """A function of x and its derivatives; for w -> 0 of the order of w^exponent times powers of log w."""

    def __init__(self, ratio: Ratio, exponent: fmpq) -> None:
        """Take a function on w in (0, 1), which `require_analytic` shows to have a continuation."""
        self.field, self.exponent = ratio.field, exponent
        self.derivatives, self.forms, self.series = [ratio], dict[int, _Form](), dict[int, list[Any]]()

    def derivative(self, k: int) -> Ratio:
        """The k-th derivative in x, d/dx being -w d/dw."""
        while len(self.derivatives) <= k:
            self.derivatives.append(self.field.theta(self.derivatives[-1]) * -1)
        return self.derivatives[k]

    def at(self, k: int, x: Any) -> Any:
        """The k-th derivative in a complex ball of x."""
        if k not in self.forms:
            self.forms[k] = _Form(self.derivative(k))
        log_q = -x / self.field.order
        return self.forms[k].at(log_q.exp(), log_q)

    def over(self, k: int, way: Any, low: Any, high: Any) -> Any:
        """Its values for x = way r, low <= r <= high: a ball around that in the middle, by the mean value theorem."""
        middle, box = way * (low + high) / 2, way * arb(low).union(arb(high))
        self.at(k, box)  # no log or root in it meets its branch cut on the way
        radius = size(self.at(k + 1, box)) * (high - low) / 2
        return self.at(k, middle) + acb(arb(0, radius), arb(0, radius))

    def most(self, k: int, way: Any, low: Any, high: Any) -> Any:
        """The largest modulus there; far out by the power series."""
        if not low * way.real > _FAR:
            return size(self.over(k, way, low, high))
        rate = -way.real * arb(self.exponent)
        return largest([(rate * low).exp(), (rate * high).exp()]) * self.powers(k, high)

    def powers(self, k: int, x: Any, least: int = 0) -> Any:
        """S(|x|) with |k-th derivative| <= |w|^exponent S(|x|) in the sector for Re x >= _FAR, times |x|^least."""
        return sum((c * x ** (i + least) for i, c in enumerate(self.coefficients(k))), arb(0))

    def coefficients(self, k: int) -> list[Any]:
        """Those of S, one for each power of log w.

        Divided by w^exponent, its parts are analytic for small q, also at 0 where they have a limit, so that each is
        largest on the circle.
        """
        if k not in self.series:
            self.series[k] = list(self._coefficients(k))
        return self.series[k]

    def _coefficients(self, k: int) -> Iterator[Any]:
        field, radius = self.field, (-arb(_FAR) / self.field.order).exp()
        whole = self.derivative(k) * field.power(field.u, -self.exponent)
        place = next((i for i in used(whole.num) if is_log(field, i)), -1)
        parts: dict[int, Any] = {}
        for powers, c in terms(whole.num):
            n = powers.pop(place, 0)
            parts[n] = parts.get(n, 0) + monomial(powers) * c
        disc = acb(arb(0, radius), arb(0, radius))
        require(all(not is_log(field, i) for i in used(whole.den)), "a logarithm of w in a divisor")
        without = whole.den // monomial({FIRST: terms(whole.den.term_content())[0][0].get(FIRST, 0)})
        require(not _Form(Ratio(field, without)).at(disc).contains(0), "a divisor may vanish near 0")
        count = _ARCS * field.order
        for n in range(max(parts, default=0) + 1):
            part = field.ratio(parts.get(n, whole.num * 0), whole.den)
            require(part.zero or isinstance(limit(part, -1), Ratio), "it is not bounded near 0")
            _Form(Ratio(field, part.num)).at(disc)  # no log or root in it meets its branch cut in the disc
            arcs = (arb(fmpq(i, count)).union(arb(fmpq(i + 1, count))) * arb.pi() for i in range(count))
            form = _Form(part)
            yield largest(size(form.at(radius * acb(arc.cos(), arc.sin()))) for arc in arcs) / field.order**n


def is_log(field: Field, i: int) -> bool:
    """Whether an atom is log q."""
    return bool(field.atoms[i].kind == "log" and field.atoms[i].argument.num == field.root.num)


def require_analytic(ratio: Ratio, angle: Any) -> None:
    """Show that no divisor, radicand or argument of a log vanishes for x in the sector: they are polynomials in q.

    A zero q of one is x = -order (log q + 2 pi i n), of which n = 0 is nearest to the real axis.
    """
    field, stack = ratio.field, [ratio]
    while stack:
        part = stack.pop()
        polynomials = [part.den]
        for i in {*used(part.num), *used(part.den)}:
            atom = field.atoms[i]
            if atom.kind in ("log", "root") and not is_log(field, i):
                polynomials += [atom.argument.num, atom.argument.den]
            elif atom.kind == "exp":
                stack.append(atom.argument)
        for poly in polynomials:
            for q in _zeros(poly):
                turn = arb.pi() * int(q.real < 0) if q.imag == 0 else arb.pi() / 2 - (q.real / abs(q.imag)).atan()
                require(bool(turn > -abs(q).log() * angle.tan()), "a singularity in the sector")


def _zeros(poly: Any) -> list[Any]:
    """The zeros of a polynomial in q other than 0, in balls."""
    require(set(used(poly)) <= {FIRST}, "a divisor or argument of log that is no polynomial")
    coefficients = [poly[(0,) * FIRST + (j,)] for j in range(poly.degrees()[FIRST] + 1)]
    while coefficients[0] == 0:
        coefficients.pop(0)
    return [zero for zero, _ in fmpq_poly(coefficients).numer().complex_roots()]
