"""The error that the kernel states of a quadrature: measured ones lie below it, and what it is made of holds."""

from __future__ import annotations

import copy
import math
import random
import time
from fractions import Fraction
from typing import Any

import mpmath
import pytest
from flint import acb, arb, ctx, fmpq

from fdiv.kernel import claims as kernel
from fdiv.kernel.gaussian.rule import Rule
from fdiv.kernel.gaussian.sector import Analytic, require_analytic
from fdiv.kernel.ledger import Unproved
from tests.fdiv.kernel.rules import FALSE_RULES, RULES, grid, of_high_degree, triangular


@pytest.fixture(autouse=True)
def _precisely() -> Any:
    with ctx.workprec(256):
        yield


def read(statement: Any) -> Rule:
    """The rule of a statement."""
    found = kernel._Case(statement).rule
    assert found is not None
    return found


@pytest.mark.parametrize("name", RULES)
def test_a_true_rule_is_confirmed_by_a_bound(name: str) -> None:
    found = kernel.verify(RULES[name])
    assert {claim: verdict.reason for claim, verdict in found.items() if not verdict.confirmed} == {}
    for claim, verdict in found.items():
        rests = ("D(", "w(", "gradient law", "large s")
        assert verdict.enclosed == claim.startswith(rests), claim


@pytest.mark.parametrize("name", FALSE_RULES)
def test_a_false_rule_is_not_confirmed(name: str) -> None:
    claim, statement = FALSE_RULES[name]
    verdict = kernel.verify(statement)[claim]
    assert not verdict.confirmed
    assert "malformed" not in verdict.reason


# The oracle: both sides by mpmath from the definition, which share nothing with the kernel.


def triangle(ratio: Any) -> Any:
    return (ratio - 1) ** 2 / (ratio + 1)


def triangle_weight(ratio: Any) -> Any:
    """u^2 f''(u)/2."""
    return 4 * ratio**2 / (ratio + 1) ** 3


def mean(function: Any, s: Any) -> Any:
    """E_Q of a function of u, whose logarithm is of law N(-s/2, s)."""
    root = mpmath.sqrt(s)
    ends = sorted(
        side * s / 2 + root * k for side in (-1, 1) for k in range(-14, 15, 2)
    )  # f(u) ~ u has its mass at s/2

    def density(x: Any) -> Any:
        return function(mpmath.exp(x)) * mpmath.npdf(x, -s / 2, root)

    return mpmath.quad(density, sorted([*ends, *(x for x in (-1, 0, 1) if ends[0] < x < ends[-1])]))


def even(x: Any) -> Any:
    """E = (2 sinh(x/2))^2/(2 cosh(x/2)), for the triangle."""
    return 2 * mpmath.sinh(x / 2) ** 2 / mpmath.cosh(x / 2)


def rest(x: Any) -> Any:
    """E less the even part 2 cosh(x/2) of 1 + u."""
    return -2 / mpmath.cosh(x / 2)


def summed(data: Any, s: Any) -> tuple[Any, Any]:
    """D and w by the rule, as the docs state it."""
    small = s <= mpmath.mpf(Fraction(data["switch"]).numerator) / Fraction(data["switch"]).denominator
    function, (step, first, last) = (even, data["low"]) if small else (rest, data["high"])
    h = mpmath.mpf(Fraction(step).numerator) / Fraction(step).denominator
    sums = [mpmath.mpf(0), mpmath.mpf(0)]
    for j in range(first, last + 1):
        x = mpmath.exp(j * h)
        weight = h * x * mpmath.exp(-(x**2) / (2 * s))
        sums[0] += function(x) * weight
        sums[1] += x * mpmath.diff(function, x) / 2 * weight
    scale = mpmath.exp(-s / 8) * mpmath.sqrt(2 / (mpmath.pi * s))
    return (0 if small else 2) + scale * sums[0], scale * (sums[1] - s / 8 * sums[0]) / s


COARSE = [
    ("steps for small s", {"low": grid("1/3", -27, 3.5)}, (0.01, 0.3, 2.0), 2e3),
    ("steps for large s", {"high": grid("1/3", -42, 4.7)}, (2.1, 5.0, 30.0), 2e4),
    ("the first point for small s", {"low": grid("7/55", -6.5, 3.5), "least": "1/10000"}, (1e-4, 1e-3), 20.0),
    ("the last point for small s", {"low": grid("7/55", -27, 2.3)}, (0.5, 2.0), 2e6),
    ("the first point for large s", {"high": grid("7/55", -8, 4.7)}, (2.1, 20.0), 20.0),
    ("the last point for large s", {"high": grid("7/55", -42, 3.4)}, (30.0, 300.0), 2e4),
]
"""Rules that are coarse in one way, and by how much the bound may exceed what is measured."""


