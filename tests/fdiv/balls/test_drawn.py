"""Signs and tails in ball arithmetic, for expressions drawn at random, against values in many digits."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import flint
import mpmath
import sympy
from hypothesis import given
from hypothesis import strategies as st

from fdiv.balls import ball, tails
from fdiv.exact.symbols import u

monomials = st.tuples(
    st.integers(-3, 3).filter(bool),
    st.fractions(-2, 2, max_denominator=4),
    st.integers(0, 2),
)


def summed(terms: list[tuple[int, Fraction, int]]) -> sympy.Expr:
    parts = (c * u ** sympy.Rational(p.numerator, p.denominator) * sympy.log(u) ** n for c, p, n in terms)
    return sympy.Add(*parts)


@given(st.lists(monomials, min_size=1, max_size=4), st.sampled_from(["", "exp", "log", "root"]))
def test_a_certified_sign_is_the_sign_and_a_refuting_point_refutes(terms: Any, outer: str) -> None:
    inner = summed(terms)
    wrap = {"": inner, "exp": inner + sympy.exp(-u), "log": inner + sympy.log(1 + u), "root": inner + sympy.sqrt(u + 2)}
    expression = wrap[outer]
    if not expression.has(u):
        return
    verdict = ball.certify_sign(expression, sympy.S.Zero, sympy.oo)
    value = sympy.lambdify(u, expression, "mpmath")
    with mpmath.workdps(60):
        if verdict.positive:
            assert all(value(mpmath.exp(mpmath.mpf(x) / 3)) >= -(mpmath.mpf(10) ** -40) for x in range(-150, 151))
        elif verdict.point is not None:
            point, shown = ball.counterexample(expression, verdict.point, sympy.S.Zero, sympy.oo)
            assert value(mpmath.mpf(point.numerator) / point.denominator) < 0
            assert shown < 0


@given(st.lists(monomials, min_size=1, max_size=3), st.sampled_from([-1, 1]), st.integers(1, 30))
def test_the_terms_of_a_tail_contain_the_function(terms: Any, side: int, distance: int) -> None:
    expression = sympy.log(1 + u) + sympy.sqrt(u + summed(terms) ** 2 + 1 / u) + sympy.exp(-u) + 1 / (2 + u)
    tail = tails._Tail(side, 4)
    try:
        expanded = tail.expand(expression)
    except tails.OpenError:
        return
    x = 4 + distance
    with flint.ctx.workprec(300), mpmath.workdps(60):
        total = sum(
            (
                c * flint.arb(x * p.numerator).__truediv__(p.denominator).exp() * flint.arb(x) ** flint.arb(n.numerator)
                for (p, n), c in expanded.items()
            ),
            flint.arb(0),
        )
        truth = sympy.lambdify(u, expression, "mpmath")(mpmath.exp(side * x))
        assert total.overlaps(flint.arb(mpmath.nstr(truth, 50), abs(float(truth)) * 1e-45))
