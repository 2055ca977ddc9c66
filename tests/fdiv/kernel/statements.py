"""Statements written by hand for the kernel: true ones, and functions that must not pass."""

from __future__ import annotations

import math
from typing import Any

from tests.fdiv.kernel.rare import RARE
from tests.fdiv.kernel.words import (
    CONJUGATE,
    FOUNDATIONS,
    GAUSSIAN,
    Word,
    below,
    conjugate,
    exp,
    limits,
    log,
    of,
    pi,
    piecewise,
    s,
    statement,
    t,
    u,
    v,
    word,
)

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
        conjugate=conjugate("inf", ("-inf", "inf", exp(t - 1))),
        adjoint=[-1 * log(u)],
        activation={"output": v + 1, "term": exp(v)},
        gaussian={"value": s / 2, "weight": word("1/2")},
        curvature=word(1),
    ),
    "pearson": statement(
        (u - 1) ** 2,
        [*SIMPLE, *GAUSSIAN],
        limits=limits(1, -2, "inf"),
        conjugate=conjugate("inf", ("-inf", -2, -1), (-2, "inf", t**2 / 4 + t)),
        adjoint=[u - 2 + 1 / u],
        activation={"output": 2 * exp(v) - 2, "term": exp(2 * v) - 1},
        gaussian={"value": exp(s) - 1, "weight": exp(s)},
        curvature=word(2),
    ),
    "squared Hellinger": statement(
        (u ** "1/2" - 1) ** 2,
        [*SIMPLE, *GAUSSIAN],
        limits=limits(1, "-inf", 1),
        conjugate=conjugate("inf", ("-inf", 1, t / (1 - t))),
        adjoint=[(1 - u ** "1/2") ** 2],
        activation={"output": 1 - exp(v * "-1/2"), "term": exp(v * "1/2") - 1},
        gaussian={"value": 2 - 2 * exp(s * "-1/8"), "weight": exp(s * "-1/8") / 4},
        curvature=word("1/2"),
    ),
    "Lin's K": statement(
        u * log(2 * u / (1 + u)),
        SIMPLE,
        limits=limits(0, "-inf", log(2)),
        conjugate=conjugate(1, ("-inf", log(2), -1 * of("W", exp(t - 1) * "-1/2", -1 * u / (1 + u)))),
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
        conjugate=conjugate(2, ("-inf", 1, 2 - 2 * (1 - t) ** "1/2")),
    ),
    "perimeter, b = 3/2": statement(
        3 * (1 + u ** "3/2") ** "2/3" - (1 + u) * word(2) ** "-1/3" * 3,
        [*FOUNDATIONS, *CONJUGATE],
        order=6,
        limits=limits(3 - word(2) ** "-1/3" * 3, word(2) ** "-1/3" * -3, 3 - word(2) ** "-1/3" * 3),
        conjugate=conjugate(
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
        conjugate=conjugate("1/2", ("-inf", "-1/2", "-1/2"), ("-1/2", "1/2", t)),
        gaussian={"value": _MASS, "weight": exp(s * "-1/8") / (8 * pi * s) ** "1/2"},
    ),
    "hockey-stick, gamma = 2": statement(
        of("max", u - 2, 0),
        [*FOUNDATIONS, *CONJUGATE],
        cuts=("2",),
        limits=limits(0, 0, 1),
        conjugate=conjugate(2, ("-inf", 0, 0), (0, 1, 2 * t)),
    ),
    "soft chi": statement(
        piecewise((u * log(u) - u + 1, below(u, 1)), ((u - 1) ** 2 / 2, True)),
        SIMPLE,
        cuts=("1",),
        limits=limits(1, "-inf", "inf"),
        conjugate=conjugate("inf", ("-inf", 0, exp(t) - 1), (0, "inf", t**2 / 2 + t)),
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
TRUE |= RARE
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
