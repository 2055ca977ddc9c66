"""Numbers that follow from a generator alone: the supremum, limits, expectations, by brute force.

Nothing here is derived as `fdiv` derives it: SymPy's lambdify, grids, differences, panels and published sums. The
places at which a generator may bend are used to lay panels and grids, never in a formula.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import sympy
from numpy.typing import NDArray

from fdiv.exact.symbols import u

_GRID = np.unique(np.concatenate([np.linspace(-300, 120, 3361), np.linspace(-8, 8, 1601)]))
_NODES, _MASSES = np.polynomial.legendre.leggauss(16)
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
    def fast(self) -> Any:
        """f as a function of an fp64 array."""
        return sympy.lambdify(u, self.expression, ["scipy", "numpy"])

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
        """f'(e^x) by a central difference in 60 digits; the mean of both sides at a kink."""
        return self._once(("slope", x), lambda: self._difference(x, 1))

    def bend(self, x: float) -> float:
        """u^2 f''(u) at u = e^x by a second difference in 80 digits."""
        return self._once(("bend", x), lambda: self._difference(x, 2))

    def _difference(self, x: float, order: int) -> float:
        with mpmath.workdps(80):
            ratio, step = mpmath.exp(mpmath.mpf(x)), mpmath.mpf(10) ** -25
            above, below = self.exact(ratio * (1 + step)), self.exact(ratio * (1 - step))
            if order == 1:
                return float((above - below) / (2 * step * ratio))
            return float((above + below - 2 * self.exact(ratio)) / step**2)

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
    def _on_grid(self) -> NDArray[np.float64]:
        with np.errstate(all="ignore"):
            values = np.broadcast_to(self.fast(np.exp(_GRID)), _GRID.shape).astype(float)
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
        """E_Q[f] for log u ~ N(-s/2, s), by Gauss-Legendre panels; a tangent at 1 is taken off, whose mean is 0."""
        return self._once(("mean", s), lambda: self._mean(s, lambda x: self._above_tangent(x)))

    def _above_tangent(self, x: NDArray[np.float64]) -> Any:
        ratio = np.exp(x)
        return self.fast(ratio) - self.slope(0.0) * np.expm1(x)

    def _mean(self, s: float, function: Any) -> float:
        root, cuts = math.sqrt(s), [0.0, *(math.log(float(k)) for k in self.breaks)]
        reach = np.linspace(-12 * root - 2.5 * s, 12 * root + 4 * s, 41)  # f grows at most like u^3.5 here
        graded = [c + sign * 0.5**k for c in cuts for k in range(0, 38, 1 if self.breaks else 12) for sign in (-1, 1)]
        places = np.unique([*reach, *cuts, *(g for g in graded if reach[0] < g < reach[-1])])
        half, middle = np.diff(places)[:, None] / 2, (places[1:] + places[:-1])[:, None] / 2
        x = (middle + half * _NODES).ravel()
        density = np.exp(-((x + s / 2) ** 2) / (2 * s)) / math.sqrt(2 * math.pi * s)
        return float(np.sum((half * _MASSES).ravel() * density * function(x)))

    def derivative_of_expectation(self, s: float) -> float:
        """dD/ds by fourth-order differences of the expectation."""
        step = s / 100
        near, far = (self.expectation(s + k * step) - self.expectation(s - k * step) for k in (1, 2))
        return (8 * near - far) / (12 * step)

    def gradient_law(self, s: float) -> float:
        """E_Q[u^2 f''(u)]/2: densities of f'' between the breaks, and at each its jump of slope as a mass."""
        return self._once(("law", s), lambda: self._law(s))

    def _law(self, s: float) -> float:
        root, total = math.sqrt(s), self._mean(s, self._curvatures)
        for place in self.breaks:
            z = (math.log(float(place)) + s / 2) / root
            total += float(place) * self.jump(place) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi * s)
        return total / 2

    def _curvatures(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._second(np.exp(x)) * np.exp(2 * x)

    @cached_property
    def _second(self) -> Any:
        """f'' off the breaks, by SymPy's derivative of the branch that is taken there."""
        places = sorted(float(place) for place in self.breaks)
        middles = [sympy.Rational(str(p)) for p in _between(places)]
        branches = [
            sympy.lambdify(u, sympy.diff(_branch(self.expression, m), u, 2), ["scipy", "numpy"]) for m in middles
        ]

        def second(ratio: NDArray[np.float64]) -> NDArray[np.float64]:
            which = np.searchsorted(places, ratio)
            result = np.zeros_like(ratio)
            for i, branch in enumerate(branches):
                result[which == i] = branch(ratio[which == i])
            return result

        return second

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


def _between(places: list[float]) -> list[float]:
    ends = [0.0, *places, 2 * max(places, default=1.0) + 2]
    return [round((a + b) / 2, 6) for a, b in pairwise(ends)]


def _branch(expression: sympy.Expr, point: sympy.Expr) -> sympy.Expr:
    """The smooth expression that equals f around `point`, chosen by the values there."""

    def chosen(node: sympy.Expr) -> sympy.Expr:
        if isinstance(node, sympy.Abs):
            return node.args[0] * sympy.sign(node.args[0].subs(u, point))
        if isinstance(node, sympy.Max | sympy.Min):
            pick = max if isinstance(node, sympy.Max) else min
            return pick(node.args, key=lambda a: float(a.subs(u, point)))
        return next(branch for branch, condition in node.args if condition.subs(u, point) == sympy.true)

    kinked = (sympy.Abs, sympy.Max, sympy.Min, sympy.Piecewise)
    while atoms := [a for a in expression.atoms(*kinked) if a.has(u) and not any(b.atoms(*kinked) for b in a.args)]:
        first = sorted(atoms, key=sympy.default_sort_key)[0]
        expression = expression.xreplace({first: chosen(first)})
    return expression
