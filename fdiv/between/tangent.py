"""f above its tangent at 1, h(u) = f(u) - c (u - 1) >= 0 with c a subgradient of f at 1, as formulas that keep digits.

E_Q[u] = 1, so f and h have the same divergence, and a sum of terms q h(p/q) >= 0 cancels nothing. Near u = 1 the
difference itself would cancel, so there a Taylor polynomial in u - 1 = (p - q)/q is taken, whose coefficients ball
arithmetic encloses. Below 2^-64 and beyond 2^64 a power of u may overflow where q h(p/q) does not: there h, and the
adjoint's p h~(q/p) with h~(w) = w h(1/w), are written in the logarithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import sympy
from flint import arb, arb_series, ctx
from sympy import Expr

from fdiv.derive.generator import Generator, Piece, piece_at
from fdiv.derive.log_ratio import in_log_ratio
from fdiv.exact.comparison import compare
from fdiv.exact.simplify import adjoint
from fdiv.exact.symbols import u
from fdiv.numeric.backends import Backend, Function, flint_backend
from fdiv.numeric.lower import lower

FAR = 2.0**64
"""The ratio of p and q beyond which their logarithms are taken."""
_WIDEST = 1 / 8  # of the neighbourhood of 1, outside which f(u) - c (u - 1) loses at most 7 of its 53 bits
_NARROWEST = 2.0**-20
_MOST_TERMS = 48
_ROUNDING = 2.0**-58
_BITS = 192
_STEP = sympy.Symbol("step", real=True)  # u - 1


@dataclass(frozen=True)
class Side:
    """h beside 1: a Taylor polynomial in u - 1, or where there is none `exact`, the formula in u - 1."""

    coefficients: tuple[float, ...]
    radius: float
    exact: Expr | None = None

    def on(self, backend: Backend) -> Function:
        """Return h as a function of u - 1."""
        if self.exact is not None:
            return lower(self.exact, _STEP, backend)

        def value(step: Any) -> Any:
            total = 0 * step + self.coefficients[-1]  # a constant too has a gradient, which is 0
            for coefficient in self.coefficients[-2::-1]:
                total = total * step + coefficient
            return total

        return value


@dataclass(frozen=True)
class Tangent:
    """h = f - c (u - 1), its two sides of 1, its forms far out, and its lines at both ends.

    `near_zero` is h in v = log u, `far` the adjoint in v = log 1/u. `at_zero` is (h(0+), h'(0+)), and `at_infinity` the
    same of the adjoint: (h'(inf), the limit of h(u) - u h'(inf)). A slope that is infinite is None.
    """

    slope: float
    expression: Expr
    left: Side
    right: Side
    near_zero: Expr
    far: Expr
    at_zero: tuple[float, float | None]
    at_infinity: tuple[float, float | None]

    @property
    def radius(self) -> float:
        """How far from 1 both sides reach."""
        return min(self.left.radius, self.right.radius)


def derive_tangent(generator: Generator) -> Tangent:
    """Take f above its tangent at 1; raises DerivationError where a limit cannot be derived."""
    one, first, last = sympy.S.One, generator.pieces[0], generator.pieces[-1]
    jump = sum((jump for place, jump in generator.kinks if compare(place, one) == 0), sympy.S.Zero)
    slope = generator.slope_at_one - jump / 2  # at a kink the mean of both slopes, so that |u - 1| stays what it is
    pieces = [Piece(p.lower, p.upper, p.expression - slope * (u - 1)) for p in generator.pieces]
    branches = [(p.expression, u <= p.upper) for p in pieces[:-1]]
    whole = sympy.Piecewise(*branches, (pieces[-1].expression, True)) if branches else pieces[-1].expression
    top = generator.slope_at_infinity
    surplus = last.limit(sympy.expand(u * top - last.expression), last.upper) if top.is_finite else sympy.oo
    return Tangent(
        slope=float(slope),
        expression=whole,
        left=_side(piece_at(pieces, one, "left"), -1),
        right=_side(piece_at(pieces, one, "right"), 1),
        near_zero=_in_log(pieces[0].expression),
        far=_in_log(adjoint(pieces[-1].expression)),
        at_zero=(float(generator.value_at_zero + slope), _finite(first.limit(first.slope, first.lower) - slope)),
        at_infinity=(float(top - slope), _finite(slope - surplus)),
    )


def _in_log(expression: Expr) -> Expr:
    """Write what is taken at u < 2^-64 alone in v = log u, where no power of u overflows in between."""
    return in_log_ratio(expression, Piece(sympy.S.Zero, sympy.Rational(1, 2**30), expression), positive=True)


def _finite(number: Expr) -> float | None:
    return float(number) if number.is_finite else None


def _side(piece: Piece, sign: int) -> Side:
    """Expand h about 1 on the piece that lies on one side of it."""
    end = piece.upper if sign > 0 else piece.lower
    radius = reach = min(_WIDEST, 0.9 * abs(float(end) - 1))
    sizes = [abs(c) for c in _taylor(piece.expression)]
    while sizes and radius > _NARROWEST:
        # what a term adds, relative to the first that is not zero, at the end of the neighbourhood
        lead = next((n for n, size in enumerate(sizes) if size > 0), 0)
        counts = [n for n, size in enumerate(sizes) if size * radius ** (n - lead) > _ROUNDING * sizes[lead]]
        if max(counts, default=0) < len(sizes) - 4:
            return Side(tuple(_taylor(piece.expression)[: max(counts, default=0) + 1]), radius)
        radius /= 2
    return Side((), reach, piece.expression.subs(u, 1 + _STEP))


@cache
def _taylor(expression: Expr) -> tuple[float, ...]:
    """The Taylor coefficients of h at 1, where h(1) = 0; none where it is not analytic there."""
    if not expression.has(u):
        return (0.0,) * _MOST_TERMS
    cap = ctx.cap
    try:
        ctx.cap = _MOST_TERMS
        with ctx.workprec(_BITS):
            series = lower(expression, u, flint_backend(_BITS))(arb_series([1, 1], prec=_MOST_TERMS))
            balls = [arb(series[n]) for n in range(_MOST_TERMS)]
            if not all(ball.is_finite() for ball in balls):
                return ()
            return (0.0, *(0.0 if ball.contains(0) else float(ball.mid()) for ball in balls[1:]))
    except (NotImplementedError, ValueError, ZeroDivisionError):
        return ()
    finally:
        ctx.cap = cap
