"""Expectations between two Gaussians straight from the definition: densities, the raw generator, a quadrature.

Nothing that `fdiv` derives enters a value: the generator is evaluated as it was written, and p and q are normal
densities with a mean and a variance, not the law of the log-ratio. Two precisions: 34 digits in ball arithmetic, slow
and for differences; NumPy doubles, for positive integrands, which lose nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import flint
import numpy as np
import sympy
from flint import arb
from numpy.typing import NDArray
from sympy import Expr
from sympy.printing.pycode import MpmathPrinter

from fdiv import Divergence
from fdiv.exact.symbols import u

_BITS = 113
_MEAN, _SIGMA = "0.4", "0.7"  # of Q; any choice must do, and 0 and 1 would hide a mistake
_NODES = 24
_precisely = flint.ctx.workprec(_BITS)

Numbers = NDArray[np.float64]


class _Balls:
    """What SymPy's text calls `mpmath`: numbers and functions of balls."""

    mpf = arb

    @property
    def e(self) -> arb:
        """Euler's number in the digits of the moment."""
        return arb(1).exp()

    @property
    def pi(self) -> arb:
        """The number pi in the digits of the moment."""
        return arb.pi()

    def __getattr__(self, name: str) -> Callable[[Any], arb]:
        def function(x: Any) -> arb:
            return getattr(arb(x), name)()

        setattr(self, name, function)  # so that it is made once
        return function


_BALLS = _Balls()


def in_balls(expression: Expr) -> Callable[[arb], arb]:
    """Return `expression` in u as a function of balls, its rational numbers exact."""
    text = MpmathPrinter({"fully_qualified_modules": True}).doprint(expression)
    return eval(f"lambda u: {text}", {"mpmath": _BALLS})


@cache
def in_doubles(expression: Expr) -> Callable[[Numbers], Numbers]:
    """Return `expression` in u as a function of arrays of u."""
    function = sympy.lambdify(u, expression, ["scipy", "numpy"])

    def values(x: Numbers) -> Numbers:
        found = function(x)
        return found if np.shape(found) == x.shape else np.broadcast_to(found, x.shape)

    return values


def _panels(reach: Any, breaks: list[Any], width: float) -> Iterator[tuple[Any, Any, int]]:
    """Cut (-reach, reach) at `breaks` and then into (left, right, side of the break that it touches: -1, 0, 1)."""
    for left, right in pairwise([-reach, *sorted(b for b in breaks if abs(b) < reach), reach]):
        count = max(2, math.ceil(float(right - left) / width))
        ends = [left + (right - left) * i / count for i in range(count + 1)]
        for i, (a, b) in enumerate(pairwise(ends)):
            touches = -1 if i == 0 and left != -reach else 1 if i == count - 1 and right != reach else 0
            yield a, b, touches


def _rule(left: Any, right: Any, touches: int, pairs: Any) -> tuple[Any, Any]:
    """Return nodes and weights on a panel; t^4 towards a break makes a root or a logarithm there harmless."""
    node, weight = pairs
    if touches == 0:
        return left + (right - left) * node, (right - left) * weight
    offset, share = (right - left) * node**4, (right - left) * 4 * node**3 * weight
    return (left + offset, share) if touches < 0 else (right - offset, share)


def _geometry(distance: Any) -> tuple[Any, float]:
    """Return how far to integrate in units of sigma, and the width of a panel.

    u^k q is a normal density about k distances away: twelve sigma beyond k = -4 and k = 4. Generators have branch
    points at log u = i pi / 2 or farther off, so a panel is narrower than half of that.
    """
    return 12 + 4 * distance, min(1.0, 0.8 / float(distance))


@cache
@_precisely
def _legendre() -> tuple[tuple[arb, arb], ...]:
    """Nodes and weights of Gauss and Legendre on [0, 1]."""
    pairs = [arb.legendre_p_root(_NODES, k, weight=True) for k in range(_NODES)]
    return tuple((((1 + node) / 2).mid(), (weight / 2).mid()) for node, weight in pairs)


@lru_cache(maxsize=64)
@_precisely
def _ball_nodes(s: arb, kinks: tuple[Expr, ...]) -> tuple[tuple[arb, arb], ...]:
    """Return (p/q, q dx) at the nodes."""
    mean, sigma, distance = arb(_MEAN), arb(_SIGMA), s.sqrt()
    reach, width = _geometry(distance.mid())
    breaks = [((ball(kink).log() / distance) + distance / 2).mid() for kink in kinks]
    found = []
    for left, right, touches in _panels(reach, breaks, width):
        for pair in _legendre():
            y, weight = _rule(left, right, touches, pair)
            x = mean + sigma * y
            q = (-(((x - mean) / sigma) ** 2) / 2).exp() / (sigma * (2 * arb.pi()).sqrt())
            p = (-(((x - mean - sigma * distance) / sigma) ** 2) / 2).exp() / (sigma * (2 * arb.pi()).sqrt())
            found.append(((p / q).mid(), (q * weight * sigma).mid()))
    return tuple(found)


