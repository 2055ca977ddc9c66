"""True statements that need a rule, or a corner of one, that no other statement and no entry of the catalogue needs."""

from __future__ import annotations

from typing import Any

from tests.fdiv.kernel.words import (
    CONJUGATE,
    FOUNDATIONS,
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
    word,
)

WHOLE = [*FOUNDATIONS, *CONJUGATE]


def _square_of_a_logarithm(b: Word) -> Any:
    """u log(u/2)^2 above 2, and 0 below, for b = log 2; log u is of law N(s/2, s) under P."""
    far, deviation = s / 2 - b, s ** "1/2"
    share = (1 + of("erf", far / deviation * word(2) ** "-1/2")) / 2
    density = exp(far**2 / s * "-1/2") / (2 * pi) ** "1/2"
    return statement(
        piecewise((0, below(u, 2)), (u * (log(u) - b) ** 2, True)),
        [*FOUNDATIONS, "limits", "D(s)", "D(0) = 0 <= D(s)"],
        cuts=("2",),
        order=4,
        limits=limits(0, 0, "inf"),
        gaussian={"value": (far**2 + s) * share + far * deviation * density},
    )


def _other_branch() -> Any:
    """f' = log w - w for w = 1 + 1/(1 + u), hence -w = W(-e^t) on the branch below -1."""
    constant, w = 3 * log(2) + 1 - 3 * log(3), 1 + 1 / (1 + u)
    return statement(
        (u + 2) * log(u + 2) - (u + 1) * log(u + 1) - u - log(1 + u) + constant,
        WHOLE,
        limits=limits(2 * log(2) + constant, log(2) - 2, -1),
        conjugate=conjugate(
            -1 - constant,
            ("-inf", log(2) - 2, -2 * log(2) - constant),
            (log(2) - 2, -1, -2 * t - 2 - constant + of("W-1", -1 * exp(t), -1 * w)),
        ),
    )


def _before_its_pole() -> Any:
    """exp(1/(3 - u)) below 2, and a parabola above."""
    late, start = exp(1) * (u - 1) + (u - 2) ** 2, exp("1/2")
    return statement(
        piecewise((exp(1 / (3 - u)) - start, below(u, 2)), (late - start, True)),
        [*FOUNDATIONS, "limits"],
        cuts=("2",),
        limits=limits(exp("1/3") - start, exp("1/3") / 9, "inf"),
    )


def _logarithm_in_a_series() -> Any:
    """-u log(1 + log(1 + u)/u), whose expansion at infinity is one in log(u)/u."""
    end = log(1 + log(2))
    return statement(
        u * log(u) - u * log(u + log(1 + u)) + u * end,
        WHOLE,
        limits=limits(0, end - log(2), end),
        conjugate=conjugate("inf", ("-inf", end - log(2), 0), (end - log(2), end, None)),
    )


RARE: dict[str, Any] = {
    "a square of a logarithm beyond 2": _square_of_a_logarithm(log(2)),
    "a conjugate on the other branch of W": _other_branch(),
    "an exponential before its pole": _before_its_pole(),
    "a logarithm in a series": _logarithm_in_a_series(),
    "an exponential of a fraction": statement(
        exp("1/2") - u * exp(1 / (1 + u)),
        WHOLE,
        limits=limits(exp("1/2"), -1 * exp(1), -1),
        conjugate=conjugate(1 - exp("1/2"), ("-inf", -1 * exp(1), -1 * exp("1/2")), (-1 * exp(1), -1, None)),
    ),
    "even roots of even powers": statement(
        ((u - 1) ** 4) ** "1/2" + of("abs", (u - 1) ** 6) ** "1/2", FOUNDATIONS, cuts=("1",)
    ),
    "a root that ends": statement(
        piecewise(
            (word(2) ** "1/2" - (3 - u) ** "1/2", below(u, 2)), ((u - 2) ** 2 + u / 2 - 2 + word(2) ** "1/2", True)
        ),
        [*FOUNDATIONS, "limits"],
        cuts=("2",),
        limits=limits(word(2) ** "1/2" - word(3) ** "1/2", word(3) ** "-1/2" / 2, "inf"),
    ),
    "a root with a cut": statement(word(2) ** "1/2" - (1 + u) ** "1/2", FOUNDATIONS, cuts=("1/3",)),
    "an exponential without roots": statement(exp(u) - exp(1), FOUNDATIONS, order=1),
    "a sum of logarithms that touches zero": statement(
        of("abs", 2 * log(1 + u) - log(4 * u)) + (u - 1) ** 2, FOUNDATIONS
    ),
    "three powers of high degree": statement(
        u**3 + u ** "3/2" + u ** "101/100" - 3, [*FOUNDATIONS, "limits"], order=100, limits=limits(-3, 0, "inf")
    ),
    "nearly a tangent": statement(
        5 * u * log(u) + (u**2 * exp(-1 * u) - exp(-1)) * "4201/500", FOUNDATIONS, covers={"0": ["1/2", "4"]}
    ),
    "a logarithm of an exponential": statement(1 - log(u * exp(u)), FOUNDATIONS),
    "a zero below 1": statement(u * log(u), FOUNDATIONS, cuts=({"zero": u**2 - "1/2", "low": "1/2", "high": "1"},)),
    "a kink between parabolas, and a cut before": statement(
        of("abs", u - 1) + (u - 1) ** 2,
        WHOLE,
        cuts=("1/2", "1"),
        limits=limits(2, -3, "inf"),
        conjugate=conjugate(
            "inf",
            ("-inf", -3, -2),
            (-3, -2, t + (t + 1) ** 2 / 4),
            (-2, -1, t + (t + 1) ** 2 / 4),
            (-1, 1, t),
            (1, "inf", t + (t - 1) ** 2 / 4),
        ),
    ),
}
