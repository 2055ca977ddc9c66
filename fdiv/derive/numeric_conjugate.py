"""The numeric conjugate: f*(t) = u t - f(u) at the root of f'(u) = t, for arrays of any library, with gradients.

x = log u is found by Newton's method inside a bracket that every step shrinks, because an unguarded Newton cycles
silently on some slopes. The forms of f'(e^x) and of u f'(u) - f(u) are those of the activation, stable in both
tails, so the value at the root is as good as the root: f* is off by u times the residual.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sympy
from sympy import Expr

from fdiv.derive.generator import Piece
from fdiv.derive.log_ratio import in_log_ratio
from fdiv.exact.simplify import normal
from fdiv.exact.symbols import t, u, v
from fdiv.numeric.backends import Backend, Function
from fdiv.numeric.lower import lower

_REACH = (-746.0, 710.0)  # e^x is 0 and inf in double precision at these
_STEPS = 200
_RESIDUAL = 1e-9


@dataclass(frozen=True)
class ConjugatePiece:
    """f* on [lower, upper]; `expression` is None where f' has only a numeric inverse.

    `ratio` is the maximiser u. `source` is the piece of f whose slopes these t are, None for a line.
    """

    lower: Expr
    upper: Expr
    expression: Expr | None
    ratio: Expr | None
    source: Piece | None = None


@dataclass(frozen=True)
class _Branch:
    """f*, its derivative u and its second derivative du/dt on one piece, and a t `inside` it."""

    value: Function
    ratio: Function
    curve: Function
    inside: float


def conjugate_on(pieces: Sequence[ConjugatePiece], end: Expr, value_at_end: Expr, backend: Backend) -> Function:
    """Return t -> f*(t) with its first two derivatives attached where the library can use them.

    Args:
        pieces: those of f*, in increasing t.
        end: the upper end of the effective domain; f* is +inf above it.
        value_at_end: f* there.
        backend: the array library.

    Returns:
        A function of an array of any shape, computed in fp64 and returned in the array's dtype. It raises
        ArithmeticError where the residual of a root is not small.
    """
    branches = [_line(p, backend) if p.source is None else _curved(p.source, backend) for p in pieces]

    def choose(parts: list[Function], at_end: float, beyond: float) -> Function:
        def function(x: Any) -> Any:
            result = backend.fill(x, beyond)
            for piece, part, branch in reversed(list(zip(pieces, parts, branches, strict=True))):
                below, upper = float(piece.lower), float(piece.upper)
                own = (x <= upper) if piece.source is None else (x < upper)
                safe = backend.where(own & (x >= below), x, backend.fill(x, branch.inside))
                result = backend.where(own, part(safe), result)
            result = backend.where(x == float(end), backend.fill(x, at_end), result)
            return backend.where(x == x, result, x)

        return function

    # beyond the domain, where f* is infinite, there is no derivative: 0 keeps NaN out of the other gradients
    whole = backend.derived(
        choose([branch.value for branch in branches], float(value_at_end), math.inf),
        choose([branch.ratio for branch in branches], math.inf, 0.0),
        choose([branch.curve for branch in branches], 0.0, 0.0),
    )
    return lambda x: backend.narrow(whole(backend.wide(x)), x)


def _line(piece: ConjugatePiece, backend: Backend) -> _Branch:
    """The constant below f'(0+), or the line k t - f(k) of a kink k."""
    assert piece.expression is not None
    low, high = float(piece.lower), float(piece.upper)
    place, intercept = float(piece.ratio or 0), float(piece.expression.subs(t, 0))
    return _Branch(
        value=lambda x: place * x + intercept,
        ratio=lambda x: backend.fill(x, place),
        curve=lambda x: backend.fill(x, 0.0),
        inside=high - 1 if low == -math.inf else (low + high) / 2,
    )


def _curved(source: Piece, backend: Backend) -> _Branch:
    """The value u t - f(u) at the root of f'(u) = t, for the slopes of a smooth piece of f."""
    forms = (
        in_log_ratio(source.slope, source),
        in_log_ratio(u * source.second, source, positive=True),
        in_log_ratio(normal(u * source.slope - source.expression), source),
    )
    output, rate, surplus = (lower(form, v, backend) for form in forms)
    exp = backend.functions[sympy.exp]
    left = _REACH[0] if source.lower == 0 else float(sympy.log(source.lower))
    right = _REACH[1] if source.upper == sympy.oo else float(sympy.log(source.upper))

    def root(level: Any) -> Any:
        return _root(output, rate, level, (left, right), backend)

    def value(level: Any) -> Any:
        x = root(level)
        # u t - f(u), whose error is of second order in the root's; far out u would only amplify the residual's rounding
        near = surplus(x) + exp(backend.clip(x, -1.0, 1.0)) * (level - output(x))
        return backend.where(abs(x) < 1, near, surplus(x))

    def curve(level: Any) -> Any:
        x = root(level)
        return exp(x) / rate(x)  # du/dt = 1/f''(u), and the rate is u f''(u)

    inside = float(source.slope.subs(u, source.samples[0].evalf(30)))
    return _Branch(value, lambda level: exp(root(level)), curve, inside)


def _root(output: Function, rate: Function, level: Any, reach: tuple[float, float], backend: Backend) -> Any:
    """Solve output(x) = level for an increasing output; the nearer end of the bracket where there is no root.

    Newton's step is taken where it stays inside the bracket; every third step halves the bracket instead, so that
    it shrinks geometrically where Newton's steps creep along one end.
    """
    low, high = backend.fill(level, reach[0]), backend.fill(level, reach[1])
    x = backend.clip(backend.fill(level, 0.0), *reach)
    if not reach[0] < 0 < reach[1]:
        x = (low + high) / 2
    for step in range(_STEPS):
        excess = output(x) - level
        above = (excess > 0) | ((excess != excess) & (x > 0))
        low, high = backend.where(above, low, x), backend.where(above, x, high)
        newton = x - excess / rate(x)
        usable = (newton > low) & (newton < high) & (step % 3 != 2)
        following = backend.where(usable, newton, (low + high) / 2)
        settled = (excess == 0) | (abs(following - x) <= 4e-16 * (1 + abs(x)))
        x = backend.where(excess == 0, x, following)
        if bool(settled.all()):
            break
    residual = abs(output(x) - level)
    missed = (residual > _RESIDUAL * (1 + abs(level))) & (x > reach[0] + 1e-6) & (x < reach[1] - 1e-6)
    if bool(missed.any()):
        raise ArithmeticError(f"the slope at the root misses t by {float(residual[missed].max()):.2e}")
    return x
