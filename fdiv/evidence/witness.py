"""What was derived in SymPy, as the JSON that `fdiv.kernel` judges: statements with their witnesses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import sympy
from sympy import Expr
from sympy.codegen.cfunctions import expm1, log1p

from fdiv.balls.zeros import Crossing
from fdiv.derive.conjugate import ConjugatePiece
from fdiv.derive.quadrature import SMALLEST, STEP
from fdiv.derive.two_tables import TwoTables, decay
from fdiv.exact.symbols import s, t, u, v
from fdiv.kernel.claims import CLAIMS, verify
from fdiv.kernel.expressions import measure
from fdiv.numeric.rewrite import softplus
from fdiv.record import Divergence

_LARGEST_ORDER = 240
_COVERS = (2, 8, 64)  # tried in turn as the part of the half-line that balls cover
_BRACKET = Fraction(1, 2**20)  # of log u around a crossing
_ANGLE, _STEEP = 0.94, 0.86  # of the strip; the second where E rises beyond e^{x/2}: at the edge no density decays
_NAMES = {u: "u", t: "t", v: "v", s: "s"}
_WORDS: Mapping[Any, str] = {
    sympy.exp: "exp",
    sympy.log: "log",
    sympy.erf: "erf",
    sympy.Abs: "abs",
    sympy.Max: "max",
    sympy.Min: "min",
}
_RELATIONS: Mapping[Any, tuple[str, int]] = {
    sympy.StrictLessThan: ("<", 1),
    sympy.LessThan: ("<=", 1),
    sympy.StrictGreaterThan: ("<", -1),
    sympy.GreaterThan: ("<=", -1),
}
_COMPOSED: Mapping[Any, Callable[[Expr], Expr]] = {
    expm1: lambda x: sympy.exp(x) - 1,
    log1p: lambda x: sympy.log(1 + x),
    softplus: lambda x: sympy.log(1 + sympy.exp(x)),
}


class UntranslatedError(ValueError):
    """The kernel's language has no word for it."""


def expression(node: Expr, lambert: Mapping[Expr, Expr] = MappingProxyType({})) -> Any:
    """Write an expression in the kernel's language.

    Args:
        node: in one of the symbols u, t, v and s.
        lambert: by its argument, what each Lambert W in the node is as a function of u.

    Raises:
        UntranslatedError: where the language has no word for a function or relation.
    """

    def inner(part: Expr) -> Any:
        return expression(part, lambert)

    if node in _NAMES:
        return _NAMES[node]
    if node.is_Rational:
        return str(node)
    if node is sympy.pi:
        return ["pi"]
    if node.is_Add or node.is_Mul:
        return ["+" if node.is_Add else "*", *map(inner, node.args)]
    if node.is_Pow and node.exp.is_Rational:
        return ["^", inner(node.base), str(node.exp)]
    if node is sympy.E:
        return ["exp", "1"]
    if node.is_Pow:  # in the words of e^(p log b); as SymPy's exp of that product it would turn into the power again
        return ["exp", ["*", inner(node.exp), ["log", inner(node.base)]]]
    if isinstance(node, sympy.Piecewise):
        return ["piecewise", *([inner(branch), _condition(condition)] for branch, condition in node.args)]
    if isinstance(node, sympy.LambertW) and node.args[0] in lambert:
        branch = "W" if node.args[1:] in ((), (0,)) else "W-1"
        return [branch, inner(node.args[0]), expression(lambert[node.args[0]])]
    if node.func in _COMPOSED:
        return inner(_COMPOSED[node.func](*node.args))
    if node.func not in _WORDS:
        raise UntranslatedError(f"no word for {node}")
    return [_WORDS[node.func], *map(inner, node.args)]


def _condition(condition: Any) -> Any:
    if condition == sympy.true:
        return True
    if condition.func not in _RELATIONS:
        raise UntranslatedError(f"no word for the condition {condition}")
    relation, way = _RELATIONS[condition.func]
    return [relation, *map(expression, condition.args[::way])]


def _bound(value: Expr) -> Any:
    """Write a constant that may be infinite."""
    return {sympy.oo: "inf", -sympy.oo: "-inf"}.get(value) or expression(value)


def _cut(place: Expr) -> Any:
    """Write the place between two pieces: a formula, or a function with a bracket that holds its only zero."""
    if not isinstance(place, Crossing):
        return expression(place)
    low, high = (Fraction(math.exp(place.x + side * _BRACKET)) for side in (-1, 1))
    return {"zero": expression(place.function), "low": str(low), "high": str(high)}


