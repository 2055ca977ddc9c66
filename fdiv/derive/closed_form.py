"""E_Q[f] in closed form between Gaussians, as an expression in s, and its stable numeric form.

The class that has one is a finite sum of c u^p (log u)^n on each piece. Since log u is N(-s/2, s) under Q,

    E_Q[u^p 1{u < k}] = e^{p(p-1)s/2} Phi((log k + s/2 - p s)/sqrt(s)),

by completing the square, and n derivatives by p bring down (log u)^n.
"""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Expr

from fdiv.derive.generator import Piece
from fdiv.exact.simplify import normal
from fdiv.exact.symbols import s, u
from fdiv.numeric.backends import Backend, Function
from fdiv.numeric.lower import lower
from fdiv.numeric.rewrite import cancelled

LARGE = 300.0  # an exponent beyond which e^x outweighs every other term


def expectation(piece: Piece) -> Expr | None:
    """Return E_Q[f 1{piece}] in closed form, or None outside the decidable class."""
    inside, outside = split(piece.expression)
    if outside != 0:
        return None
    return sympy.Add(*(c * moment(p, n, piece.lower, piece.upper) for c, p, n in inside))


def split(expression: Expr) -> tuple[list[tuple[Expr, Expr, int]], Expr]:
    """Split f into terms c u^p (log u)^n, as (c, p, n), and the rest."""
    inside, outside = [], []
    expanded = sympy.expand(normal(expression))
    for term in sympy.Add.make_args(expanded):
        coefficient, factor = term.as_independent(u, as_Add=False)
        powers = dict(part.as_base_exp() for part in sympy.Mul.make_args(factor))
        power, logs = powers.pop(u, sympy.S.Zero), powers.pop(sympy.log(u), sympy.S.Zero)
        powers.pop(sympy.S.One, None)
        if powers or power.has(u) or not (logs.is_Integer and logs >= 0):
            outside.append(term)
        else:
            inside.append((coefficient, power, int(logs)))
    return inside, sympy.Add(*outside)


def moment(power: Expr, logs: int, lower_end: Expr, upper_end: Expr) -> Expr:
    """Return E_Q[u^p (log u)^n 1{lower < u < upper}] for log u ~ N(-s/2, s)."""
    p = sympy.Dummy("p", real=True)
    mass = _normal_cdf(upper_end, p) - _normal_cdf(lower_end, p)
    return sympy.diff(sympy.exp(p * (p - 1) * s / 2) * mass, p, logs).subs(p, power)


def _normal_cdf(end: Expr, p: Expr) -> Expr:
    if end in (0, sympy.oo):
        return sympy.S.Zero if end == 0 else sympy.S.One
    return (1 + sympy.erf((sympy.log(end) + s / 2 - p * s) / sympy.sqrt(2 * s))) / 2


def tidy(formula: Expr) -> Expr:
    """Expand a formula in s, and the arguments of its error functions, so that equal terms add up."""
    arguments_expanded = formula.replace(sympy.erf, lambda argument: sympy.erf(sympy.expand(argument)))
    return sympy.expand(arguments_expanded, power_exp=False)  # e^{s} e^{-r s} would become inf * 0


def dominant(formula: Expr) -> tuple[Expr, Expr]:
    """Return the rate r > 0 of the fastest exponential in a formula, and formula e^{-r s}; (0, formula) if none."""
    terms = sympy.Add.make_args(sympy.expand(formula, power_exp=False))
    rates = [sympy.limit(sympy.diff(sympy.log(term), s), s, sympy.oo) for term in terms if term.has(sympy.exp)]
    rate = max((rate for rate in rates if rate.is_number), default=sympy.S.Zero)
    if not rate > 0:
        return sympy.S.Zero, formula
    scaled = sympy.Add(*(sympy.powsimp(term * sympy.exp(sympy.expand(-rate * s))) for term in terms))
    return rate, sympy.expand(scaled, power_exp=False)


def closed_on(formula: Expr, backend: Backend) -> Function:
    """Lower a sum of exponentials that becomes infinite, and never NaN, where it overflows."""
    # at 0 the constants cancel, which expm1 does exactly; elsewhere expm1 would bring the cancellation in
    vanishes = formula.subs(s, 0) == 0
    function = lower(cancelled(formula, s) if vanishes else formula, s, backend)
    rate, scaled = dominant(formula)
    if rate == 0:
        return function
    rest, exp, half = lower(scaled, s, backend), backend.functions[sympy.exp], float(rate) / 2
    edge = LARGE / float(rate)

    def value(x: Any) -> Any:
        large = backend.clip(x, edge, None)
        growth = exp(half * large)
        return backend.where(x < edge, function(backend.clip(x, None, edge)), growth * (growth * rest(large)))

    return value


def closed_from_zero_on(formula: Expr, backend: Backend) -> Function:
    """Lower a formula in s > 0, with its limit at s = 0, or 0 where that is infinite."""
    function = closed_on(formula, backend)
    if not formula.has(s) or formula.subs(s, 0).is_finite:
        return function
    limit = sympy.limit(_without_far_kinks(formula), s, 0, "+")
    start = float(limit) if limit.is_finite else 0.0

    def extended(x: Any) -> Any:
        positive = backend.where(x > 0, x, backend.fill(x, 1.0))
        return backend.where(x > 0, function(positive), backend.fill(x, start))

    return extended


def _without_far_kinks(formula: Expr) -> Expr:
    """Replace what is exponentially near a constant as s -> 0, beside which no power of s counts.

    A kink k other than 1 is log k / sqrt(s) standard deviations away: its erf(a/sqrt(s) + ...) tends to the sign of a,
    and its e^{-c/s + ...} to 0. The limit is the same, and SymPy finds it many times faster.
    """

    def of_erf(argument: Expr) -> Expr:
        leading = sympy.expand(argument * sympy.sqrt(s)).subs(s, 0)
        return sympy.erf(argument) if leading == 0 else sympy.sign(leading)

    def of_exp(exponent: Expr) -> Expr:
        return sympy.S.Zero if sympy.expand(exponent * s).subs(s, 0).is_negative else sympy.exp(exponent)

    return formula.replace(sympy.erf, of_erf).replace(sympy.exp, of_exp)
