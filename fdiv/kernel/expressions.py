"""The expression language: "2/3", a variable's name, or [operator, argument, ...]; each a function on a piece."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from flint import fmpq, fmpz

from fdiv.kernel.field import Field
from fdiv.kernel.ledger import Unproved, require
from fdiv.kernel.ratio import Ratio

_MOST_NODES, _DEEPEST = 6000, 60
_NUMBER = re.compile(r"(-?\d{1,120})(?:/([1-9]\d{0,119}))?", re.ASCII)


def number(text: Any) -> fmpq:
    """A rational number from its text; raises `Unproved` for any other."""
    found = _NUMBER.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise Unproved(f"{str(text)[:40]!r} is no rational number")
    return fmpq(fmpz(int(found[1])), fmpz(int(found[2] or 1)))


def build(node: Any, field: Field, names: Mapping[str, Ratio]) -> Ratio:
    """The function on the field's piece that an expression denotes, if it is defined throughout."""
    field.ledger.spend(50)
    if isinstance(node, str):
        return names[node] if node in names else field.constant(number(node))
    require(isinstance(node, list) and bool(node) and isinstance(node[0], str), "no expression")
    kind, *rest = node
    if kind == "piecewise":
        return build(_branch(rest, field, names), field, names)
    if kind == "^":
        base, exponent = rest
        return field.power(build(base, field, names), number(exponent))
    parts = [build(part, field, names) for part in rest]
    if kind in ("+", "*"):
        total = field.constant(int(kind == "*"))
        for part in parts:
            total = total + part if kind == "+" else total * part
        return total
    if kind in ("max", "min"):
        return _extreme(parts, 1 if kind == "max" else -1)
    require(len(parts) == {"W": 2, "W-1": 2, "pi": 0}.get(kind, 1), f"{kind[:20]!r} of {len(parts)} arguments")
    if kind in ("W", "W-1"):  # W(y e^y) = y on the branch of y, which is a witness
        z, y = parts
        require((y * field.exp(y) - z).zero, "W(z) with a witness y that has not y e^y = z")
        side = field.sign(y + field.constant(1), strict=False)
        require(side in (0, 1 if kind == "W" else -1), "W(z) on the other branch")
        return y
    if kind == "abs":
        return parts[0] * field.sign(parts[0], strict=False)
    require(kind in ("log", "exp", "erf", "pi"), f"no function {kind[:20]!r}")
    return field.apply(kind, parts[0] if parts else field.constant(1))


def _extreme(parts: list[Ratio], way: int) -> Ratio:
    """The argument that is the largest (way 1) or smallest (-1) on the whole piece."""
    for chosen in parts:
        with suppress(Unproved):
            if all(way * chosen.field.sign(chosen - other, strict=False) >= 0 for other in parts):
                return chosen
    raise Unproved("no branch of max or min is known to be the one throughout")


def _branch(pairs: list[Any], field: Field, names: Mapping[str, Ratio]) -> Any:
    """The expression of the first pair whose condition holds on the whole piece, where the earlier ones fail on it."""
    for expression, condition in pairs:
        if condition is True:
            return expression
        relation, left, right = condition
        require(relation in ("<", "<="), f"no relation {str(relation)[:20]!r}")
        sign = field.sign(build(right, field, names) - build(left, field, names))
        if sign == 1 or (sign == 0 and relation == "<="):
            return expression
    raise Unproved("no condition of a piecewise function holds")


def measure(data: Any) -> None:
    """Refuse what is no JSON, too large or too deep, before anything recurses into it."""
    stack, nodes = [(data, 0)], 0
    while stack:
        node, depth = stack.pop()
        nodes += 1
        require(nodes <= _MOST_NODES and depth <= _DEEPEST, "a certificate too large or too deep")
        if type(node) in (dict, list):
            parts = node if type(node) is list else [*node, *node.values()]
            stack += [(part, depth + 1) for part in parts]
        else:
            plain = node is None or type(node) in (str, bool, int)
            require(plain and len(str(node)) <= 250, f"a {type(node).__name__} that is too long or no part of one")
