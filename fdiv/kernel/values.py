"""The values of functions: in a ball of u, and where another function or a number is substituted for u."""

from __future__ import annotations

from typing import Any

from flint import arb, fmpq

from fdiv.kernel.ratio import BALLS, Ratio, enclose, terms


def atom_balls(field: Any, place: Any) -> list[Any]:
    """The atoms' values for u in a ball; of the constant ones alone if there is none."""
    values: list[Any] = []
    for atom in field.atoms:
        if atom.kind == "u" or (place is None and atom.varies):
            values.append(arb.nan() if place is None else (place.log() / field.order).exp())
        else:
            a, b = (enclose(poly, values, field.ledger) for poly in (atom.argument.num, atom.argument.den))
            values.append(BALLS[atom.kind](a / b, field.order))
    return values


def ball(x: Ratio, place: Any = None) -> Any:
    """The value for u in a ball, or of a constant."""
    balls = atom_balls(x.field, place)
    return enclose(x.num, balls, x.field.ledger) / enclose(x.den, balls, x.field.ledger)


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
