"""Exact inversion of a strictly monotone slope, f'(u) = t solved for u, by peeling.

A slope is undone from the outside inwards (add, scale, power, exp, log) after being rewritten so that the
ratio occurs once (partial fractions, merged logarithms). Two cores need more than peeling: a quadratic in a
root of u, and a log(y) + b y (Lambert's W). Everything else is left to the numeric inverse. There is no
search and no time limit: the steps are few and fixed, so the outcome is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import sympy
from sympy import Expr, Symbol

from fdiv.exact.roots import in_root
from fdiv.exact.simplify import partial_fractions
from fdiv.exact.symbols import u

_MOST_CANDIDATES = 24
_LARGEST_POWER = 512
_LARGEST_TERM = 10**6  # p and q of a power
_BRANCH_TOLERANCE = 1e-10


def invert(slope: Expr, t: Symbol, samples: tuple[Expr, ...]) -> Expr | None:
    """Solve ``slope(u) = t`` for u, exactly.

    `samples` are points of the piece on which the slope is strictly increasing; the branch returned is the
    one that maps the slope at each of them back to the point itself. Returns None when no exact inverse is
    found.
    """
    points = [(float(point), slope.subs(u, point.evalf(40)).evalf(30)) for point in samples]
    for candidate in islice(_solutions(slope, t, 0), _MOST_CANDIDATES):
        if all(_returns(candidate, t, value, point) for point, value in points):
            return candidate
    return None


def _returns(candidate: Expr, t: Symbol, value: Expr, point: float) -> bool:
    back = candidate.subs(t, value).evalf(20)  # a strictly increasing slope has one inverse: no other branch returns
    if not back.is_number or back.has(sympy.nan, sympy.zoo, sympy.oo):
        return False
    return abs(complex(back) - point) <= _BRANCH_TOLERANCE * point


def _solutions(expression: Expr, target: Expr, depth: int) -> Iterator[Expr]:
    """Yield candidate solutions of ``expression = target``, branches included, likely ones first."""
    if expression == u:
        yield target
        return
    if depth > 12:
        return
    for form in _rewritten(expression):
        for inner, value in _peel(form, target):
            yield from _solutions(inner, value, depth + 1)
    yield from _quadratic(expression, target)
    yield from _lambert(expression, target, depth)


def _rewritten(expression: Expr) -> Iterator[Expr]:
    """Yield equivalent forms in which u may occur only once."""
    yield expression
    if expression.is_rational_function(u):
        whole = sympy.factor(sympy.together(expression))
        yield partial_fractions(whole)
        yield whole
    elif expression.is_Add:
        yield sympy.expand(expression)
        yield merge_logs(expression)


def merge_logs(expression: Expr) -> Expr:
    """Collect ``c log(g) + n c log(h)`` into ``c log(g h^n)``; valid because both arguments are positive."""
    constant, dependent = sympy.expand(sympy.expand_log(expression, force=True)).as_independent(u, as_Add=True)
    logs: list[tuple[Expr, Expr]] = []
    rest: list[tuple[Expr, Expr]] = []
    for term in sympy.Add.make_args(dependent):
        coefficient, factor = term.as_independent(u, as_Add=False)
        (logs if isinstance(factor, sympy.log) else rest).append((coefficient, factor))
    if not logs:
        return expression
    unit = logs[0][0]
    powers = [sympy.nsimplify(coefficient / unit) for coefficient, _ in logs]
    if not all(power.is_Integer and abs(power) <= _LARGEST_POWER for power in powers):
        return expression
    argument = sympy.Mul(*(factor.args[0] ** power for power, (_, factor) in zip(powers, logs, strict=True)))
    merged = unit * sympy.log(sympy.cancel(argument))
    return sympy.Add(constant, merged, *(coefficient * factor for coefficient, factor in rest))


def _peel(expression: Expr, target: Expr) -> Iterator[tuple[Expr, Expr]]:
    """Undo one outer operation: yield (inner expression, its value) for each real branch."""
    if expression.is_Add:
        constant, inner = expression.as_independent(u, as_Add=True)
        if constant != 0:
            yield inner, target - constant
    elif expression.is_Mul:
        scale, inner = expression.as_independent(u, as_Add=False)
        if scale != 1:
            yield inner, target / scale
    elif isinstance(expression, sympy.exp):
        yield expression.args[0], sympy.log(target)
    elif isinstance(expression, sympy.log):
        yield expression.args[0], sympy.exp(target)
    elif expression.is_Pow and not expression.exp.has(u):
        power = expression.exp
        # (t/1000001)^1000000 has millions of digits, and so has what SymPy takes out of 8.1^(250000000000/219135802747)
        if abs(1 / power) > _LARGEST_POWER or (power.is_Rational and max(abs(power.p), power.q) > _LARGEST_TERM):
            return
        yield expression.base, target ** (1 / power)
        if power.is_integer:  # the other real branch of an even power, or the root of a negative number
            yield expression.base, -((target * (-1) ** power) ** (1 / power))


def _quadratic(expression: Expr, target: Expr) -> Iterator[Expr]:
    """Solve a rational expression in u^(1/k) whose numerator is quadratic there."""
    root, level = Symbol("root", positive=True), sympy.Dummy("level")
    fraction = in_root(expression - level, root)
    if fraction is None:
        return
    order, numerator, _ = fraction
    polynomial = sympy.Poly(numerator, root)
    if polynomial.degree() == 2:  # in root, with the level as a parameter: both signs are tried, and one survives
        a, b, c = (coefficient.subs(level, target) for coefficient in polynomial.all_coeffs())
        for sign in (1, -1):
            yield ((-b + sign * sympy.sqrt(sympy.factor(b**2 - 4 * a * c))) / (2 * a)) ** order


def _lambert(expression: Expr, target: Expr, depth: int) -> Iterator[Expr]:
    """Solve ``a log(y) + b y + c = target``, where y or 1/y is the argument of the only logarithm."""
    merged = merge_logs(expression)
    logs = [atom for atom in merged.atoms(sympy.log) if atom.has(u)]
    if len(logs) != 1:
        return
    for sign in (1, -1):
        y = logs[0].args[0] ** sign
        a = sign * merged.coeff(logs[0])
        rest = merged - merged.coeff(logs[0]) * logs[0]
        b = sympy.cancel(sympy.diff(rest, u) / sympy.diff(y, u))
        if a == 0 or b == 0 or b.has(u) or rest.has(sympy.log(u)):
            continue
        c = sympy.simplify(rest - b * y)
        # with z = b y/a the equation reads log z + z = (target - c)/a + log(b/a), so z e^z is its exponential
        for branch in (0, -1):
            value = (a / b) * sympy.LambertW((b / a) * sympy.exp((target - c) / a), branch)
            yield from _solutions(y, value, depth + 1)
