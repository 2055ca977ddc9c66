"""Statements with a quadrature in the place of formulas of D(s) and w(s): true ones, and false ones by a hair."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tests.fdiv.kernel.words import FOUNDATIONS, GAUSSIAN, below, exp, limits, log, of, piecewise, s, statement, u, word

_D, _W = "D(s)", "w(s) = dD/ds >= 0"
_CLAIMS = [*FOUNDATIONS, "limits", *GAUSSIAN]
_TRIANGLE = (u - 1) ** 2 / (u + 1)


def rule(growth: Any, closed: Any, **other: Any) -> dict[str, Any]:
    """The rule that is shipped for s <= 2 and s >= 2, but for what is given."""
    shipped = {"least": "1/1000000000000", "switch": "2", "rise": "1/2", "decay": "1", "angle": "329/500"}
    grids = {"low": ["7/55", -217, 27], "high": ["7/55", -336, 37]}
    return {"rule": {**shipped, **grids, "growth": word(growth), "closed": word(closed), **other}}


def triangular(**other: Any) -> Any:
    """That of (u - 1)^2/(u + 1), with other numbers."""
    whole = {"growth": 1 + u, "closed": word(2), **other}
    return statement(_TRIANGLE, _CLAIMS, limits=limits(1, -3, 1), gaussian=rule(**whole))


def third(first: int = -189, **other: Any) -> Any:
    """That of |u - 1|^3/(u + 1)^2/2, whose E has a zero of order 3."""
    return statement(
        of("abs", u - 1) ** 3 / (u + 1) ** 2 / 2,
        _CLAIMS,
        cuts=("1",),
        limits=limits("1/2", "-5/2", "1/2"),
        gaussian=rule((1 + u) / 2, word(1), low=["7/55", first, 27], **other),
    )


def steep(**other: Any) -> Any:
    """That of (u - 1)^2 + (u - 1)^2/(u + 1)."""
    whole = {
        "growth": u**2 - u + 2,
        "closed": exp(s) + 1,
        "rise": "3/2",
        "angle": "3/5",
        "low": ["7/55", -217, 29],
        **other,
    }
    return statement((u - 1) ** 2 + _TRIANGLE, [*FOUNDATIONS, _D, _W], gaussian=rule(**whole))


def of_high_degree(power: str, order: int) -> Any:
    """A convex function with a logarithm whose argument is a polynomial of that degree in roots of u."""
    return statement(100 * u**power - log(1 + u + u**power), [*FOUNDATIONS, _D], order=order, gaussian=rule(0, 0))


def winged(**other: Any) -> Any:
    """That of (u - 1)^2 less a logarithm, whose argument has two complex zeros, 20 e^{+-i acos(-2/5)}."""
    start = 1 - log(word("400/417"))
    whole = {"growth": u**2 - 2 * u + start, "closed": exp(s) - 2 + start, "rise": "3/2", "angle": "1/2", **other}
    wings = log(u**2 + 16 * u + 400) - log(417)
    grids = {"low": grid("1/11", -28, 3.6), "high": grid("1/11", -43, 5)}
    return statement((u - 1) ** 2 - wings, [*FOUNDATIONS, _D], gaussian=rule(**{**grids, **whole}))


def grid(step: str, low: float, high: float) -> list[Any]:
    """The points from e^low to e^high."""
    h = float(Fraction(step))
    return [step, round(low / h), round(high / h)]


_HALF = (1 + u) * log(2) / 2
_JENSEN = u * log(u) / 2 - (u + 1) * log((u + 1) / 2) / 2
_BLENDED = (u - 1) ** 2 / (u * "1/100" + "99/100")
_START = log(100**3 + 2) - log(99**3 + 2)
_WINDING = log(100**3 + 2) - log((u + 99) ** 3 + 2)
RULES: dict[str, Any] = {
    "a triangle": triangular(),
    "Jensen-Shannon": statement(
        _JENSEN,
        _CLAIMS,
        limits=limits(log(2) / 2, "-inf", log(2) / 2),
        gaussian=rule(_HALF, log(2)),
    ),
    "a third power of a distance": third(),
    "a triangle in two pieces": statement(
        piecewise((_TRIANGLE, below(u, 1)), (_TRIANGLE, True)),
        _CLAIMS,
        cuts=("1",),
        limits=limits(1, -3, 1),
        gaussian=rule(1 + u, word(2)),
    ),
    "a singularity beside the sector": statement(
        _BLENDED,
        [*FOUNDATIONS, _D, _W],
        gaussian=rule(
            word("100/99") + u * 100, "10000/99", angle="1/2", low=grid("1/11", -28, 3.6), high=grid("1/11", -43, 5)
        ),
    ),
    "two singularities beside the sector": winged(),
    "a logarithm of what falls, before 1": statement(
        piecewise((-1 * log(2 - u), below(u, 1)), (u - 1 + _TRIANGLE, True)),
        [*FOUNDATIONS, _D, _W],
        cuts=("1",),
        gaussian=rule(2 * u - log(2), 2 - log(2)),
    ),
    "what rises like u^2": steep(),
    "roots of order 6": statement(
        3 * (1 + u ** "3/2") ** "2/3" - (1 + u) * word(2) ** "-1/3" * 3,
        [*FOUNDATIONS, _D, _W],
        order=6,
        gaussian=rule((1 + u) * (3 - word(2) ** "-1/3" * 3), 6 - word(2) ** "-1/3" * 6),
    ),
}
"""True statements."""
FALSE_RULES: dict[str, tuple[str, Any]] = {
    "a mean of another growth": (_D, triangular(closed="3")),
    "another growth with its mean": (_D, triangular(growth=(1 + u) * 2, closed=word(4))),
    "a faster decay than there is": (_D, triangular(decay="3/2")),
    "no decay": (_D, triangular(decay="1/2")),
    "an angle beyond the decay of the density": (_D, triangular(angle="4/5")),
    "an angle of 0": (_D, triangular(angle="0")),
    "f(1) = 1": (
        _W,
        statement(
            _TRIANGLE + 1, ["finite on (0, inf)", "convexity", _D, _W], gaussian=rule(2 + u, 3, low=["7/55", -380, 27])
        ),
    ),
    "f(1) = -1/100": (
        _D,
        statement(
            _TRIANGLE - "1/100",
            ["finite on (0, inf)", "convexity", _D],
            gaussian=rule(word("99/100") + u * "99/100", word("99/50")),
        ),
    ),
    "a singularity in the sector": (
        _D,
        statement(_BLENDED, [*FOUNDATIONS, _D], gaussian=rule(word("100/99") + u * 100, word("10000/99"))),
    ),
    "two singularities in the sector": (_D, winged(angle="3/5")),
    "a kink beside 1": (
        _D,
        statement(
            _TRIANGLE + of("abs", u - 2) + u - 3,
            ["finite on (0, inf)", "convexity", _D],
            cuts=("2",),
            gaussian=rule(u * 3, word(3)),
        ),
    ),
    "a power of a distance that is not whole": (
        _D,
        statement(
            of("abs", u - 1) ** "5/2" / (u + 1) ** "3/2",
            ["finite on (0, inf)", "convexity", _D],
            cuts=("1",),
            gaussian=rule(1 + u, word(2)),
        ),
    ),
    "steps that are too long for small s": (_D, triangular(low=grid("700/4049", -27.6, 3.45))),
    "steps that are too long for large s": (_D, triangular(high=grid("700/4092", -42.7, 4.7))),
    "steps that are too long for w": (_W, triangular(low=grid("700/4258", -27.6, 3.45))),
    "too small an s for the first point": (_D, triangular(low=["7/55", -167, 27], least="4/10000000000000")),
    "too small an s for the first point, for w": (_W, third(least="3/1000000000000", first=-148)),
    "a last point too near for small s": (_D, triangular(low=["100/1063", -294, 26])),
    "a last point too near for what rises like u^2": (_D, steep(low=["100/1063", -294, 28])),
    "less than it rises": (_D, steep(rise="1/2")),
    "an argument that winds around 0": (
        _D,
        statement(
            _WINDING,
            [*FOUNDATIONS, _D],
            gaussian=rule(
                _START, _START, angle="1/2", low=grid("1/11", -28, 3.6), high=grid("1/11", -43, 5), switch="2"
            ),
        ),
    ),
    "a first point too far for large s": (_D, triangular(high=["1/10", -220, 47])),
    "a last point too near for large s": (_D, triangular(high=["25/273", -480, 42])),
    "no s that is small": (_D, triangular(least="1/60")),
    "a switch below what is near": (_D, triangular(switch="1/100")),
    "a grid that ends where it begins": (_D, triangular(low=["7/55", -217, -217])),
    "a grid of one point": (_D, triangular(high=["7/55", 37, 37])),
    "steps backwards": (_D, triangular(low=["-7/55", 217, -27])),
}
"""In each, the claim that is named is not to be confirmed; what is too long or too near is so by a fifth at most."""
