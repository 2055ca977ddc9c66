"""Ball arithmetic against values in many digits: the expansions of tails, enclosures, and what is undefined."""

from __future__ import annotations

from fractions import Fraction

import flint
import pytest
import sympy

from fdiv.balls import ball, tails
from fdiv.exact.constants import exact
from fdiv.exact.symbols import u

SMALL = 1 / u  # at infinity; u itself is the small one at zero
EXPANDED = [
    sympy.exp(SMALL),
    sympy.exp(SMALL + sympy.log(u) / 2 + 1),
    sympy.log(1 + SMALL / 2),
    sympy.log(u + 2) * u,
    (1 + SMALL / 2) ** sympy.Rational(5, 3),
    (2 + 3 * u) ** sympy.Rational(-1, 2),
    (1 + u) ** -3,
    (1 + u + sympy.sqrt(u)) ** 2 / (1 + u**2),
    sympy.exp(-u) * u**3,
    sympy.sin(u) / u,
    u ** sympy.sqrt(2),
]


@pytest.mark.parametrize("expression", EXPANDED, ids=str)
@pytest.mark.parametrize("side", [1, -1])
def test_the_expansion_of_a_tail_contains_every_value_beyond_its_start(expression: sympy.Expr, side: int) -> None:
    seen = expression.subs(u, u**side)  # what is said of infinity is said of zero after exchanging u and 1/u
    with flint.ctx.workprec(192):
        for start in (2, 5):
            try:
                terms = tails._Tail(side, start).expand(seen)
            except tails.OpenError:
                assert expression.has(sympy.sqrt(2))  # a power of u that is not rational
                continue
            for x in (Fraction(start), start + Fraction(1, 3), Fraction(3 * start)):
                total = sum(c * (exact(p) * exact(x)).exp() * exact(x) ** int(n) for (p, n), c in terms.items())
                assert total.overlaps(ball.enclose(seen, side * exact(x))), x


@pytest.mark.parametrize(
    "expression",
    [sympy.sqrt(u - 3) + 1, sympy.log(u - 3) ** 2 + 1, sympy.sqrt(3 - u) + u, sympy.Piecewise((1, u < 2), (u, True))],
)
def test_what_is_undefined_on_a_part_of_an_interval_is_not_certified_there(expression: sympy.Expr) -> None:
    assert ball.certify_sign(expression, sympy.S.Zero, sympy.oo).positive is None
    assert ball.certify_sign(expression, sympy.Rational(5, 2), sympy.Rational(7, 2), strict=True).positive is None


@pytest.mark.parametrize(
    ("expression", "positive"),
    [
        (u - sympy.log(u), True),
        (u - 1 - sympy.log(u) + sympy.Rational(1, 10**9), True),
        (u - 1 - sympy.log(u) - sympy.Rational(1, 10**9), False),
        (sympy.exp(u) - u**5 / 22, True),
        (sympy.exp(u) - u**5, False),
        (sympy.erf(u) - u / 2, False),
        (2 - sympy.tanh(u) - sympy.cos(u) / 2, True),
    ],
)
def test_a_sign_is_certified_or_refuted_at_a_point(expression: sympy.Expr, positive: bool) -> None:
    verdict = ball.certify_sign(expression, sympy.S.Zero, sympy.oo, strict=True)
    assert verdict.positive is positive, verdict.reason
    if not positive:
        assert verdict.point is not None
        assert expression.subs(u, sympy.exp(sympy.Rational(verdict.point))).evalf(30) < 0