def _conjugate_piece(piece: ConjugatePiece) -> Any:
    """Write a piece of f*, with what each W in it is where t = f'(u)."""
    known = {}
    if piece.expression is not None and piece.source is not None and piece.ratio is not None:
        for w in piece.expression.atoms(sympy.LambertW):
            value = sympy.Dummy("W")
            known[w.args[0]] = sympy.solve(piece.ratio.subs(w, value).subs(t, piece.source.slope) - u, value)[0]
    form = None if piece.expression is None else expression(piece.expression, known)
    return [_bound(piece.lower), _bound(piece.upper), form]


def _conjugate(divergence: Divergence) -> Any:
    conjugate = divergence.conjugate
    return {"pieces": [_conjugate_piece(piece) for piece in conjugate.pieces], "end": _bound(conjugate.value_at_end)}


def _limits(divergence: Divergence) -> Any:
    return {
        "value_at_zero": _bound(divergence.value_at_zero),
        "slope_at_zero": _bound(divergence.slope_at_zero),
        "slope_at_infinity": _bound(divergence.slope_at_infinity),
    }


def _activation(divergence: Divergence) -> Any:
    found = divergence.activation
    return {"output": expression(found.output), "term": expression(found.conjugate_term)}


def _rule(divergence: Divergence, tables: TwoTables) -> Any:
    """Write the two trapezoid rules, with an angle inside the strip that they rest on."""
    low, high = tables.low, tables.high
    if low.first is None or high.first is None:
        raise UntranslatedError("no word for a rule on several panels")
    angle = _STEEP if tables.rise > sympy.Rational(1, 2) else _ANGLE
    return {
        "least": str(Fraction(SMALLEST).limit_denominator(10**12)),
        "switch": str(Fraction(tables.switch)),
        "growth": expression(tables.growth),
        "closed": expression(tables.closed),
        "rise": expression(tables.rise),
        "decay": expression(decay(divergence)),
        "angle": str(Fraction(angle * min(low.step, high.step) / STEP).limit_denominator(1000)),
        "low": [str(Fraction(low.step)), low.first, low.first + len(low.nodes) - 1],
        "high": [str(Fraction(high.step)), high.first, high.first + len(high.nodes) - 1],
    }


def _gaussian(divergence: Divergence) -> Any:
    found = divergence.gaussian
    if found.formula is None and found.quadrature is not None:
        return {"rule": _rule(divergence, found.quadrature)}
    return {"value": expression(found.formula), "weight": expression(found.gradient_weight_formula)}


PARTS: Mapping[str, Callable[[Divergence], Any]] = {
    "generator": lambda divergence: expression(divergence.generator),
    "cuts": lambda divergence: [_cut(piece.upper) for piece in divergence.pieces[:-1]],
    "limits": _limits,
    "conjugate": _conjugate,
    "adjoint": lambda divergence: [expression(piece.expression) for piece in divergence.adjoint.pieces],
    "activation": _activation,
    "gaussian": _gaussian,
    "curvature": lambda divergence: expression(divergence.curvature),
}


def write(divergence: Divergence, parts: Iterable[str], into: dict[str, Any]) -> None:
    """Write those of `PARTS` into a dictionary, one by one.

    What has no words in the kernel's language is left out, and so is what would make the whole too large for it.
    """
    for name in parts:
        try:
            part = PARTS[name](divergence)
            measure({**into, name: part, "claims": [*CLAIMS, *CLAIMS]})  # room for what `completed` adds
            into[name] = part
        except MemoryError:  # says nothing about the divergence
            raise
        except Exception:  # of whatever kind: SymPy raises them all where it cannot go on
            continue


def completed(found: dict[str, Any]) -> dict[str, Any]:
    """Add all claims, the order of the roots, and a cover where the kernel shows convexity with one alone."""
    whole = found | {"order": _order(found), "claims": list(CLAIMS)}
    short = whole | {"claims": ["finite on (0, inf)", "convexity"]}
    tried = [{}, *({"covers": {"0": [f"1/{far}", f"{far}"]}} for far in _COVERS)] if found.get("cuts") == [] else [{}]
    shown = (cover for cover in tried if verify(short | cover)["convexity"].confirmed)
    return whole | next(shown, {})


def _order(data: Any) -> int:
    """A multiple of the denominators of the exponents, as far as it stays small; even, for the root of s."""
    order, stack = 2, [data]
    while stack:
        node = stack.pop()
        if isinstance(node, list) and len(node) == 3 and node[0] == "^":
            finer = math.lcm(order, Fraction(node[2]).denominator)
            order = finer if finer <= _LARGEST_ORDER else order
        if isinstance(node, dict | list):
            stack += list(node.values()) if isinstance(node, dict) else node
    return order
