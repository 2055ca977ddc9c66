"""False statements, each of which a kernel with one rule broken would confirm in part."""

from __future__ import annotations

import copy
import math
from fractions import Fraction
from typing import Any

from tests.fdiv.kernel.statements import FALSE, TRUE
from tests.fdiv.kernel.words import (
    FOUNDATIONS,
    Word,
    below,
    exp,
    limits,
    log,
    of,
    pi,
    piecewise,
    plain,
    s,
    statement,
    t,
    u,
    v,
    word,
)

_SHORT = ["finite on (0, inf)", "convexity"]
_HIDDEN_ZERO = log(1 + word(2) ** "1/2") + log(word(2) ** "1/2" - 1)
_HAIR = f"{math.isqrt(2 * 10**200) + 1}/{10**100}"  # just above the root of 2


def _late(zero: Any) -> Any:
    """The second derivative is sqrt(u) - zero above 2, where a parabola goes before."""
    slope, value = word(2) ** "1/2" * "4/3" - 2 * word(zero), word(2) ** "1/2" * "16/15" - 2 * word(zero)
    late = u ** "5/2" * "4/15" - u**2 * word(zero) / 2
    return statement(
        piecewise((slope * (u - 2) + value + (u - 2) ** 2, below(u, 2)), (late, True)), _SHORT, cuts=("2",)
    )


def _early(early: Word, value: Any, slope: Any) -> Any:
    """A function below 2 that has this value and slope there, where a parabola follows."""
    late = (u - 2) ** 2 + (u - 2) * word(slope) + word(value)
    return statement(piecewise((early, below(u, 2)), (late, True)), _SHORT, cuts=("2",))


def _below_a_zero() -> str:
    """A number below the root of 3, and above the lower end of the bracket that the kernel finds in (3/2, 2)."""
    low, high = Fraction(3, 2), Fraction(2)
    while high > low * (1 + Fraction(1, 2**80)):
        middle = (low + high) / 2
        low, high = (low, middle) if middle**2 > 3 else (middle, high)
    return str(low + (high - low) / 2**8)


def _ends(name: str, piece: int, lower: Any, upper: Any) -> Any:
    found = copy.deepcopy(TRUE[name])
    found["conjugate"]["pieces"][piece][:2] = word(lower).json, word(upper).json
    return found


def _other(name: str, **parts: Any) -> Any:
    return copy.deepcopy(TRUE[name]) | plain(parts)


def _conjugate(name: str, piece: int, form: Any) -> Any:
    found = copy.deepcopy(TRUE[name])
    found["conjugate"]["pieces"][piece][2] = word(form).json
    return found


def _of_lin(branch: str, z: Word) -> Any:
    return _conjugate("Lin's K", 0, -1 * of(branch, z, -1 * u / (1 + u)))


def _reduction(generator: Any, curvature: Any, cuts: tuple[Any, ...] = ("1",), at_zero: Any = (2, -3)) -> Any:
    claims = [*FOUNDATIONS, "limits", "reduction to MSE"]
    return statement(generator, claims, cuts=cuts, curvature=word(curvature), limits=limits(*at_zero, "inf"))


def _narrow_dip() -> Any:
    """u^2 f'' is 100 times (log u + 1)^2 - 1/100."""
    cubic = log(u) ** 3 / 3 + 2 * log(u) ** 2 + log(u) * "499/100"
    return statement(-100 * cubic, _SHORT, covers={"0": ["301/1000", "1699/1000"]})


def _before_a_fraction() -> Any:
    """A parabola below 1/(1 + sqrt(2)), and above it a function that is concave up to 1."""
    cut = 1 / (1 + word(2) ** "1/2")
    slope, value = cut**2 / 2 - cut, cut**3 / 6 - cut**2 / 2
    early, late = (u - cut) ** 2 + (u - cut) * slope + value, u**3 / 6 - u**2 / 2
    return statement(piecewise((early, below(u, cut)), (late, True)), _SHORT, cuts=(cut,))


def _other_pieces(change: slice, *more: Any) -> Any:
    pieces = TRUE["pearson"]["conjugate"]["pieces"]
    return _other("pearson", conjugate={"pieces": [*pieces[change], *more], "end": "inf"})