@pytest.mark.parametrize(("name", "other", "places", "slack"), COARSE)
def test_measured_errors_lie_below_the_bound(name: str, other: Any, places: Any, slack: float) -> None:
    statement = triangular(**other)
    bound, data = read(statement).errors, statement["gaussian"]["rule"]
    with mpmath.workdps(40):
        shares = []
        for place in places:
            s = mpmath.mpf(place)
            truths = mean(triangle, s), mean(triangle_weight, s)
            errors = [abs(found / truth - 1) for found, truth in zip(summed(data, s), truths, strict=True)]
            assert errors[0] <= float(bound.value)
            assert errors[1] <= float(bound.weight)
            shares += [errors[0] / float(bound.value), errors[1] / float(bound.weight)]
    assert max(shares) * slack > 1, max(shares)


def ideal(data: Any, k: int) -> tuple[Any, Any]:
    """The bounds of docs/kernel.md for the triangle, with suprema over points and integrals by quadrature."""

    def exact(text: str) -> Any:
        return mpmath.mpf(Fraction(text).numerator) / Fraction(text).denominator

    def size(function: Any, x: Any, order: int = k, factor: float = 0.5**k) -> Any:
        return abs(mpmath.diff(function, x, order)) * factor

    def beyond(end: Any, function: Any) -> Any:
        return mpmath.quad(function, [end, 1.5 * end, 9 * end])

    def sums(grid: Any, power: int) -> tuple[Any, Any, Any]:
        """The factor of the integral on the ray, the sum before the first point, and the last point."""
        h, first, last = exact(grid[0]), *grid[1:]
        before = h * mpmath.exp(power * first * h) / mpmath.expm1(power * h)
        return 2 / mpmath.expm1(2 * mpmath.pi * angle / h), before, mpmath.exp(last * h)

    switch, least, angle = (exact(data[name]) for name in ("switch", "least", "angle"))
    ray, stretch, near = mpmath.expj(angle), mpmath.sqrt(mpmath.mpf(5) / 4 / mpmath.cos(2 * angle)), mpmath.mpf(1) / 8
    points = [near * i / 8 for i in range(9)]
    rises = [size(even, x, 2, 0.5) for x in points]
    aliasing, before, end = sums(data["low"], 3)
    ratios = [stretch**2 * size(even, stretch * x * ray, 2, 0.5) / min(rises) for x in points]  # as m/2 = 1
    for i in range(100):
        rho = near * (end / near) ** (mpmath.mpf(i) / 99)
        top = size(even, stretch * rho * ray) * (stretch * rho) ** k * mpmath.exp(-(rho**2) / (8 * switch))
        ratios.append(top / even(rho))
    after = beyond(end, lambda x: size(even, x) * x**k * mpmath.exp(-(x**2) / (2 * switch)))
    cut = (before * max(rises) / mpmath.sqrt(least) ** 3 + after / near**3) * 3 * mpmath.exp(0.5) / min(rises)
    low = aliasing * stretch * max(ratios) + cut

    aliasing, before, end = sums(data["high"], k + 1)
    whole = mpmath.quad(lambda r: size(rest, r * ray) * r**k, [0, 0.1, 1, 3, 9, 30, 150])
    cut = before * max(size(rest, x) for x in points) + beyond(end, lambda x: size(rest, x) * x**k)
    mean = even(mpmath.sqrt(switch)) * mpmath.sqrt(mpmath.pi * switch / 2) * mpmath.erfc(mpmath.sqrt(0.5))
    return low, (aliasing * whole + cut) / mean


NUMBERS: list[dict[str, Any]] = [{}, *(other for _, other, *_ in COARSE)]
NUMBERS += [{"switch": "1/2"}, {"angle": "1/2"}, {"switch": "4", "low": grid("7/55", -27, 4)}]
NUMBERS += [{"switch": "1/50"}, {"switch": "3", "low": grid("7/55", -27, 2.6)}]  # what is near 0 counts, and the end


@pytest.mark.parametrize("other", NUMBERS, ids=str)
def test_the_bound_is_that_of_the_docs(other: Any) -> None:
    statement = triangular(**other)
    rule = read(statement)
    low, high = rule._low(), rule._high()
    with mpmath.workdps(20):
        for k in (0, 1):
            for found, stated in zip((low[k], high[k]), ideal(statement["gaussian"]["rule"], k), strict=True):
                assert 0.999 * float(stated) <= float(found) <= 2.1 * float(stated)
        value, slope = (max(pair) for pair in zip(low, high, strict=True))
        share = float(rule.switch) / 8
        assert float(rule.errors.value) == pytest.approx(float(value))
        assert float(rule.errors.weight) == pytest.approx(2 * math.exp(share) * float(slope + share * value))


def test_work_is_bounded() -> None:
    """Far ends of a grid, and polynomials of high degree, whose zeros are sought in the plane."""
    far = [triangular(high=[step, -40, last]) for step, last in (("7/55", 20000), ("1", 99999), ("1/3", 4000))]
    for forged in [*far, of_high_degree("2001/1000", 1000), of_high_degree("721/240", 240)]:
        start = time.process_time()
        assert not kernel.verify(forged)["D(s)"].confirmed
        assert time.process_time() - start < 5.0


def test_no_s_is_said_for_which_nothing_is_shown() -> None:
    for least, said in (("100000499/10000000000", "1.1e-2"), ("1/1000000000000", "1.0e-12")):
        found = kernel.verify(triangular(least=least))["D(s)"]
        assert found.confirmed
        assert found.reason.endswith(f"for all s >= {said}")


