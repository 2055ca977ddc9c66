"""The numeric conjugate: f*(t) = u t - f(u) at the root of f'(u) = t, for arrays of any library, with gradients.

x = log u is found by Newton's method inside a bracket that every step shrinks, because an unguarded Newton cycles
silently on some slopes. The forms of f'(e^x) and of u f'(u) - f(u) are those of the activation, stable in both
tails, so the value at the root is as good as the root: f* is off by u times the residual.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import sympy

from fdiv.derive.log_ratio import in_log_ratio
from fdiv.exact.simplify import normal
from fdiv.exact.symbols import t, u, v
from fdiv.numeric.lowering import Backend, Function, lower

if TYPE_CHECKING:
    from fdiv.derive.conjugate import Conjugate, ConjugatePiece

_REACH = (-746.0, 710.0)  # e^x is 0 and inf in double precision at these
_STEPS = 200
_RESIDUAL = 1e-9
Branch = tuple[Function, Function, Function, float]  # f*, u, du/dt, and a t inside the piece


def conjugate_on(conjugate: Conjugate, backend: Backend) -> Function:
    """Return t -> f*(t) with its first two derivatives attached where the library can use them."""
    branches = [_branch(piece, backend) for piece in conjugate.pieces]
    end, at_end = float(conjugate.effective_domain.upper), float(conjugate.value_at_end)

    def choose(parts: list[Function], value_at_end: float, beyond: float) -> Function:
        def function(x: Any) -> Any:
            result = backend.fill(x, beyond)
            for piece, part, branch in reversed(list(zip(conjugate.pieces, parts, branches, strict=True))):
                below, upper = float(piece.lower), float(piece.upper)
                own = (x <= upper) if piece.source is None else (x < upper)
                safe = backend.where(own & (x >= below), x, backend.fill(x, branch[3]))
                result = backend.where(own, part(safe), result)
            result = backend.where(x == end, backend.fill(x, value_at_end), result)
            return backend.where(x == x, result, x)

        return function

    values, ratios, curves, _ = (list(column) for column in zip(*branches, strict=True))
    # beyond the domain, where f* is infinite, there is no derivative: 0 keeps NaN out of the other gradients
    whole = backend.derived(choose(values, at_end, math.inf), choose(ratios, math.inf, 0.0), choose(curves, 0.0, 0.0))
    return lambda x: backend.narrow(whole(backend.wide(x)), x)


def _branch(piece: ConjugatePiece, backend: Backend) -> Branch:
    low, high = float(piece.lower), float(piece.upper)
    if piece.source is None:  # a constant, or the line of a kink
        assert piece.expression is not None
        place, intercept = float(piece.ratio or 0), float(piece.expression.subs(t, 0))
        inside = high - 1 if low == -math.inf else (low + high) / 2
        return (
            lambda x: place * x + intercept,
            lambda x: backend.fill(x, place),
            lambda x: backend.fill(x, 0.0),
            inside,
        )
    source, slope = piece.source, piece.source.slope
    forms = (
        in_log_ratio(slope, source),
        in_log_ratio(u * piece.source.second, source, positive=True),
        in_log_ratio(normal(u * slope - source.expression), source),
    )
    output, rate, surplus = (lower(form, v, backend) for form in forms)
    exp = backend.functions[sympy.exp]
    left = _REACH[0] if source.lower == 0 else float(sympy.log(source.lower))
    right = _REACH[1] if source.upper == sympy.oo else float(sympy.log(source.upper))

    def root(x: Any) -> Any:
        return _root(output, rate, x, (left, right), backend)

    def value(level: Any) -> Any:
        x = root(level)
        # u t - f(u), whose error is of second order in the root's; far out u would only amplify the residual's rounding
        near = surplus(x) + exp(backend.clip(x, -1.0, 1.0)) * (level - output(x))
        return backend.where(abs(x) < 1, near, surplus(x))

    return (
        value,
        lambda x: exp(root(x)),
        lambda x: exp(root(x)) / rate(root(x)),
        float(slope.subs(u, source.samples[0].evalf(30))),
    )


def _root(output: Function, rate: Function, level: Any, reach: tuple[float, float], backend: Backend) -> Any:
    """Solve output(x) = level for an increasing output; the nearer end of the bracket where there is no root."""
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
