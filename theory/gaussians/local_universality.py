r"""Near the optimum every divergence that is curved at 1 is a mean squared error: D(s) = f''(1)/2 s + o(s).

Proof. Subtract the tangent of f at 1, so that f >= 0 and f(u) = f''(1)/2 (u - 1)^2 + o((u - 1)^2) as u -> 1. Split
E_Q[f(u)] at |log u| = delta. Inside, Taylor's formula gives (f''(1)/2 + epsilon) E_Q[(u - 1)^2] with epsilon -> 0 as
delta -> 0, and E_Q[(u - 1)^2] = e^s - 1 up to an exponentially small tail. Outside, log u ~ N(-s/2, s) has a density
below exp(-c delta^2/s) times a multiple of its density at s', for small s and some c > 0; D(s') is finite, so this part
is o(s). Let s -> 0, then delta -> 0.

The hypothesis does work. Total variation has a kink at 1 and D(s) of order sqrt(s); a generator that is curved on one
side of 1 only has no f''(1) (D is then s/2 times the mean of the two one-sided values); a generator that is flat at 1
has D(s) = o(s), with no mean squared error in it.

The remainder. log u ~ N(-s/2, s) solves a heat equation, dE_Q[f(u)]/ds = E_Q[u^2 f''(u)]/2 (gradient_law), so each
power of s costs two derivatives of f at 1:

    D(s) = f''/2 s + (2 f'' + 4 f''' + f'''')/8 s^2 + (4 f'' + 32 f''' + 38 f'''' + 12 f^(5) + f^(6))/48 s^3 + ...

If f is C^(2k) near 1, Taylor's formula f = jet + o((u - 1)^(2k)), with E_Q[(u - 1)^(2k)] = O(s^k) and the tails as
above, gives the first k terms with a rest o(s^k); SymPy expands E_Q of the jet. So C^4 gives the second coefficient,
the sign of which says whether a divergence is above or below the squared error to begin with, with the rest o(s^2);
and, by the same argument for u^2 f'', w(s) = f''/2 + 2 c_2 s + o(s). C^6 gives O(s^3), and O(s^2) for w. C^4 does not
give these: (u - 1)^2 + |u - 1|^{9/2} is convex and C^4, and its rest is E|y|^{9/2} s^{9/4} to leading order: 150 s^3 at
s = .01 and 24,276 s^3 at s = 1e-5. It is a row of its own here and in `calibration`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import sympy
from sympy import Expr

import fdiv
from fdiv import Divergence
from fdiv.exact.symbols import u
from theory.laws.expectations import ball, value
from theory.theorem import Comparison, Theorem, catalogue

_POINTS = (1e-4, 1e-6, 1e-8)
# of s, s^2 and s^3: factors of f''(1), f'''(1), ..., and a common denominator
_COEFFICIENTS = (((1,), 2), ((2, 4, 1), 8), ((4, 32, 38, 12, 1), 48))


def curved(divergence: Divergence) -> bool:
    """Whether 0 < f''(1) < inf."""
    curvature = divergence.curvature
    return bool(curvature is not None and curvature.is_finite and curvature > 0)


@cache
def four_derivatives_only() -> Divergence:
    """The counterexample to a rest of order s^3 for every f in C^4."""
    return fdiv.from_expression("(u-1)**2+Abs(u-1)**(9/2)")


@cache
def derivatives(divergence: Divergence) -> tuple[Expr, ...]:
    """f''(1), f'''(1), ..., to the sixth, as far as they exist and are continuous."""
    around = [piece for piece in divergence.pieces if piece.lower <= 1 <= piece.upper]
    found: list[Expr] = []
    for order in range(2, 7):
        sides = {piece.limit(sympy.diff(piece.expression, u, order), sympy.S.One) for piece in around}
        if len(sides) > 1 or not all(side.is_finite for side in sides):
            break
        found += sides
    return tuple(found)


@cache
def coefficients(divergence: Divergence) -> tuple[Expr, ...]:
    """The coefficients of s, s^2, s^3 in D(s), as many as f has derivatives for."""
    at_one = derivatives(divergence)
    known = [(factors, denominator) for factors, denominator in _COEFFICIENTS if len(factors) <= len(at_one)]
    return tuple(sum(k * d for k, d in zip(factors, at_one, strict=False)) / n for factors, n in known)


def second_coefficient(divergence: Divergence) -> float | None:
    """(2 f'' + 4 f''' + f'''')/8 at 1, or None where f is not C^4 there."""
    found = coefficients(divergence)
    return float(found[1]) if len(found) > 1 else None


def six_derivatives(divergence: Divergence) -> bool:
    """Whether f is C^6 near 1."""
    return len(coefficients(divergence)) > 2


def rest(divergence: Divergence, s: float, known: int) -> float:
    """D(s) without its first `known` terms, over s^(known + 1)."""
    terms = (ball(c) * ball(s) ** power for power, c in enumerate(coefficients(divergence)[:known], 1))
    return float((value(divergence, s) - sum(terms)) / ball(s) ** (known + 1))


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    half, stated = float(divergence.curvature) / 2, coefficients(divergence)  # type: ignore[arg-type]
    for s in _POINTS:
        # little-o promises no rate; for f in C^4 the rest is of order s, within sqrt(s) once s is small
        yield Comparison(s, float(value(divergence, s) / s), half, "equal", math.sqrt(s))
    if len(stated) > 1:
        # D loses ten of its 25 digits in the difference at 2^-17; at 2^-60 only if some terms of f are negative
        s = 2.0**-17 if six_derivatives(divergence) else 2.0**-60
        # KL's coefficient is 0; 1 is added to both sides so that a relative error means something
        yield Comparison("1 + coefficient of s^2", 1 + rest(divergence, s, 1), 1 + float(stated[1]), "equal", 1e-3)
    if six_derivatives(divergence):
        third = float(stated[2])
        shift = 1 + 2 * abs(third)
        yield Comparison("O(s^3), shifted", shift + rest(divergence, 2.0**-12, 2), shift + third, "equal", 1e-2)
    if divergence == four_derivatives_only():
        moment = 2**2.25 * math.gamma(2.75) / math.sqrt(math.pi)  # E|y|^{9/2}
        for s in (1e-2, 1e-3, 1e-4, 1e-5):
            yield Comparison(f"not O(s^3), s={s:g}", rest(divergence, s, 2), moment * s**-0.75, "at_least", 0.0)
        yield Comparison("rest/s^{9/4}", rest(divergence, 1e-8, 2) * 1e-8**0.75, moment, "equal", 1e-3)


def _identities(divergence: Divergence) -> Iterator[Expr]:
    """E_Q of the jet of f at 1, expanded in s, less the terms stated."""
    s = sympy.Symbol("s", positive=True)
    jet = sum(one * (u - 1) ** order / sympy.factorial(order) for order, one in enumerate(derivatives(divergence), 2))
    moments = sum(c * sympy.exp(k * (k - 1) * s / 2) for (k,), c in sympy.Poly(jet, u).terms())
    yield moments.subs(s, 0)
    for order, stated in enumerate(coefficients(divergence), 1):
        yield sympy.diff(moments, s, order).subs(s, 0) / sympy.factorial(order) - stated


THEOREM = Theorem(
    number=6,
    name="local_universality",
    title="Near the optimum every curved divergence is a mean squared error",
    statement=r"D_f(s) = \tfrac12 f''(1)\, s + o(s); \qquad f \in C^4: \; D_f(s) = \tfrac12 f''(1)\, s + c_2 s^2 +"
    r" o(s^2), \; w(s) = \tfrac12 f''(1) + 2 c_2 s + o(s), \; c_2 = \tfrac18 \left(2 f''(1) + 4 f'''(1) +"
    r" f''''(1)\right); \qquad f \in C^6: \; O(s^3) \text{ for } o(s^2),\; O(s^2) \text{ for } o(s) \quad (s \to 0)",
    hypotheses=(
        "P and Q are Gaussians of one covariance sigma^2 I",
        "f is convex and twice differentiable at 1 with 0 < f''(1) < inf",
        "for c_2: f is C^4 near 1; for a rest O(s^3): C^6",
        "D(s') is finite for some s' > 0, which bounds the growth of f at 0 and at infinity",
    ),
    reference="Csiszar and Shields 2004, section 4; the proof for Gaussians and the remainder are ours",
    applies=lambda divergence: curved(divergence) and divergence.gaussian.evaluable,
    comparisons=_comparisons,
    corrections=(
        "f in C^4 does not give D = f''(1)/2 s + c_2 s^2 + O(s^3), only o(s^2): (u - 1)^2 + |u - 1|^{9/2} has a"
        " rest of order s^{9/4}. C^6 does, and D(s') has to be finite for some s' > 0",
        '"Every f-divergence is a mean squared error near the optimum" needs'
        " 0 < f''(1) < inf: total variation is of order sqrt(s), a generator flat at 1 is o(s)",
    ),
    identities=_identities,
    universe=lambda: (*catalogue(), four_derivatives_only()),
)
