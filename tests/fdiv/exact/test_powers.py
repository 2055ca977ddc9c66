"""Powers of whole numbers end, and are SymPy's own wherever SymPy ends."""

from __future__ import annotations

import math
import resource
import subprocess
import sys

import pytest
from sympy import Integer, Rational, sqrt

from fdiv.exact import symbols


@pytest.mark.parametrize(("base", "power"), [(56, "5/3"), (72, "7/2"), (1024, "11/10"), (97, "1/3"), (6, "1/1009")])
def test_a_power_that_ends_is_what_sympy_makes_of_it(base: int, power: str) -> None:
    number, exponent = Integer(base), Rational(power)
    assert symbols._eval_power(number, exponent) == symbols._whole(number, exponent)
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
