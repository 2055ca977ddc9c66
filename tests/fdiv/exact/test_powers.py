"""Powers of whole numbers end, equal ones are one, and they are SymPy's own where its numbers stay short."""

from __future__ import annotations

import math
import resource
import subprocess
import sys

import pytest
from sympy import Abs, Add, Expr, Integer, Max, Mul, Poly, Rational, cancel, erf, exp, gamma, oo, pi, sqrt

from fdiv import certify, resolve
from fdiv.derive.generator import pieces
from fdiv.exact.asymptotics import UnknownExpansion, limit_at_zero
from fdiv.exact.comparison import _cancels, sign, vanishes
from fdiv.exact.constants import OpenError
from fdiv.exact.simplify import partial_fractions
from fdiv.exact.symbols import _eval_power, _whole, in_primes, s, u


@pytest.mark.parametrize(("base", "power"), [(56, "5/3"), (72, "7/2"), (1024, "11/10"), (97, "1/3"), (6, "1/1009")])
def test_a_power_that_ends_is_what_sympy_makes_of_it(base: int, power: str) -> None:
    number, exponent = Integer(base), Rational(power)
    assert _eval_power(number, exponent) == _whole(number, exponent)
    assert Integer(72) ** Rational(1, 2) == 6 * sqrt(2)


@pytest.mark.parametrize("text", ["8333333333333333/5000000000000000", "0.123456789012", "-3.000000001"])
def test_a_power_of_many_digits_ends_with_the_same_value(text: str) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))

    program = f"""
import fdiv.exact.symbols
from sympy import Integer, Rational, exp
a = Rational("{text}")
print((Rational(71, 56) ** a * Integer(56) ** -a * exp(a)).n(20))
"""
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, preexec_fn=limited, check=False)
    a = float(Rational(text))
    assert float(found.stdout) == pytest.approx((71 / 56**2 * math.e) ** a, rel=1e-12), found.stderr


POWERS = ("0.123456789012", "-3.000000001234", "1.6666666666", "0.12345", "63.999999999")


@pytest.mark.parametrize("text", POWERS)
def test_equal_powers_are_one(text: str) -> None:
    a = Rational(text)
    power = Integer(56) ** a
    assert power == Integer(8) ** a * Integer(7) ** a == Integer(2) ** (3 * a) * 7**a
    assert Rational(71, 56) ** a * power == Integer(71) ** a
    assert Rational(1, 56) ** a * power == 1
    assert Integer(3136) ** a == power**2
    assert Integer(72) ** a / power == Rational(9, 7) ** a
    assert Max(power, Integer(8) ** a * Integer(7) ** a) == power
    assert Abs(power - Integer(8) ** a * Integer(7) ** a) == 0
    assert Integer(-56) ** Rational(1, 101) == Integer(-1) ** Rational(1, 101) * Integer(56) ** Rational(1, 101)


def test_a_number_is_taken_apart_into_its_primes_or_what_is_left() -> None:
    assert in_primes(Rational(2**5 * 7, 3**4)) == {2: 5, 7: 1, 3: -4}
    large = (2**100 + 1) ** 5 + 1  # SymPy's own factors raise an error
    found = in_primes(Rational(large))
    assert math.prod(prime**order for prime, order in found.items()) == large


@pytest.mark.parametrize("q", [5, 7, 24, 1009])
def test_roots_that_cancel_are_zero_and_others_are_not(q: int) -> None:
    a = Rational(1, q)
    product = Mul(Integer(8) ** a, Integer(7) ** a)
    assert vanishes(Add(Integer(56) ** a, -product))
    assert sign(Integer(56) ** a - product * (1 + Rational(1, 10**60))) == -1
    assert not vanishes(Integer(56) ** a - product * (1 + Rational(1, 10**60)))


def test_products_of_small_roots_that_sympy_writes_in_two_ways_cancel() -> None:
    a = Rational(11, 13)
    assert vanishes(Integer(12) ** a * Integer(56) ** a - Integer(2) ** (5 * a) * Integer(21) ** a)
    large, larger = Integer(32_771), Integer(32_779)  # beyond the primes that SymPy looks for
    third = Rational(1, 3)
    assert _cancels((large**2 * larger) ** (2 * third) - large * large**third * larger ** (2 * third))
    factors = [
        Integer(base) ** Rational(power) for base, power in ((2, "29/30"), (3, "29/15"), (3, "41/30"), (12, "29/15"))
    ]
    one, other = Mul(*factors), math.prod(reversed(factors))
    assert one != other, "a case that SymPy does not write in two ways"
    assert _cancels(one - other)
    assert not _cancels(one - 3 * other)


def _conjugate_roots(exponent: str) -> Expr:
    a = Rational(exponent)
    return (56 + sqrt(2)) ** a * (56 - sqrt(2)) ** a - Integer(3134) ** a


def test_what_needs_a_root_of_high_order_to_be_zero_is_open_at_once() -> None:
    with pytest.raises(OpenError):
        sign(_conjugate_roots("0.123456789012"))
    assert _conjugate_roots("0.123456789012").is_positive is None
    assert sign(_conjugate_roots("1.23")) == 0


def test_no_polynomial_is_written_in_a_root_of_high_order() -> None:
    power = Rational("0.123456789012")
    a = Integer(56) ** power
    assert cancel((a * u + a) / (u + 1)) == a
    assert Poly(Integer(2) ** power * u + 1).gens == (u, Integer(2) ** power)
    assert Poly(u**power + 1).gens == (u**power,)
    assert Poly(56 ** (power * u) + 1).gens == (56 ** (power * u),)
    assert partial_fractions((a * u + 1) / (u * (u + 1))) == 1 / u + (a - 1) / (u + 1)


def test_a_limit_at_zero_is_exact_or_not_found() -> None:
    a = Integer(56) ** Rational(1, 5) - Integer(8) ** Rational(1, 5) * Integer(7) ** Rational(1, 5)
    assert limit_at_zero((s / 2 + a) / s, s) == Rational(1, 2)  # 0 by SymPy
    assert limit_at_zero((erf(sqrt(s)) * sqrt(s) + exp(-1 / s)) / s, s) == 2 / sqrt(pi)
    assert limit_at_zero(erf(1 / sqrt(s) - s) * (1 + s) / s, s) == oo
    with pytest.raises(UnknownExpansion):
        limit_at_zero((s / 2 + _conjugate_roots("0.123456789012")) / s, s)


@pytest.mark.parametrize("growing", [exp(1 / s), exp(s**-2), 2 ** (1 / s), gamma(1 / s)])
def test_what_vanishes_beside_what_outgrows_powers_has_no_limit_by_itself(growing: Expr) -> None:
    with pytest.raises(UnknownExpansion, match="outgrow"):
        limit_at_zero(growing * (1 - erf(1 / sqrt(s))) / s, s)


@pytest.mark.parametrize("zero", ["56**0.2-8**0.2*7**0.2", "Abs((2+sqrt(3))**1.23*(2-sqrt(3))**1.23-1)"])
def test_a_hidden_zero_refutes_no_reduction_to_mse(zero: str) -> None:
    certificate = certify(resolve(f"u*log(u)+{zero}"))
    assert certificate.accepted
    assert all(claim.evidence != "refuted" for claim in certificate.claims)


def test_an_exponential_beside_a_root_of_high_order_has_its_limit() -> None:
    power = Rational("0.123456789012")
    for base in (Integer(56), Rational(1, 56)):
        (piece,) = pieces(base ** (power * u) - base**power)
        index = piece.limit(u * piece.slope / piece.expression, oo)
        assert index == (oo if base > 1 else 0)