@_precisely
def ball(number: Any) -> arb:
    """Return a float, an integer or an exact SymPy number as a ball."""
    return arb(in_balls(number)(arb(1)) if isinstance(number, Expr) else number)


@_precisely
def expectation(expression: Expr, s: Any, kinks: tuple[Expr, ...] = ()) -> arb:
    """E_Q[g(p/q)] for g = `expression` in u, where (mu_P - mu_Q)^2 / sigma^2 = s > 0, to some 25 digits.

    `kinks` are the u at which g is not smooth; leaving one out costs digits, no more. Right for g that grows no
    faster than u^4 or u^-4.
    """
    g = in_balls(expression)
    return sum((g(ratio) * weight for ratio, weight in _ball_nodes(ball(s).mid(), kinks)), arb(0)).mid()


@lru_cache(maxsize=256)
def _double_nodes(s: float, kinks: tuple[float, ...]) -> tuple[Numbers, Numbers]:
    """Return (p/q, q dx) at the nodes with |log p/q| < 230, beyond which u^3 would overflow."""
    distance = math.sqrt(s)
    reach, width = _geometry(distance)
    breaks = [math.log(kink) / distance + distance / 2 for kink in kinks]
    legendre = np.array([[float(x) for x in pair] for pair in _legendre()]).T
    rules = [_rule(left, right, touches, legendre) for left, right, touches in _panels(reach, breaks, width)]
    y, weight = (np.concatenate(parts) for parts in zip(*rules, strict=True))
    log_ratio = (y**2 - (y - distance) ** 2) / 2
    inside = np.abs(log_ratio) < 230
    density = np.exp(-(y**2) / 2) / math.sqrt(2 * math.pi)
    return np.exp(log_ratio[inside]), (density * weight)[inside]


def mean(function: Callable[[Numbers], Numbers], s: float, kinks: tuple[Expr, ...]) -> float:
    """E_Q[g(p/q)] for a `function` g of arrays, in doubles; for D, whose terms have both signs, to some 12 digits."""
    ratio, share = _double_nodes(float(s), tuple(float(kink) for kink in kinks))
    return float(np.sum(function(ratio) * share))


@cache
def _scaled(second: Expr) -> Callable[[Numbers], Numbers]:
    """u^2 f'' on arrays; where doubles overflow on the way, in balls, which do not."""
    quick, sure = in_doubles(u**2 * second), in_balls(u**2 * second)

    def function(ratio: Numbers) -> Numbers:
        with np.errstate(all="ignore"):
            values = np.array(quick(ratio))
        lost = ~np.isfinite(values)
        values[lost] = [float(sure(arb(one))) for one in ratio[lost]]
        return values

    return function


def weight(divergence: Divergence, s: float) -> float:
    """w(s) = E_Q[u^2 f''(u)] / 2 in doubles for 0 < s <= 64: a positive integrand, so nothing cancels.

    A jump of the slope at u = k adds k^2 times the jump times the density of p/q at k under Q.
    """
    ratio, share = _double_nodes(float(s), tuple(float(kink) for kink in kinks(divergence)))
    total = 0.0
    for piece in divergence.pieces:
        here = (ratio > float(piece.lower)) & (ratio < float(piece.upper))
        total += float(np.sum(_scaled(piece.second)(ratio[here]) * share[here]))
    distance = math.sqrt(s)
    for place, jump in divergence.kinks:
        x = float(sympy.log(place))
        density = math.exp(-((x + s / 2) ** 2) / (2 * s)) / (distance * math.sqrt(2 * math.pi))
        total += float(place) * float(jump) * density
    return total / 2


def kinks(divergence: Divergence) -> tuple[Expr, ...]:
    """Return the u where two pieces of f meet."""
    return tuple(piece.upper for piece in divergence.pieces[:-1])


@lru_cache(maxsize=4096)
@_precisely
def value(divergence: Divergence, s: Any) -> arb:
    """D(s) = E_Q[f(p/q)] in nats, to some 25 digits."""
    return expectation(divergence.generator, s, kinks(divergence))


@_precisely
def slope(divergence: Divergence, s: float) -> arb:
    """dD/ds by a central difference, whose error is (s/10^8)^2/6 times the third derivative."""
    step = (arb(s) / 10**8).mid()
    return (value(divergence, (s + step).mid()) - value(divergence, (s - step).mid())) / (2 * step)
