"""The kernel's language for the tests: expressions by arithmetic, statements, and a numeric reading of both."""

from __future__ import annotations

import json
import math
from typing import Any


class Word:
    """An expression of the kernel's language, built by arithmetic."""

    def __init__(self, json: Any) -> None:
        self.json = json

    def __add__(self, other: Any) -> Word:
        return Word(["+", self.json, word(other).json])

    def __mul__(self, other: Any) -> Word:
        return Word(["*", self.json, word(other).json])

    def __sub__(self, other: Any) -> Word:
        return self + -1 * word(other)

    def __truediv__(self, other: Any) -> Word:
        return self * word(other) ** -1

    def __pow__(self, exponent: Any) -> Word:
        return Word(["^", self.json, str(exponent)])

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: Any) -> Word:
        return word(other) - self

    def __rtruediv__(self, other: Any) -> Word:
        return word(other) / self


def word(value: Any) -> Word:
    return value if isinstance(value, Word) else Word(str(value))


def of(kind: str, *arguments: Any) -> Word:
    return Word([kind, *(word(argument).json for argument in arguments)])


def log(x: Any) -> Word:
    return of("log", x)


def exp(x: Any) -> Word:
    return of("exp", x)


def piecewise(*pairs: tuple[Any, Any]) -> Word:
    return Word(["piecewise", *([word(branch).json, condition] for branch, condition in pairs)])


def below(left: Any, right: Any, relation: str = "<") -> list[Any]:
    return [relation, word(left).json, word(right).json]


u, t, v, s, pi = Word("u"), Word("t"), Word("v"), Word("s"), Word(["pi"])
FOUNDATIONS = ["f(1) = 0", "finite on (0, inf)", "convexity", "not affine"]
CONJUGATE = ["limits", "conjugate", "conjugate on the whole line", "biconjugation", "Fenchel-Young"]
GAUSSIAN = ["D(s)", "D(0) = 0 <= D(s)", "w(s) = dD/ds >= 0", "gradient law", "large s"]


def plain(value: Any) -> Any:
    """Write what is nested in lists and dictionaries as JSON."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value.json if isinstance(value, Word) else value


def statement(generator: Any, claims: list[str], cuts: tuple[Any, ...] = (), order: int = 2, **parts: Any) -> Any:
    whole = {"generator": word(generator), "cuts": list(cuts), "order": order, "claims": claims, **parts}
    return json.loads(json.dumps(plain(whole)))  # no list in two places, so that a change of one changes no other


def limits(value_at_zero: Any, slope_at_zero: Any, slope_at_infinity: Any) -> dict[str, Any]:
    names = ("value_at_zero", "slope_at_zero", "slope_at_infinity")
    return {n: word(x) for n, x in zip(names, (value_at_zero, slope_at_zero, slope_at_infinity), strict=True)}


def conjugate(end: Any, *pieces: tuple[Any, Any, Any]) -> dict[str, Any]:
    return {"pieces": [[word(a), word(b), f if f is None else word(f)] for a, b, f in pieces], "end": word(end)}


def value(node: Any, at: dict[str, float]) -> float:
    """Read an expression in floating point; raises ValueError or ZeroDivisionError where it is undefined."""
    if isinstance(node, str):
        above, _, under = node.partition("/")
        return at[node] if node in at else int(above) / int(under or 1)
    kind, *rest = node
    if kind == "piecewise":
        for branch, condition in rest:
            sides = [] if condition is True else [value(side, at) for side in condition[1:]]
            if not sides or sides[0] < sides[1] or (condition[0] == "<=" and sides[0] == sides[1]):
                return value(branch, at)
        raise ValueError("no branch")
    if kind in ("W", "W-1"):
        return value(rest[1], at)
    if kind == "^":
        return value(rest[0], at) ** value(rest[1], {}) + 0.0
    parts = [value(part, at) for part in rest]
    many = {"+": math.fsum, "*": math.prod, "max": max, "min": min, "pi": lambda parts: math.pi}
    functions = {"log": math.log, "exp": math.exp, "abs": abs, "erf": math.erf}
    return float(many[kind](parts) if kind in many else functions[kind](*parts))
