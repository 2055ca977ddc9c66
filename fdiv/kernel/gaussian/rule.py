"""The trapezoid rule for D(s) and w(s): its relative error, for all s at once. See *Quadrature* in `docs/kernel.md`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from flint import acb, arb, fmpq

from fdiv.kernel.expressions import build, number
from fdiv.kernel.field import End, Field
from fdiv.kernel.gaussian.moments import expectation
from fdiv.kernel.gaussian.sector import Analytic, largest, require_analytic, size
from fdiv.kernel.ledger import Ledger, require
from fdiv.kernel.ratio import Ratio
from fdiv.kernel.values import substituted

_NEAR, _PARTS, _LONGER = fmpq(1, 8), 8, fmpq(13, 12)
_ROOM = fmpq(1, 4)  # of the decay of e^{-x^2/2s}, left on the ray for what grows there
_HALF, _REAL = fmpq(1, 2), acb(1)
_HIGHEST_ORDER = 8


@dataclass(frozen=True)
class Errors:
    """Upper bounds of |rule - D|/D and of |rule - w|/w."""

    value: Any
    weight: Any


@dataclass(frozen=True)
class _Grid:
    """The points x = e^{jh} for first <= j <= last."""

    step: fmpq
    first: Any
    last: Any

    @property
    def end(self) -> Any:
        """The last point."""
        return arb(self.step * self.last).exp()

    def before(self, power: int) -> Any:
        """The sum of h x^power over the points before the first: a geometric series."""
        ratio = arb(self.step * power)
        return arb(self.step) * (ratio * self.first).exp() / ratio.expm1()

    def aliasing(self, angle: Any) -> Any:
        """What the integral of the modulus on the ray is multiplied by (Trefethen and Weideman 2014, theorem 5.1)."""
        return 2 / (2 * arb.pi() * angle / arb(self.step)).expm1()


def _grid(data: Any) -> _Grid:
    step, first, last = data
    found = _Grid(number(step), first, last)
    require(found.step > 0 and all(type(j) is int and abs(j) < 10**5 for j in (first, last)), "no grid")
    require(bool((arb(found.step) * first).exp() < arb(_NEAR)), "a short grid")
    return found


def _boxes(ledger: Ledger, stretch: Any, end: Any) -> Iterator[tuple[Any, Any]]:
    """Parts of [_NEAR, end], each a little longer than the one before, and stretched."""
    low = _NEAR
    while low < end:
        ledger.spend(20)
        yield arb(low) * stretch, arb.min(arb(low * _LONGER), end) * stretch
        low *= _LONGER


def _near(function: Analytic, k: int, way: Any, stretch: Any) -> list[Any]:
    """The values of a derivative on the parts of [0, _NEAR], stretched."""
    ends = [stretch * arb(_NEAR * i / _PARTS) for i in range(_PARTS + 1)]
    return [value for part in pairwise(ends) for value in function.over(k, way, *part)]


class Rule:
    """The rule of a statement for a generator that is convex, and the largest errors of D and w relative to each."""

    def __init__(self, generator: Any, data: Any, line: Field) -> None:
        """Read the statement, build E and R, and show them to be analytic and E_Q of the growth to be as stated."""
        point, self.ledger = line.point, line.ledger
        field = Field(self.ledger, point, None, End(point.constant(1), fmpq(1), fmpq(1)))
        inverse, scale = field.inverse(field.u), field.power(field.u, -_HALF) * _HALF

        def even(form: Any) -> Ratio:
            return (build(form, field, {"u": field.u}) + build(form, field, {"u": inverse}) * field.u) * scale

        rise, decay, self.angle = number(data["rise"]), number(data["decay"]), arb(number(data["angle"]))
        self.least, self.switch = number(data["least"]), arb(number(data["switch"]))
        self.low, self.high = _grid(data["low"]), _grid(data["high"])
        require(bool(0 < self.angle < arb.pi() / 4), "no sector on which the density decays")
        require(0 < self.least < _NEAR**2 and bool(arb(_NEAR) ** 2 < self.switch), "no range of s")
        whole = even(generator)
        self.even = Analytic(whole, -rise)
        self.rest = Analytic(whole - even(data["growth"]), decay - _HALF)
        self.way = acb(self.angle.cos(), self.angle.sin())
        require_analytic(whole, self.angle)  # the growth is a sum of powers of w and log w
        half_line = Field(self.ledger, point)
        mean = expectation(build(data["growth"], half_line, {"u": half_line.u}), line)
        require((mean - build(data["closed"], line, {"s": line.u})).zero, "E_Q of the growth is not as stated")

    @cached_property
    def errors(self) -> Errors:
        """For all s >= least."""
        value, slope = (largest(pair) for pair in zip(self._low(), self._high(), strict=True))
        return Errors(value, 2 * (self.switch / 8).exp() * (slope + self.switch / 8 * value))  # as D <= 2 e^{s/8} s w

    @cached_property
    def _order(self) -> int:
        """The order m > 0 of the zero of E at x = 0, where E is f(1)."""
        one, m = self.even.field.point.constant(1), 0
        while substituted(self.even.derivative(m), one.field, one).zero:
            m += 1
            require(m <= _HIGHEST_ORDER, "a zero of high order")
        require(m > 0, "f(1) is not shown to be 0")
        return m

    def _above_zero(self, x: Any) -> Any:
        """A lower bound > 0 of E at a point x > 0, and beyond it since E rises."""
        found = self.even.at(0, acb(x)).real.lower()
        require(bool(found > 0), "E is not seen to be positive")
        return found

    def _low(self) -> list[Any]:
        """The errors of the sums of E and of x E'/2, relative to I = int E e^{-x^2/2s} dx for least <= s <= switch."""
        m, end, switch, room = self._order, self.low.end, self.switch, arb(_ROOM)
        require(bool(end > self.even.far), "a short grid")
        rate = -arb(self.even.exponent)
        # x = stretch e^{i angle} rho leaves e^{-(1 + room) rho^2/2s}: what remains is compared with E(rho)
        stretch = ((1 + room) / (2 * self.angle).cos()).sqrt()
        rises = [value.real / math.factorial(m) for value in _near(self.even, m, _REAL, arb(1))]
        least, most = -largest(-rise for rise in rises), largest(rises)
        require(bool(least > 0), "E is not seen to rise from 0")
        on_ray = largest(size(value) for value in _near(self.even, m, self.way, stretch)) / math.factorial(m)
        small = least * (-arb(1) / 2).exp() / (m + 1)  # I >= small min(sqrt(s), _NEAR)^(m + 1)
        found = []
        for k, share in ((0, arb(1)), (1, arb(m) / 2)):
            n = self.even.degree(k) + 1 + k
            # from here on the ratios fall, and the terms of the sum too: rate is at least 1/2, as E'' >= E/4
            falls = stretch * self.way.real * rate + n / end < room * end / switch
            require(bool(falls), "a short grid")
            ratios = [share * stretch**m * on_ray / least]
            for low, high in _boxes(self.ledger, stretch, end):
                rho = low / stretch
                decay = (-room * rho**2 / (2 * switch)).exp() * (high / 2) ** k
                ratios.append(self.even.most(k, self.way, low, high) * decay / self._above_zero(rho))
            growth = (stretch * end * self.way.real * rate - room * end**2 / (2 * switch)).exp()
            ratios.append(self.even.powers(k, stretch * end, k) * growth / 2**k / self._above_zero(end))
            before = share * most * self.low.before(m + 1) / arb(self.least).sqrt() ** (m + 1)
            after = self.even.powers(k, end, k) / 2**k * (end * rate - end**2 / (2 * switch)).exp()
            after /= (end / switch - rate - n / end) * arb(_NEAR) ** (m + 1)
            aliased = self.low.aliasing(self.angle) * stretch * largest(ratios)
            found.append((aliased + (before + after) / small).upper())
        return found

    def _high(self) -> list[Any]:
        """The errors of the sums of R and of x R'/2, relative to I at s = switch, for s >= switch."""
        end, rate = self.high.end, arb(self.rest.exponent)
        slow = rate * self.way.real
        root = self.switch.sqrt()
        least = self._above_zero(root) * root * (arb.pi() / 2).sqrt() * (1 / arb(2).sqrt()).erfc()
        found = []
        for k in (0, 1):
            n = self.rest.degree(k) + 1 + k
            require(bool(self.way.real * end > self.rest.far and slow * end > n), "a short grid")
            near = largest(size(value) for value in _near(self.rest, k, self.way, arb(1)))
            total = arb(_NEAR) ** (k + 1) * near
            for low, high in _boxes(self.ledger, arb(1), end):
                total += (high - low) * high**k * self.rest.most(k, self.way, low, high)
            beyond = self.rest.powers(k, end, k)
            total += beyond * (-slow * end).exp() / (slow - n / end)
            start = largest(size(value) for value in _near(self.rest, k, _REAL, arb(1)))
            cut = start * self.high.before(k + 1) + beyond * (-rate * end).exp() / (rate - n / end)
            found.append(((self.high.aliasing(self.angle) * total + cut) / 2**k / least).upper())
        return found
