"""The values of functions: in a ball of u, and where another function or a number is substituted for u."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

from flint import arb, fmpq

from fdiv.kernel.ledger import require
from fdiv.kernel.polynomials import FIRST, monomial, terms
from fdiv.kernel.ratio import Ratio

NEAR = fmpq(1, 2**80)  # the relative width of the bracket of a zero
_BALLS: dict[str, Callable[[Any, int], Any]] = {  # an atom's value by its argument's
    "log": lambda a, order: abs(a).log(),
    "root": lambda a, order: (abs(a).log() / order).exp(),
    "exp": lambda a, order: a.exp(),
    "erf": lambda a, order: a.erf(),
    "pi": lambda a, order: arb.pi(),
    "zero": lambda a, order: a.union(a * (1 + NEAR)),
}


class Form:
    """A function on a piece, for its values in balls of u, or of a complex log u where it is continued to that."""

    def __init__(self, ratio: Ratio) -> None:
        """Write the divisor in factors, which enclose it better."""
        self.field, self.above = ratio.field, terms(ratio.num)
        self.shift = terms(ratio.den.term_content())[0][0].get(FIRST, 0)  # the power of u^(1/order) in the divisor
        self.lead, parts = (ratio.den // monomial({FIRST: self.shift})).factor_squarefree()
        self.below = [(terms(part), int(multiplicity)) for part, multiplicity in parts]

    @cached_property
    def arguments(self) -> dict[int, Form]:
        """Those of its atoms other than u^(1/order) and the logarithm of that."""
        indices = {i for part in (self.above, *(part for part, _ in self.below)) for powers, _ in part for i in powers}
        return {i: Form(self.field.atoms[i].argument) for i in indices if i != FIRST and not is_log(self.field, i)}

    @cached_property
    def signs(self) -> dict[int, int]:
        """The signs that the arguments keep on the piece."""
        return {i: self.field.sign(self.field.atoms[i].argument) for i in self.arguments}

    def at(self, log: Any = None) -> Any:
        """The value where the logarithm of u^(1/order) lies in a ball, or of what is constant."""
        self.field.ledger.spend(2 + len(self.above) // 3)
        values = {i: self._atom(i, argument.at(log)) for i, argument in self.arguments.items()}

        def power(i: int, e: int) -> Any:
            return (log * e).exp() if i == FIRST else values.get(i, log) ** e

        def summed(part: Any) -> Any:
            return sum(math.prod((power(i, e) for i, e in powers.items()), start=arb(c)) for powers, c in part)

        below = math.prod((summed(part) ** multiplicity for part, multiplicity in self.below), start=arb(self.lead))
        return (summed(self.above) + arb(0)) / below * (power(FIRST, -self.shift) if self.shift else 1)

    def _atom(self, i: int, a: Any) -> Any:
        kind, order = self.field.atoms[i].kind, self.field.order
        if isinstance(a, arb):
            return _BALLS[kind](a, order)
        require(kind in ("log", "root"), "no complex value of this function is known")
        a *= self.signs[i]
        require(bool(a.real > 0 or a.imag > 0 or a.imag < 0), "a logarithm or root may meet its branch cut")
        return a.log() if kind == "log" else (a.log() / order).exp()


def is_log(field: Any, i: int) -> bool:
    """Whether an atom is the logarithm of u^(1/order)."""
    return bool(field.atoms[i].kind == "log" and field.atoms[i].argument.num == field.root.num)


def ball(x: Ratio, place: Any = None) -> Any:
    """The value for u in a ball, or of what is constant if there is none."""
    x.field.ledger.spend(20 * (len(x.num) + len(x.den)))
    return Form(x).at(None if place is None else place.log() / x.field.order)


def ball_sign(ball: Any) -> int:
    """The sign of every number in the ball; raises `Unproved` if it holds zero."""
    require(bool(ball > 0 or ball < 0), "its sign is not told from zero")
    return 1 if ball > 0 else -1


def substituted(x: Ratio, target: Any, place: Ratio) -> Ratio:
    """Substitute a positive function or number of the field `target` for u."""
    images: dict[int, Ratio] = {}

    def image(i: int, e: int) -> Ratio:
        atom = x.field.atoms[i]
        if atom.kind == "u":
            return target.power(place, fmpq(e, x.field.order))
        if i not in images:
            a = mapped(atom.argument)
            a = a * target.sign(a) if atom.kind in ("log", "root") else a
            images[i] = target.apply(atom.kind, a)
        return images[i].raised(e)

    def summed(poly: Any) -> Ratio:
        total = target.constant(0)
        for powers, c in terms(poly):
            term = target.constant(c)
            for i, e in powers.items():
                term = term * image(i, e)
            total = total + term
        return total

    def mapped(y: Ratio) -> Ratio:
        return summed(y.num) * target.inverse(summed(y.den))

    return mapped(x)
