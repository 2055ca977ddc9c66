"""Statements written by hand for the kernel: true ones, and functions that must not pass; a numeric reading of both."""

from __future__ import annotations

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
    return plain({"generator": word(generator), "cuts": list(cuts), "order": order, "claims": claims, **parts})


def limits(value_at_zero: Any, slope_at_zero: Any, slope_at_infinity: Any) -> dict[str, Any]:
    names = ("value_at_zero", "slope_at_zero", "slope_at_infinity")
    return {n: word(x) for n, x in zip(names, (value_at_zero, slope_at_zero, slope_at_infinity), strict=True)}


def _conjugate(end: Any, *pieces: tuple[Any, Any, Any]) -> dict[str, Any]:
    return {"pieces": [[word(a), word(b), f if f is None else word(f)] for a, b, f in pieces], "end": word(end)}


SIMPLE = [*FOUNDATIONS, *CONJUGATE, "adjoint", "activation", "reduction to MSE"]


def _below(z: Any) -> Word:
    """Phi(z sqrt(s)), of the normal law."""
    return (1 + of("erf", z * (s / 2) ** "1/2")) / 2


_MASS = of("erf", (2 * s) ** "1/2" / 4)  # of the standard normal on (-sqrt(s)/2, sqrt(s)/2)
TRUE: dict[str, Any] = {
    "kl": statement(
        u * log(u),
        [*SIMPLE, *GAUSSIAN],
        limits=limits(0, "-inf", "inf"),
        conjugate=_conjugate("inf", ("-inf", "inf", exp(t - 1))),
        adjoint=[-1 * log(u)],
        activation={"output": v + 1, "term": exp(v)},
        gaussian={"value": s / 2, "weight": word("1/2")},
        curvature=word(1),
    ),
    "pearson": statement(
        (u - 1) ** 2,
        [*SIMPLE, *GAUSSIAN],
        limits=limits(1, -2, "inf"),
        conjugate=_conjugate("inf", ("-inf", -2, -1), (-2, "inf", t**2 / 4 + t)),
        adjoint=[u - 2 + 1 / u],
        activation={"output": 2 * exp(v) - 2, "term": exp(2 * v) - 1},
        gaussian={"value": exp(s) - 1, "weight": exp(s)},
        curvature=word(2),
    ),
    "squared Hellinger": statement(
        (u ** "1/2" - 1) ** 2,
        [*SIMPLE, *GAUSSIAN],
        limits=limits(1, "-inf", 1),
        conjugate=_conjugate("inf", ("-inf", 1, t / (1 - t))),
        adjoint=[(1 - u ** "1/2") ** 2],
        activation={"output": 1 - exp(v * "-1/2"), "term": exp(v * "1/2") - 1},
        gaussian={"value": 2 - 2 * exp(s * "-1/8"), "weight": exp(s * "-1/8") / 4},
        curvature=word("1/2"),
    ),
    "Lin's K": statement(
        u * log(2 * u / (1 + u)),
        SIMPLE,
        limits=limits(0, "-inf", log(2)),
        conjugate=_conjugate(1, ("-inf", log(2), -1 * of("W", exp(t - 1) * "-1/2", -1 * u / (1 + u)))),
        adjoint=[log(2) - log(1 + u)],
        activation={
            "output": log(2) - log(1 + exp(-1 * v)) + 1 / (1 + exp(v)),
            "term": exp(v) / (1 + exp(v)),
        },
        curvature=word("1/4"),
    ),
    "Neyman": statement(
        (1 - u) ** 2 / u,
        [*FOUNDATIONS, *CONJUGATE],
        limits=limits("inf", "-inf", 1),
        conjugate=_conjugate(2, ("-inf", 1, 2 - 2 * (1 - t) ** "1/2")),
    ),
    "perimeter, b = 3/2": statement(
        3 * (1 + u ** "3/2") ** "2/3" - (1 + u) * word(2) ** "-1/3" * 3,
        [*FOUNDATIONS, *CONJUGATE],
        order=6,
        limits=limits(3 - word(2) ** "-1/3" * 3, word(2) ** "-1/3" * -3, 3 - word(2) ** "-1/3" * 3),
        conjugate=_conjugate(
            3 * word(2) ** "-1/3",
            ("-inf", word(2) ** "-1/3" * -3, 3 * word(2) ** "-1/3" - 3),
            (word(2) ** "-1/3" * -3, 3 - 3 * word(2) ** "-1/3", None),
        ),
    ),
    "total variation": statement(
        of("abs", u - 1) / 2,
        [*FOUNDATIONS, *CONJUGATE, *GAUSSIAN],
        cuts=("1",),
        limits=limits("1/2", "-1/2", "1/2"),
        conjugate=_conjugate("1/2", ("-inf", "-1/2", "-1/2"), ("-1/2", "1/2", t)),
        gaussian={"value": _MASS, "weight": exp(s * "-1/8") / (8 * pi * s) ** "1/2"},
    ),
    "hockey-stick, gamma = 2": statement(
        of("max", u - 2, 0),
        [*FOUNDATIONS, *CONJUGATE],
        cuts=("2",),
        limits=limits(0, 0, 1),
        conjugate=_conjugate(2, ("-inf", 0, 0), (0, 1, 2 * t)),
    ),
    "soft chi": statement(
        piecewise((u * log(u) - u + 1, below(u, 1)), ((u - 1) ** 2 / 2, True)),
        SIMPLE,
        cuts=("1",),
        limits=limits(1, "-inf", "inf"),
        conjugate=_conjugate("inf", ("-inf", 0, exp(t) - 1), (0, "inf", t**2 / 2 + t)),
        adjoint=[(1 / u - 1) ** 2 * u / 2, u - 1 - log(u)],
        activation={
            "output": piecewise((v, below(v, 0, "<=")), (exp(v) - 1, True)),
            "term": piecewise((exp(v) - 1, below(v, 0, "<=")), (exp(2 * v) / 2 - "1/2", True)),
        },
        curvature=word(1),
    ),
    "two branches that cross at no formula": statement(
        of("max", u * log(u), (u - 1) ** 2),
        [*FOUNDATIONS, "limits"],
        cuts=("1", {"zero": (u - 1) ** 2 - u * log(u), "low": "2", "high": "4"}),
        limits=limits(1, -2, "inf"),
    ),
    "a kink at the root of 2": statement(
        of("max", u**2 - 2, 0), [*FOUNDATIONS, "limits"], cuts=(word(2) ** "1/2",), limits=limits(0, 0, "inf")
    ),
    "by balls": statement(5 * u * log(u) + u**2 * exp(-1 * u) - exp(-1), FOUNDATIONS, covers={"0": ["1/2", "4"]}),
    "a root of a square": statement(((u - 1) ** 2) ** "1/2", FOUNDATIONS, cuts=("1",)),
    "a power of a distance": statement(
        of("abs", u - 1) ** "1/2" * of("abs", u - 1) ** "2/1" * of("abs", u - 1) ** "1/2", FOUNDATIONS, cuts=("1",)
    ),
    "a logarithm that ends": statement(
        piecewise((log(2) - log(3 - u), below(u, 2)), ((u - 2) ** 2 + u - 2 + log(2), True)), FOUNDATIONS, cuts=("2",)
    ),
    "a square of a logarithm": statement(
        piecewise((0, below(u, 1)), (u * log(u) ** 2, True)),
        [*FOUNDATIONS, "limits", *GAUSSIAN],
        cuts=("1",),
        limits=limits(0, 0, "inf"),
        gaussian={
            "value": (s + s**2 / 4) * (1 + _MASS) / 2 + s ** "3/2" / 2 * exp(s * "-1/8") / (2 * pi) ** "1/2",
            "weight": (1 + s / 2) * (1 + _MASS) / 2 + s ** "1/2" * exp(s * "-1/8") / (2 * pi) ** "1/2",
        },
    ),
    "a kink below 1": statement(of("max", word("1/2") - u, 0), FOUNDATIONS, cuts=("1/2",)),
    "half a square": statement(
        of("max", 1 - u, 0) ** 2,
        [*FOUNDATIONS, "D(s)", "D(0) = 0 <= D(s)"],
        cuts=("1",),
        gaussian={"value": exp(s) * _below(word("-3/2")) - 2 * _below(word("-1/2")) + _below(word("1/2"))},
    ),
    "a limit after cancellation": statement(
        (log(1 + u) - u + u**2 / 2) / u**3 + 5,
        ["finite on (0, inf)", "convexity", "limits"],
        limits=limits("16/3", "-1/4", 0),
    ),
    "an exponent of many digits": statement(
        u ** "1414213562373/1000000000000" - 1,
        [*FOUNDATIONS, "limits"],
        limits=limits(-1, 0, "inf"),
    ),
    "a zero between two cuts": statement(
        u * log(u), FOUNDATIONS, cuts=("8/5", {"zero": u**2 - 3, "low": "3/2", "high": "2"}, "19/10")
    ),
}
"""Every claim in each is confirmed."""

