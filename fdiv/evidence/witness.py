"""From what was derived in SymPy to the JSON that `fdiv.kernel` judges: statements with their witnesses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import sympy
from sympy import Expr
from sympy.codegen.cfunctions import expm1, log1p

from fdiv.derive.calculus import s, t, u, v
from fdiv.derive.conjugate import ConjugatePiece
from fdiv.numeric.lowering import softplus
from fdiv.record import Divergence

_LARGEST_ORDER = 240
_NAMES = {u: "u", t: "t", v: "v", s: "s"}
_FUNCTIONS: Mapping[Any, str] = {
    sympy.exp: "exp",
    sympy.log: "log",
    sympy.erf: "erf",
    sympy.Abs: "abs",
    sympy.Max: "max",
    sympy.Min: "min",
}
_RELATIONS = {sympy.StrictLessThan: ("<", 1), sympy.LessThan: ("<=", 1), sympy.Gt: ("<", -1), sympy.Ge: ("<=", -1)}
_COMPOSED: Mapping[Any, Callable[[Expr], Expr]] = {
    expm1: lambda x: sympy.exp(x) - 1,
    log1p: lambda x: sympy.log(1 + x),
    softplus: lambda x: sympy.log(1 + sympy.exp(x)),
}


class Untranslated(ValueError):  # noqa: N818  (a verdict, like the kernel's)
    """The kernel's language has no word for it."""


def expression(node: Expr, lambert: Mapping[Expr, Expr] = {}) -> Any:  # noqa: B006  (never changed)
    """Write an expression in the kernel's language; `lambert` holds, by argument, what each W is in u."""

    def inner(part: Expr) -> Any:
        return expression(part, lambert)

    if node in _NAMES:
        return _NAMES[node]
    if node.is_Rational:
        return str(node)
    if node is sympy.pi:
        return ["pi"]
    if node is sympy.E:
        return ["exp", "1"]
    if node.is_Add or node.is_Mul:
        return ["+" if node.is_Add else "*", *map(inner, node.args)]
    if node.is_Pow:
        base, exponent = node.args
        return ["^", inner(base), str(exponent)] if exponent.is_Rational else inner(sympy.exp(exponent * sympy.log(base)))
    if isinstance(node, sympy.Piecewise):
        return ["piecewise", *([inner(branch), _condition(condition)] for branch, condition in node.args)]
    if isinstance(node, sympy.LambertW) and node.args[0] in lambert:
        branch = "W" if len(node.args) == 1 or node.args[1] == 0 else "W-1"
        return [branch, inner(node.args[0]), expression(lambert[node.args[0]])]
    if node.func in _COMPOSED:
        return inner(_COMPOSED[node.func](*node.args))
    if node.func not in _FUNCTIONS:
        raise Untranslated(f"no word for {node.func}")
    return [_FUNCTIONS[node.func], *map(inner, node.args)]


def _condition(condition: Any) -> Any:
    if condition == sympy.true:
        return True
    if condition.func not in _RELATIONS:
        raise Untranslated(f"no word for the condition {condition}")
    relation, way = _RELATIONS[condition.func]
    return [relation, *(expression(side) for side in condition.args[::way])]


def bound(value: Expr) -> Any:
    """Write a constant that may be infinite."""
    return {sympy.oo: "inf", -sympy.oo: "-inf"}.get(value) or expression(value)


def _conjugate(piece: ConjugatePiece) -> Any:
    """Write one piece of f*, with what each W in it is as a function of u."""
    if piece.expression is None:
        return [bound(piece.lower), bound(piece.upper), None]
    known = {}
    for w in piece.expression.atoms(sympy.LambertW):
        value = sympy.Dummy("W")
        assert piece.ratio is not None
        assert piece.source is not None
        found = sympy.solve(piece.ratio.subs(w, value).subs(t, piece.source.slope) - u, value)
        known[w.args[0]] = found[0]
    return [bound(piece.lower), bound(piece.upper), expression(piece.expression, known)]


def statement(divergence: Divergence) -> dict[str, Any]:
    """Write what is stated of a divergence, with witnesses; a part that has no words is left out."""
    gaussian, activation = divergence.gaussian, divergence.activation
    parts: dict[str, Callable[[], Any]] = {
        "generator": lambda: expression(divergence.generator),
        "cuts": lambda: [str(_rational(piece.upper)) for piece in divergence.pieces[:-1]],
        "limits": lambda: {
            name: bound(getattr(divergence, name)) for name in ("value_at_zero", "slope_at_zero", "slope_at_infinity")
        },
        "conjugate": lambda: {
            "pieces": [_conjugate(piece) for piece in divergence.conjugate.pieces],
            "end": bound(divergence.conjugate.value_at_end),
        },
        "adjoint": lambda: [expression(piece.expression) for piece in divergence.adjoint.pieces],
        "activation": lambda: {
            "output": expression(activation.output), "term": expression(activation.conjugate_term)
        },
        "gaussian": lambda: {
            "value": expression(gaussian.formula), "weight": expression(gaussian.gradient_weight_formula)
        },
        "curvature": lambda: expression(divergence.curvature),
    }
    found: dict[str, Any] = {}
    for name, part in parts.items():
        try:
            found[name] = part()
        except (Untranslated, AttributeError, TypeError, IndexError, NotImplementedError):
            continue
    return found | {"order": _order(found)}


def _rational(place: Expr) -> Expr:
    if not place.is_Rational:
        raise Untranslated(f"{place} is not rational")
    return place


def _order(data: Any) -> int:
    """A multiple of the denominators of all exponents, as far as it stays small; even, for the root of s."""
    order, stack = 2, [data]
    while stack:
        node = stack.pop()
        if isinstance(node, list) and len(node) == 3 and node[0] == "^":
            finer = math.lcm(order, int(sympy.Rational(node[2]).q))
            order = finer if finer <= _LARGEST_ORDER else order
        stack += list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    return order
