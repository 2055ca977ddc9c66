"""D(s), w(s) and dw/ds from two tables of `fdiv.derive.quadrature`, the one for large s beside a closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy
from sympy import Expr

from fdiv.derive.closed_form import closed_on, moment, tidy
from fdiv.derive.generator import Generator, Piece
from fdiv.derive.quadrature import SMALLEST, Integrand, Table, tabulate
from fdiv.exact.asymptotics import UnknownExpansion, terms_above
from fdiv.exact.symbols import DerivationError, s, u
from fdiv.numeric.backends import Backend, Function, numpy_backend

_GONE = 1e4  # at this s e^{-s/8} is zero in double precision, and s times it would be NaN at infinity
_SWITCHES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, eq=False)
class TwoTables:
    """D, w and dw/ds: one table below `switch`, another with the value of `closed` above.

    `growth` is what f has beyond the second table, and `closed` its mean; e^{-x/2} f(e^x) = O(e^{rise |x|} |x|^n).
    """

    low: Table
    high: Table
    switch: float
    growth: Expr
    rise: Expr
    closed: Expr
    orders: tuple[float, float, float]  # D ~ s^orders[0] and so on as s -> 0
    start: float  # the limit of w as s -> 0, 0 where it is infinite

    def on(self, backend: Backend) -> tuple[Function, Function, Function]:
        """Return D, w and dw/ds as functions of a `backend` array."""
        closed = [closed_on(sympy.diff(self.closed, s, order), backend) for order in range(3)]

        def function(order: int) -> Function:
            power = self.orders[order]

            def value(x: Any) -> Any:
                near = _combined(self.low, backend.clip(x, SMALLEST, self.switch), order, backend)
                far_x = backend.clip(x, self.switch, None)
                rest = _combined(self.high, backend.clip(far_x, None, _GONE), order, backend)
                far = closed[order](far_x) + rest
                positive = backend.where(x > 0, x, backend.fill(x, 1.0 if power < 0 else 0.0))
                tiny = backend.where(x < SMALLEST, positive / SMALLEST, backend.fill(x, 1.0)) ** power
                near = near * tiny
                if order < 2 or power < 0:
                    near = backend.where(x == 0, backend.fill(x, self.start if order == 1 else 0.0), near)
                return backend.where(x < self.switch, near, far)

            return value

        return function(0), function(1), function(2)


def _combined(table: Table, x: Any, order: int, backend: Backend) -> Any:
    """D (order 0), w (1) or dw/ds (2) of what the table holds, by the three formulas at the head of `quadrature`."""
    first, second, third = table.means(x, backend)
    decay = backend.functions[sympy.exp](-x / 8)
    if order == 0:
        return decay * first
    if order == 1:
        return decay * (second - x / 8 * first) / x
    return decay * ((third - x / 4 * second) / x + x / 64 * first) / x


def tabulated(generator: Generator) -> TwoTables:
    """Tabulate f above its tangent for small s, and f less its growth at both ends for large s."""
    growth = _growth(generator)
    common = sympy.Add(*(c * u**p * sympy.log(u) ** n for (p, n), c in growth.items()))
    closed = sympy.Add(*(c * moment(p, n, sympy.S.Zero, sympy.oo) for (p, n), c in growth.items()))
    above = [Piece(p.lower, p.upper, p.expression - generator.slope_at_one * (u - 1)) for p in generator.pieces]
    rest = [Piece(p.lower, p.upper, p.expression - common) for p in generator.pieces]
    closed, kinks = tidy(closed), generator.kinks
    high = tabulate(Integrand(tuple(rest)), kinks, _SWITCHES[0], math.inf)
    switch = _switch(high, closed)
    low = tabulate(Integrand(tuple(above)), kinks, SMALLEST, switch)
    rise = sympy.Max(0, *(abs(p - sympy.Rational(1, 2)) for p, _ in growth))
    return TwoTables(
        low=low,
        high=high,
        switch=switch,
        growth=common,
        rise=rise,
        closed=closed,
        orders=_orders(low),
        start=_weight_at_zero(generator),
    )


def _weight_at_zero(generator: Generator) -> float:
    """w(0+) = E_Q[u^2 f''(u)] / 2 at s -> 0: half the mean of f''(1-) and f''(1+); 0 where it is infinite."""
    sides = generator.curvatures
    return float(sympy.Add(*sides)) / 4 if all(side.is_finite for side in sides) else 0.0


def _growth(generator: Generator) -> dict[tuple[Expr, int], Expr]:
    """Return the terms c u^p (log u)^n, as {(p, n): c}, without which e^{-x/2} f(e^x) has a decaying even part."""
    half = sympy.Rational(1, 2)  # e^{-x/2} u^p decays at infinity for p < 1/2, and at zero for p > 1/2
    try:
        top = terms_above(generator.pieces[-1].expression, half)
        inverted = terms_above(generator.pieces[0].expression.subs(u, 1 / u), -half)
    except UnknownExpansion as error:
        raise DerivationError(str(error)) from error
    bottom = {(-p, n): c * (-1) ** n for (p, n), c in inverted.items()}
    found = {power: c for power, c in top.items() if power[0] > half}
    found |= {power: c for power, c in bottom.items() if power[0] < half}
    for power in {*top, *bottom}:
        if power[0] == half:  # the even part has the mean of both ends
            ends = [terms.get(power, sympy.S.Zero) for terms in (top, bottom)]
            if power[1] % 2 and ends[0] != ends[1]:
                raise DerivationError(f"its terms sqrt(u) (log u)^{power[1]} differ at 0 and infinity")
            found[power] = (ends[0] + ends[1]) / 2
    return found


def decay(generator: Generator) -> Expr:
    """A power p <= 1 with r(u) + u r(1/u) = O(u^p log(1/u)^n) for u -> 0, r being f less its growth."""
    top = terms_above(generator.pieces[-1].expression, sympy.S.Zero)
    bottom = terms_above(generator.pieces[0].expression.subs(u, 1 / u), sympy.S.NegativeOne)
    half, powers = sympy.Rational(1, 2), [p for p, _ in top] + [-p for p, _ in bottom]
    # u^p counts as u^p at 0 and as u^(1 - p) at infinity; of each term of the growth what decays is in r too
    return sympy.Min(1, *(q for p in powers for q in (p, 1 - p) if q > half))


def _switch(high: Table, closed: Expr) -> float:
    """The smallest s at which closed + rest loses less than a digit by cancellation in D and w."""
    backend = numpy_backend()
    parts = [closed_on(sympy.diff(closed, s, order), backend) for order in range(2)]
    for switch in _SWITCHES[:-1]:
        x = np.array(switch)
        pairs = [(float(part(x)), float(_combined(high, x, order, backend))) for order, part in enumerate(parts)]
        if all(abs(a) + abs(b) <= 8 * abs(a + b) for a, b in pairs):
            return switch
    return _SWITCHES[-1]


def _orders(low: Table) -> tuple[float, float, float]:
    """The leading powers of s in D, w and dw/ds, from those of x in K0 and K2 - K1 at the smallest nodes."""
    (x, y), values = low.nodes[:2], np.abs(low.columns[:2])
    with np.errstate(all="ignore"):
        powers = np.log(values[1] / values[0]) / math.log(y / x) - 1  # dx/dz = x
    first, third = (round(float(power) * 1e5) / 1e5 if math.isfinite(power) else 4.0 for power in powers[[0, 2]])
    # E[x^p] ~ s^{p/2}; in s^2 dw/ds the term E_2 - E_1 competes with s E_1 and s^2 E_0, and the lower power wins
    return first / 2, first / 2 - 1, min(third, first + 2) / 2 - 2