TRAPS: dict[str, Any] = {
    "cuts that fall": _other("kl", cuts=["2", "1"]),
    "a cut that is there twice": _other("kl", cuts=["2", "2"]),
    "an affine function with a cut": statement(u - 1, FOUNDATIONS, cuts=("1",)),
    "a cover beyond its piece": _other("kl", cuts=["1"], covers={"0": ["1/2", "2"]}),
    "a cover before its piece": _other("kl", cuts=["1"], covers={"1": ["1/2", "2"]}),
    "a cover that ends before it begins": _other("kl", covers={"0": ["2", "1/2"]}),
    "a cover from 0": _other("kl", covers={"0": ["0", "2"]}),
    "a bracket from 0": _other("kl", cuts=[{"zero": u - 1, "low": "0", "high": "2"}]),
    "a cut in the bracket of the zero before it": _other(
        "kl", cuts=[{"zero": u**2 - 3, "low": "3/2", "high": "2"}, _below_a_zero()]
    ),
    "a cut below 0": _other("kl", cuts=["-1"]),
    "an order of 0": statement(u * log(u) ** 2, _SHORT, order=0),
    "a cubic": statement(u**3 - u**2 * "3/2" + "1/2", _SHORT),
    "a root at a point of bisection": statement(u**4 / 6 - u**5 / 20 - u**3 / 3 + u**2 / 2 - "17/60", _SHORT),
    "concave everywhere": statement(word("5/12") - u**4 / 12 + u**3 / 6 - u**2 / 2, _SHORT),
    "a division by a hidden zero": statement((u - 1) ** 2 * _HIDDEN_ZERO / _HIDDEN_ZERO, _SHORT),
    "concave just beyond a cut": _late("3/2"),
    "concave by a hair beyond a cut": _late(_HAIR),
    "concave before a cut, and convex far beyond it": _early(u**3 / 6 - u**2 * "3/2", "-14/3", -4),
    "concave before a cut, and convex below 0": _early(u**4 / 12 - u**3 * "5/12" - u**2 * "3/4", -5, "-16/3"),
    "a hidden kink in log u": statement(-1 * of("abs", log(u)), _SHORT),
    "a pole of erf": statement(1 / of("erf", u - 1), _SHORT),
    "a logarithm of what is negative": statement(-1 * log(-1 * u), _SHORT),
    "infinite at its cut": statement(of("abs", u - 1) ** "-1/2", _SHORT, cuts=("1",)),
    "concave by its denominator": statement(
        piecewise((1 / (u - 3), below(u, 2)), ((u - 2) ** 2 + 1 - u, True)), _SHORT, cuts=("2",)
    ),
    "a pole of even order": statement(1 / ((u - 1) ** 2), _SHORT),
    "a pole of log u": statement(1 / (log(u) ** 3), _SHORT),
    "a pole of exp": statement(1 / (exp(u) - 2), _SHORT),
    "a pole of what rises": statement(1 / (u + log(u)), _SHORT),
    "a pole of what falls": statement(1 / (1 / u - log(u / 10)), _SHORT),
    "a crossing that is not cut": statement(of("max", u - 1, 2 * log(u)), _SHORT, cuts=("1",)),
    "a dip beside the first box": FALSE["a steep dip"][1] | {"covers": {"0": ["1/2", "20"]}},
    "a dip beside the cover": FALSE["a steep dip"][1] | {"covers": {"0": ["4", "8"]}},
    "a narrow dip in the first box": _narrow_dip(),
    "a kink that an exponential turns down": statement(
        of("max", u - 1, 0) * (exp(1 / (1 + word(2) ** "1/2")) - 2) + (u - 1) ** 2, _SHORT, cuts=("1",)
    ),
    "concave beyond a fraction with a root": _before_a_fraction(),
    "an exponential that ends nowhere": statement(
        exp(-1 * u) - exp(-1), [*_SHORT, "limits"], limits=limits(1 - exp(-1), -1, -1 * exp(-1))
    ),
    "limits of what is not convex": statement(u * log(u) ** 2, [*_SHORT, "limits"], limits=limits(0, "inf", "inf")),
    "a wrong limit": _other("kl", limits=limits(0, 0, "inf")),
    "a wrong conjugate": _conjugate("kl", 0, exp(t)),
    "a wrong argument of W": _of_lin("W", exp(t) * "-1/2"),
    "a wrong branch of W": _of_lin("W-1", exp(t - 1) * "-1/2"),
    "the principal branch of W for the other": _conjugate(
        "a conjugate on the other branch of W",
        1,
        -2 * t - 3 - 3 * log(2) + 3 * log(3) + of("W", -1 * exp(t), -1 - 1 / (1 + u)),
    ),
    "a wrong constant": _conjugate("pearson", 0, -2),
    "a wrong lower end": _ends("pearson", 1, -3, "inf"),
    "a wrong upper end": _ends("pearson", 0, "-inf", -1),
    "a piece of f* left out": _other_pieces(slice(1)),
    "a piece of f* too many": _other_pieces(slice(2), ["inf", "inf", "0"]),
    "a piece of the adjoint left out": _other("soft chi", adjoint=TRUE["soft chi"]["adjoint"][1:]),
    "a piece of the adjoint too many": _other("soft chi", adjoint=["u", *TRUE["soft chi"]["adjoint"]]),
    "a wrong line": _conjugate("total variation", 1, t + "1/7"),
    "an odd point of a line": _conjugate(
        "total variation", 1, piecewise((t, below(t, 0)), (7, below(t, 0, "<=")), (t, True))
    ),
    "a line on one side alone": _conjugate("total variation", 1, of("abs", t)),
    "a wrong end of the domain": _other("Lin's K", conjugate=TRUE["Lin's K"]["conjugate"] | {"end": "2"}),
    "a wrong adjoint": _other("kl", adjoint=[log(u)]),
    "a wrong activation": _other("kl", activation={"output": v, "term": exp(v)}),
    "a wrong term": _other("kl", activation={"output": v + 1, "term": exp(v) + 1}),
    "an odd point of the activation": _other(
        "soft chi",
        activation={
            "output": piecewise((v, below(v, 0)), (7, below(v, 0, "<=")), (exp(v) - 1, True)),
            "term": Word(TRUE["soft chi"]["activation"]["term"]),
        },
    ),
    "a wrong value": _other("kl", gaussian={"value": s / 2 + 1, "weight": word("1/2")}),
    "a wrong weight": _other("kl", gaussian={"value": s / 2, "weight": word("1/4")}),
    "a wrong curvature": _other("kl", curvature=word(2)),
    "a curvature of 0": statement(
        (u - 1) ** 4,
        [*FOUNDATIONS, "limits", "reduction to MSE"],
        limits=limits(1, -4, "inf"),
        curvature=word(0),
    ),
    "a curvature at a kink": _reduction(of("abs", u - 1) + (u - 1) ** 2, 2),
    "a curvature on one side": _other(
        "a power of a distance",
        generator=of("max", u - 1, 0) ** 2,
        claims=[*FOUNDATIONS, "limits", "reduction to MSE"],
        curvature=word(2),
        limits=limits(0, 0, "inf"),
    ),
    "a curvature on the left alone": _reduction(
        piecewise((3 * (u - 1) ** 2, below(u, 1)), ((u - 1) ** 2, True)), 6, at_zero=(3, -6)
    ),
    "a curvature before the second cut": _reduction(
        piecewise((3 * (u - 1) ** 2, below(u, 1)), ((u - 1) ** 2, True)), 6, ("1/2", "1"), (3, -6)
    ),
    "a curvature beyond the second cut": _reduction(
        piecewise(
            (3 * (u - 1) ** 2, below(u, 1)),
            ((u - 1) ** 2, below(u, 2)),
            (3 * (u - 2) ** 2 + 2 * u - 3, True),
        ),
        6,
        ("1", "2"),
        (3, -6),
    ),
    "a curvature between two cuts": _reduction(
        piecewise(
            ((u - "1/2") ** 2 - 3 * u + "9/4", below(u, "1/2")),
            (3 * (u - 1) ** 2, below(u, 1)),
            ((u - 1) ** 2, True),
        ),
        2,
        ("1/2", "1"),
        ("5/2", -4),
    ),
    "an activation at a kink": _other(
        "total variation",
        claims=[*TRUE["total variation"]["claims"], "activation"],
        activation={
            "output": piecewise(("-1/2", below(v, 0, "<=")), ("1/2", True)),
            "term": piecewise(("-1/2", below(v, 0, "<=")), ("1/2", True)),
        },
    ),
    "the moments of another logarithm": statement(
        log(2) - log(1 + u), [*_SHORT, "D(s)"], gaussian={"value": log(2) + s / 4, "weight": word("1/4")}
    ),
    "a probability off by a density": _other(
        "total variation", gaussian={"value": of("erf", (2 * s) ** "1/2" / 4) + 1 / pi, "weight": 1 / s}
    ),
}
