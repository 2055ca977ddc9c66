"""The bound below which only zero lies: true, nearly attained by units of number fields, and no rule of it can go."""

from __future__ import annotations

import math
import types
from pathlib import Path

import pytest
import sympy
from flint import ctx
from sympy import Add, Expr, Integer, Mul, Rational, root, sqrt

from fdiv.exact import comparison
from fdiv.exact.constants import constant_ball

LARGE = Integer(2) ** 100 + 1  # 28 bits less than what rounding would need to hide a bound that is too small


def pell(n: int) -> tuple[int, int]:
    """Return p and q of (1 + sqrt(2))^n = p + q sqrt(2), where p^2 - 2 q^2 = (-1)^n."""
    p, q = 1, 0
    for _ in range(n):
        p, q = p + 2 * q, p + q
    return p, q


def unit(n: int) -> Expr:
    """Return (1 - sqrt(2))^n, whose conjugate is (1 + sqrt(2))^n, so that nothing of that size is closer to zero."""
    p, q = pell(n)
    return p - q * sqrt(2)


def nested() -> Expr:
    """Return sqrt(a^2 + unit) - a, whose three conjugates are about as large as a, and whose product with them is 1."""
    a = math.isqrt(pell(150)[0])
    return sqrt(a**2 + unit(150)) - a


def shared_denominator() -> Expr:
    """Return sqrt(2)/b - r/q, where q sqrt(2) - b r is a unit."""
    (b, _), (p, q) = pell(67), pell(201)  # the odd powers of a unit have traces that divide each other
    return sqrt(2) / b - Rational(p // b, q)


UNITS: dict[str, Expr] = {
    "a square root": sqrt(LARGE**2 + 1) - LARGE,
    "a cube root": root(LARGE**3 + 1, 3) - LARGE,
    "a fifth root": root(LARGE**5 + 1, 5) - LARGE,
    "a root of a root": nested(),
    "rational numbers": Add(1 / LARGE, -1 / (LARGE + 1), evaluate=False),
    "a power": (sqrt(LARGE**2 + 1) - LARGE) ** 3,
    "a product": Mul(unit(45), unit(46), evaluate=False),
    "an inverse": 1 / (sqrt(LARGE**2 + 1) + LARGE),
    "a power of an inverse": 1 / (sqrt(LARGE**2 + 1) + LARGE) ** 3,
    "a root and a fraction": sqrt(2) - Rational(*pell(200)),
    "a common denominator": shared_denominator(),
}
"""Numbers that are not zero, and nearly as small as the bound allows."""
P, Q = Integer(3) ** 200, Integer(2) ** 90
SIZES: dict[str, tuple[Expr, Expr, Expr]] = {
    "a root above 1": (root(P / Q, 3, evaluate=False), root(P * Q**2, 3), Q),
    "a root below 1": (root(Q / P, 3, evaluate=False), Q, root(Q**2 * P, 3)),
    "a sum": (P / Q + sqrt(2) / 3, 3 * P + Q * sqrt(2), 3 * Q),
    "an inverse": (1 / (P / Q + sqrt(2) / 3), 3 * Q, 3 * P + Q * sqrt(2)),
    "a product": (Mul(P / Q, sqrt(Rational(5, 3))), P * sqrt(15), 3 * Q),
}
"""Roots that no sum makes small, for whose u and l nothing is known but the rule: u and l themselves, exactly."""


def depth(number: Expr) -> float:
    """Return -log2 of the size of a number, by an enclosure far more precise than the bound asks for."""
    with ctx.workprec(1 << 15):
        return -float((abs(constant_ball(number)).log() / constant_ball(sympy.log(2))).mid())


@pytest.mark.parametrize("name", UNITS)
def test_the_bound_holds_and_is_nearly_attained(name: str) -> None:
    exact = depth(UNITS[name])
    assert exact < comparison.separation(UNITS[name]) < exact + 22


@pytest.mark.parametrize("name", UNITS)
def test_half_the_bound_calls_zero_what_is_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    number = UNITS[name]
    assert not comparison._is_algebraic_zero(number)
    whole = comparison.separation
    monkeypatch.setattr(comparison, "separation", lambda number: whole(number) // 2)
    assert comparison._is_algebraic_zero(number)


def test_half_the_bound_gives_a_wrong_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    gaps = [root(LARGE**k + 1, k) - LARGE for k in (4, 5, 6)]  # 2^-304 and less: no ball of 256 bits tells them from 0
    assert [comparison.sign(gap) for gap in gaps] == [1, 1, 1]
    assert [comparison.sign(-gap) for gap in gaps] == [-1, -1, -1]
    whole = comparison.separation
    monkeypatch.setattr(comparison, "separation", lambda number: whole(number) // 2)
    monkeypatch.setattr(comparison, "vanishes", comparison.vanishes.__wrapped__)  # past what is remembered
    assert [comparison._sign.__wrapped__(gap) for gap in gaps] == [0, 0, 0]


@pytest.mark.parametrize("name", SIZES)
def test_numerators_and_denominators_are_bounded_by_less_than_three_bits_too_much(name: str) -> None:
    number, *exact = SIZES[name]
    for bits, size in zip(comparison._separation(number, {}), exact, strict=True):
        assert -depth(size) <= bits < 3 - depth(size)


# Each makes the bound smaller: it is below the size of one of the numbers above, or of its u or l.
MUTANTS = (
    ("math.prod(orders.values()) - 1", "math.prod(orders.values()) - 2"),
    ("math.prod(orders.values()) - 1", "math.prod(orders.values()) // 2"),
    ("math.prod(orders.values()) - 1", "max(orders.values(), default=1) - 1"),
    ("* upper + lower + 1", "* upper + 1"),
    ("* upper + lower + 1", "* (upper - 1) // 2 + lower"),
    ("abs(int(number.p)).bit_length()", "abs(int(number.p)).bit_length() // 2"),
    ("int(number.q).bit_length()", "1"),
    ("max(above + v, below + u)", "max(above, u)"),
    ("max(above + v, below + u)", "min(above + v, below + u) // 2"),
    ("if number.is_Add else above + u", "if number.is_Add else max(above, u)"),
    ("below += v", "below = max(below, v)"),
    ("orders[number.base, k] = k", "orders[number.base, k] = 2"),
    ("orders[number.base, k] = k", "orders[number.base, 2] = k - 1"),
    ("-(-(above + (k - 1) * below) // k)", "-(-above // k)"),
    ("-(-(below + (k - 1) * above) // k)", "-(-below // k)"),
    ("if number.exp > 0 else (below * power, above * power)", ""),
    ("(above * power, below * power)", "(above, below)"),
    ("else (below * power, above * power)", "else (below, above)"),
)


@pytest.mark.parametrize(("old", "new"), MUTANTS)
def test_a_smaller_bound_is_seen(old: str, new: str) -> None:
    source = Path(comparison.__file__).read_text()
    assert source.count(old) == 1
    mutant = types.ModuleType("mutant")
    exec(source.replace(old, new), mutant.__dict__)
    wrong = [name for name, number in UNITS.items() if mutant._is_algebraic_zero(number)]
    for name, (number, *exact) in SIZES.items():
        bits = mutant._separation(number, {})
        wrong += [name for found, size in zip(bits, exact, strict=True) if found < -depth(size)]
    assert wrong != []
