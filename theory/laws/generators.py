"""Numbers that follow from a generator alone: its values, slopes, limits and suprema, by brute force.

Nothing here is derived as `fdiv` derives it: SymPy's lambdify, grids, differences and golden sections, in as many
digits as it takes. What a generator comes to between Gaussians is in `expectations`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mpmath
import numpy as np
import sympy

from fdiv import u
from theory.laws.expectations import Numbers, in_doubles, mean

_GRID = np.unique(np.concatenate([np.linspace(-300, 120, 3361), np.linspace(-8, 8, 1601)]))
_FAR = 480  # |log u| at which a limit counts as reached


@dataclass(frozen=True)
class Oracle:
    """One generator, as an expression in u, and the places at which it may have a kink."""

    expression: sympy.Expr
    breaks: tuple[sympy.Expr, ...] = ()

    @cached_property
    def exact(self) -> Any:
        """f as a function of an mpmath number."""
        return sympy.lambdify(u, self.expression, "mpmath")

    @cached_property
    def fast(self) -> Callable[[Numbers], Numbers]:
        """f as a function of an array of doubles."""
        return in_doubles(self.expression)

    @cached_property
    def _found(self) -> dict[Any, float]:
        return {}

    def _once(self, key: Any, compute: Any) -> float:
        if key not in self._found:
            self._found[key] = compute()
        return self._found[key]

    def value(self, x: float) -> float:
        """f(e^x)."""
        with mpmath.workdps(40):
            return float(self.exact(mpmath.exp(mpmath.mpf(x))))

    def slope(self, x: float) -> float:
        """f'(e^x) by a central difference in 80 digits; the mean of both sides at a kink."""
        return self._once(("slope", x), lambda: self._slope(x))

    def _slope(self, x: float) -> float:
        with mpmath.workdps(80):
            ratio, step = mpmath.exp(mpmath.mpf(x)), mpmath.mpf(10) ** -25
            rise = self.exact(ratio * (1 + step)) - self.exact(ratio * (1 - step))
            return float(rise / (2 * step * ratio))

    def limit(self, which: str) -> float:
        """f(0+), f'(0+) or f'(inf), from values at u = e^-480 and e^480 and half-way there."""
        return self._once(which, lambda: self._limit(which))

    def _limit(self, which: str) -> float:
        with mpmath.workdps(450):
            near, far = (mpmath.exp(x if which == "f'(inf)" else -x) for x in (_FAR // 2, _FAR))
            if which == "f(0+)":
                values = [self.exact(near), self.exact(far)]
            else:  # slopes of chords
                values = [(self.exact(2 * r) - self.exact(r)) / r for r in (near, far)]
            first, last = (float(value) for value in values)
        settled = abs(last - first) <= 0.02 * max(1.0, abs(first))
        return last if settled else math.copysign(math.inf, last)

    def surplus_at_infinity(self) -> float:
        """The limit of u f'(inf) - f(u), which is f* at the end of its domain; inf where it has none."""
        return self._once("surplus", self._surplus)

    def _surplus(self) -> float:
        end = self.limit("f'(inf)")
        if math.isinf(end):
            return math.inf
        with mpmath.workdps(600):
            points = [mpmath.exp(x) for x in (150, 300)]
            top = (self.exact(mpmath.exp(1200)) - self.exact(mpmath.exp(1199))) / (mpmath.exp(1200) - mpmath.exp(1199))
            first, last = (float(point * top - self.exact(point)) for point in points)
        return last if abs(last - first) <= 1e-6 * max(1.0, abs(last)) else math.inf

    @cached_property
    def _on_grid(self) -> Numbers:
        with np.errstate(all="ignore"):
            values = self.fast(np.exp(_GRID))
        return np.where(np.isfinite(values), values, np.inf)

    def supremum(self, t: float) -> float:
        """sup over u > 0 of u t - f(u): a grid in log u, refined twice; inf where it still rises at u = e^480."""
        return self._once(("sup", t), lambda: self._supremum(t))

    def _supremum(self, t: float) -> float:
        if t > self.limit("f'(inf)") + 1e-12:
            return math.inf
        if math.isfinite(self.limit("f'(inf)")) and self.limit("f'(inf)") - t < 1e-2:
            return self._supremum_near_the_end(t)
        with np.errstate(all="ignore"):
            heights = np.exp(_GRID) * t - self._on_grid
            best = int(np.argmax(heights))
            at, width = _GRID[best], max(np.diff(_GRID)[max(best - 1, 0) : best + 2])
            top = heights[best]
            for _ in range(3):
                x = at + np.linspace(-width, width, 401)
                near = np.exp(x) * t - self.fast(np.exp(x))
                at, width = x[int(np.nanargmax(near))], width / 100
                top = max(top, np.nanmax(near))
        return float(top)

    def _supremum_near_the_end(self, t: float) -> float:
        """The same in 400 digits by golden section, because u is large and u t cancels against f(u)."""
        with mpmath.workdps(400):
            slope, share = mpmath.mpf(t), (mpmath.sqrt(5) - 1) / 2
            low, high = mpmath.mpf(-40), mpmath.mpf(300)

            def rise(x: Any) -> Any:
                return mpmath.exp(x) * slope - self.exact(mpmath.exp(x))

            left, right = high - share * (high - low), low + share * (high - low)
            f_left, f_right = rise(left), rise(right)
            for _ in range(60):
                if f_left < f_right:
                    low, left, f_left = left, right, f_right
                    right = low + share * (high - low)
                    f_right = rise(right)
                else:
                    high, right, f_right = right, left, f_left
                    left = high - share * (high - low)
                    f_left = rise(left)
            return float(max(f_left, f_right))

    def expectation(self, s: float) -> float:
        """E_Q[f] between Gaussians, in doubles."""
        return self._once(("mean", s), lambda: mean(self.fast, s, self.breaks))

    def jump(self, place: sympy.Expr) -> float:
        """f'(k+) - f'(k-) by one-sided differences; 0 where f is smooth enough."""
        with mpmath.workdps(80):
            k, step = mpmath.mpmathify(place.evalf(85)), mpmath.mpf(10) ** -30
            sides = self.exact(k + step) + self.exact(k - step) - 2 * self.exact(k)
            found = float(sides / step)
        return found if abs(found) > 1e-9 else 0.0

    def one_sided_curvatures(self) -> tuple[float, float]:
        """f''(1-) and f''(1+) by one-sided second differences at two steps; inf where they grow."""
        return self._curvature_on(-1), self._curvature_on(1)

    def _curvature_on(self, side: int) -> float:
        with mpmath.workdps(120):
            found = []
            for step in (mpmath.mpf(10) ** -20, mpmath.mpf(10) ** -30):
                f0, f1, f2 = (self.exact(1 + side * k * step) for k in (1, 2, 3))
                found.append(float((f2 - 2 * f1 + f0) / step**2))
        if abs(found[1] - found[0]) <= 1e-6 * max(1.0, abs(found[0])):
            return found[1] if abs(found[1]) > 1e-6 else 0.0
        return math.inf if found[1] > found[0] else 0.0
