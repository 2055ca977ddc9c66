"""The values of functions: in a ball of u, and where another function or a number is substituted for u."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flint import arb, fmpq

from fdiv.kernel.ledger import require
from fdiv.kernel.polynomials import terms
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


def ball(x: Ratio, place: Any = None) -> Any:
    """The value for u in a ball, or of what is constant if there is none."""
    field, values = x.field, dict[int, Any]()

    def value(poly: Any) -> Any:
        field.ledger.spend(20 * len(poly))
        parts = (math.prod((values[i] ** e for i, e in powers.items()), start=arb(c)) for powers, c in terms(poly))
        return sum(parts, arb(0))

    for i, atom in field.atoms.items():
        if place is not None and atom.kind == "u":
            values[i] = (place.log() / field.order).exp()
        elif place is not None or not atom.varies:
            values[i] = _BALLS[atom.kind](value(atom.argument.num) / value(atom.argument.den), field.order)
    return value(x.num) / value(x.den)


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