_SPIKE = 10**14 * ((u - 2) * (word("2001/1000") - u)) * ((u - "3501/1750") ** 2 + word(f"1/{10**30}"))
_ALL = [*FOUNDATIONS, "limits"]
FALSE: dict[str, tuple[str, Any]] = {
    "a bump where two branches nearly tie": ("convexity", statement(of("max", u * log(u), u * log(u) + _SPIKE), _ALL)),
    "the same with its places as cuts": (
        "convexity",
        statement(of("max", u * log(u), u * log(u) + _SPIKE), _ALL, cuts=("2", "2001/1000")),
    ),
    "a tiny tent": (
        "convexity",
        statement(of("max", u * log(u), u * log(u) + (1 - of("abs", u - 2)) / 10**24), _ALL, cuts=("1", "2", "3")),
    ),
    "a hidden kink": ("convexity", statement((u - 1) ** 2 - (u**2 - 6 * u + 9) ** "1/2" + 2, _ALL)),
    "a hidden kink that is cut": (
        "convexity",
        statement((u - 1) ** 2 - (u**2 - 6 * u + 9) ** "1/2" + 2, _ALL, cuts=("3",)),
    ),
    "a hidden pole": (
        "finite on (0, inf)",
        statement((u - 1) ** 2 - (log((u - 3) ** 2) - log(4)) / 10**9, _ALL),
    ),
    "a hidden pole that is cut": (
        "finite on (0, inf)",
        statement((u - 1) ** 2 - (log((u - 3) ** 2) - log(4)) / 10**9, _ALL, cuts=("3",)),
    ),
    "a hole": ("finite on (0, inf)", statement((u - 1) ** 3 / (u - 1), _ALL)),
    "u log^2 u": ("convexity", statement(u * log(u) ** 2, _ALL)),
    "a negative kink": ("convexity", statement(of("abs", u - 1) * "-1/2", _ALL, cuts=("1",))),
    "a negative kink at a zero without a formula": (
        "convexity",
        statement(
            of("min", u * log(u), (u - 1) ** 2),
            _ALL,
            cuts=("1", {"zero": (u - 1) ** 2 - u * log(u), "low": "2", "high": "4"}),
        ),
    ),
    "a bracket of two zeros": (
        "convexity",
        statement(
            of("max", u * log(u), (u - 1) ** 2),
            _ALL,
            cuts=({"zero": (u - 1) ** 2 - u * log(u), "low": "1/2", "high": "4"},),
        ),
    ),
    "a jump": ("convexity", statement(piecewise((u - 1, below(u, 2)), (u, True)), _ALL, cuts=("2",))),
    "an odd point": (
        "convexity",
        statement(
            piecewise(((u - 1) ** 2, below(u, 2)), (7, below(u, 2, "<=")), ((u - 1) ** 2, True)), _ALL, cuts=("2",)
        ),
    ),
    "f(1) = 10^-40": ("f(1) = 0", statement((u - 1) ** 2 + word(f"1/{10**40}"), _ALL)),
    "f(1) = 0 but for the last of 60 digits": (
        "f(1) = 0",
        statement(log(u + 1) * -1 + word(f"{math.floor(math.log(2) * 10**15)}/{10**15}"), _ALL),
    ),
    "an affine function": ("not affine", statement(u - 1, _ALL)),
    "an affine function that hides it": (
        "not affine",
        statement(u - 1 + log(u + 1) + log(u**2 - u + 1) - log(u**3 + 1), _ALL),
    ),
    "a steep dip": (
        "convexity",
        statement(5 * u * log(u) + 30 * u**2 * exp(-1 * u) - 30 * exp(-1), _ALL, covers={"0": ["1/2", "4"]}),
    ),
    "not real below 1": ("finite on (0, inf)", statement((u - 1) ** "1/2", _ALL)),
    "not real below 1, though cut": ("finite on (0, inf)", statement((u - 1) ** "3/2", _ALL, cuts=("1",))),
}
"""In each, the claim that is named is false, or not to be shown."""


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
