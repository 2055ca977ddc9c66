"""D(s), w(s) and dw/ds from two tables of `fdiv.derive.quadrature`: one for small s, one beside a closed form for large s."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy
from sympy import Expr

from fdiv.derive.generator import Piece
from fdiv.derive.quadrature import SMALLEST, Integrand, Table, tabulate
from fdiv.exact.symbols import s
from fdiv.numeric.lowering import Backend, Function, numpy_backend

_GONE = 1e4  # at this s e^{-s/8} is zero in double precision, and s times it would be NaN at infinity
_SWITCHES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, eq=False)
class Trapezoid:
    """D, w and dw/ds: one table below `switch`, another with the value of `closed` above."""

    low: Table
    high: Table
    switch: float
    closed: Expr
    orders: tuple[float, float, float]  # D ~ s^orders[0] and so on as s -> 0
    start: float  # the limit of w as s -> 0, 0 where it is infinite

    def on(self, backend: Backend) -> tuple[Function, Function, Function]:
        """Return D, w and dw/ds as functions of a `backend` array."""
        from fdiv.derive.gaussian import closed_on

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

    def relative_bound(self, point: float) -> float:
        """Bound the relative discretisation errors of D and w at s = point."""
        backend = numpy_backend()
        x = np.array(point)
        table = self.low if point < self.switch else self.high
        first, second, _ = table.bounds(max(point, SMALLEST)) * math.exp(-point / 8)
        errors = (first, (second + point / 8 * first) / point)
        with np.errstate(all="ignore"):
            values = [abs(float(function(x))) for function in self.on(backend)[:2]]
        return max((e / value for e, value in zip(errors, values, strict=True) if value > 0), default=0.0)


def _combined(table: Table, x: Any, order: int, backend: Backend) -> Any:
    """D (order 0), w (1) or dw/ds (2) of what the table holds."""
    first, second, third = table.means(x, backend)
    decay = backend.functions[sympy.exp](-x / 8)
    if order == 0:
        return decay * first
    if order == 1:
        return decay * (second - x / 8 * first) / x
    return decay * ((third - x / 4 * second) / x + x / 64 * first) / x


def tabulated(
    above: tuple[Piece, ...], rest: tuple[Piece, ...], kinks: tuple[tuple[Expr, Expr], ...], closed: Expr, start: float
) -> Trapezoid:
    """Build both tables for a generator: `above` its tangent at 1, and the decaying `rest` beside `closed`.

    `start` is w(0).
    """
    high = tabulate(Integrand(rest), kinks, _SWITCHES[0], math.inf)
    switch = _switch(high, closed)
    low = tabulate(Integrand(above), kinks, SMALLEST, switch)
    return Trapezoid(low, high, switch, closed, _orders(low), start)


def _switch(high: Table, closed: Expr) -> float:
    """The smallest s at which closed + rest loses less than a digit by cancellation in D and w."""
    from fdiv.derive.gaussian import closed_on

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
    return first / 2, first / 2 - 1, min(third, first + 2) / 2 - 2