@pytest.mark.parametrize("part", ["even", "rest"])
def test_bounds_in_the_sector_hold_and_are_near(part: str) -> None:
    rule = read(RULES["a triangle"])
    function: Analytic = getattr(rule, part)
    exact, draw = {"even": even, "rest": rest}[part], random.Random(part)
    with mpmath.workdps(30):
        for _ in range(40):
            low, k = math.exp(draw.uniform(-2, 3)), draw.choice([0, 1])
            high, r = low * 1.08, low * draw.uniform(1.0, 1.08)
            true = abs(mpmath.diff(exact, r * mpmath.expj(329 / 500), k))
            most = float(function.most(k, rule.way, arb(low), arb(high)))
            assert true <= most <= 9 * true, (low, k)
        for _ in range(40):
            x, k = mpmath.mpc(draw.uniform(8, 12), draw.uniform(-6, 6)), draw.choice([0, 1])
            bound = float(function.powers(k, arb(float(abs(x))))) * mpmath.exp(
                -float(fmpq(function.exponent).p) / 2 * x.real
            )
            true = abs(mpmath.diff(exact, x, k))
            assert true <= bound <= 3 * true, (x, k)


ZEROS = [
    ("a singularity beside the sector", 99.0, math.pi),
    ("two singularities beside the sector", 20.0, math.acos(-0.4)),
]


@pytest.mark.parametrize(("name", "size", "turn"), ZEROS)
def test_a_zero_of_a_divisor_is_seen_inside_the_sector_alone(name: str, size: float, turn: float) -> None:
    """Where the divisors and arguments in u have the zeros size e^{+-i turn}, x has log(size) +- i turn."""
    whole = read(RULES[name]).even.derivatives[0]
    place = math.atan(turn / math.log(size))
    require_analytic(whole, arb(place - 1e-12))
    with pytest.raises(Unproved, match="a singularity in the sector"):
        require_analytic(whole, arb(place + 1e-12))


def test_a_logarithm_of_w_is_continued_and_no_other_crosses_its_cut() -> None:
    """On the ray u = e^x winds about 0: log(1 + u)/... goes on with x, and not with the principal branch of e^x."""
    rule = read(RULES["Jensen-Shannon"])
    with mpmath.workdps(30):
        x = 9 * mpmath.expj(329 / 500)
        assert abs(x.imag) > mpmath.pi

        def kappa(x: Any) -> Any:  # x sinh(x/2)/2 - cosh(x/2) log cosh(x/2), with log cosh(x/2) = x/2 + ...
            return x * mpmath.sinh(x / 2) / 2 - mpmath.cosh(x / 2) * (
                x / 2 + mpmath.log1p(mpmath.exp(-x)) - mpmath.log(2)
            )

        found = rule.even.at(0, acb(arb(str(x.real)), arb(str(x.imag))))
        assert abs(complex(found.mid()) - complex(kappa(x))) < 1e-12


def test_an_argument_that_winds_around_zero_is_refused() -> None:
    """(u + 99)^3 + 2 has no zero in the sector, but in w its argument reaches -pi on the ray, where Im x is about 1."""
    rule = read(FALSE_RULES["an argument that winds around 0"][1])
    assert rule.even.over(0, rule.way, arb(1), arb("1.5"))
    with pytest.raises(Unproved, match="may meet its branch cut"):
        rule.even.over(0, rule.way, arb(2), arb(3))


OTHER_NUMBERS: list[tuple[str, Any]] = [
    *(
        (key, f"{sign}{value}")
        for key, value in (("least", "1/10"), ("angle", "8/10"), ("rise", "1/4"), ("decay", "40"))
        for sign in ("", "-")
    ),
    *(
        (key, value)
        for key in ("least", "switch", "angle", "rise", "decay", "closed")
        for value in ("0", "1e-3", None, 2, True, [])
    ),
    *((key, f"1/{10**30}") for key in ("least", "switch", "decay")),
    *(("switch", value) for value in ("-2", "32", "80")),
    *((key, grid) for key in ("low", "high") for grid in (None, "u", [], ["7/55", -217], ["7/55", -217, 27, 1])),
    *((key, [step, -217, 37]) for key in ("low", "high") for step in ("0", "5", "-7/55", f"1/{10**15}", 1, None)),
    *((key, ["7/55", -217, last]) for key in ("low", "high") for last in (17, -37, "37", True, None, 10**9)),
    *((key, ["7/55", first, 37]) for key in ("low", "high") for first in (-100, 83, "-217", False, None, -(10**9))),
]


@pytest.mark.parametrize(("key", "value"), OTHER_NUMBERS)
def test_a_rule_with_another_number_is_refused(key: str, value: Any) -> None:
    """Longer grids, a larger least s and another switch near by would make other rules, that serve as well."""
    forged = copy.deepcopy(RULES["a triangle"])
    forged["gaussian"]["rule"][key] = value
    assert not kernel.verify(forged)["D(s)"].confirmed
