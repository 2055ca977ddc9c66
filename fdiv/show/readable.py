"""Formulas and numbers for people: the shortest form that has the same values, and 2/3 for 0.6666666666666666."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import mpmath
import sympy
from sympy import Expr, Rational

from fdiv.exact.domain import Interval
from fdiv.exact.symbols import s, u
from fdiv.numeric.backends import MPMATH
from fdiv.numeric.lower import lower
from fdiv.record import Divergence

_MOST_OPERATIONS = 300  # of what is made shorter, for which SymPy may take a minute
_TRIED = (-7.3, -2.1, -0.37, 0.21, 0.64, 1.7, 5.2)


def as_text(value: Any) -> str | None:
    """Return text, a formula, an interval or a number as text; None for None."""
    if isinstance(value, str):
        return value
    if isinstance(value, Interval):
        return domain_text(value)
    if isinstance(value, Expr):
        value = readable(value)
    if isinstance(value, sympy.Piecewise):
        branches = (f"{branch} if {condition}" for branch, condition in value.args)
        return "; ".join(branches).replace("if True", "otherwise").replace("oo", "inf")
    return None if value is None else str(value).replace("oo", "inf")


def readable(expression: Expr) -> Expr:
    """Return the shortest form for people that has the same values, or the expression itself.

    Fractions that stand for 0.6666666666666666 become 2/3, logarithms are gathered, and the value at a closed end
    joins the piece that ends there.
    """
    if isinstance(expression, sympy.Piecewise):
        return _with_closed_ends([(readable(value), _condition(condition)) for value, condition in expression.args])
    plain = expression.xreplace({number: _simple(number) for number in expression.atoms(sympy.Rational)})
    if plain.count_ops() > _MOST_OPERATIONS:
        return plain
    forms = [plain, *(form for form in (_gathered(plain), _gathered(_one_power(plain))) if _agree(form, plain))]
    return min(forms, key=lambda form: len(str(form)))


def simple(number: float) -> str:
    """Return the shortest text of a double: decimals, or a fraction that is the same double."""
    near, decimals = str(Fraction(number).limit_denominator(1000)), f"{number!r}".removesuffix(".0")
    return near if float(Fraction(near)) == number and len(near) < len(decimals) - 2 else decimals


def label(divergence: Divergence) -> str:
    """Return the spec with fractions for long decimals; `fdiv.divergence` reads it all the same."""
    pairs = ",".join(f"{name}={simple(value)}" for name, value in divergence.values)
    return f"{divergence.name}:{pairs}" if pairs else divergence.name


def domain_text(interval: Interval) -> str:
    """Return an interval with readable ends."""
    lower_end, upper_end = (readable(sympy.nsimplify(end, rational=True)) for end in (interval.lower, interval.upper))
    return str(replace(interval, lower=lower_end, upper=upper_end))


def _simple(number: Rational) -> Rational:
    near = sympy.Rational(Fraction(int(number.p), int(number.q)).limit_denominator(1000))
    return near if abs(near - number) <= abs(number) * sympy.Rational(1, 10**14) else number


def _condition(condition: Any) -> Any:
    return condition.func(*map(readable, condition.args)) if condition.args else condition


def _with_closed_ends(branches: list[tuple[Expr, Any]]) -> Expr:
    """Give the value at a closed end to the piece that ends there, where it is that piece's value."""
    found: list[tuple[Expr, Any]] = []
    for value, condition in branches:
        if found and isinstance(condition, sympy.Le) and found[-1][1] == sympy.Lt(*condition.args):
            symbol, end = condition.args
            if sympy.simplify(found[-1][0].subs(symbol, end) - value) == 0:
                found[-1] = (found[-1][0], condition)
                continue
        found.append((value, condition))
    return sympy.Piecewise(*found)


def _one_power(expression: Expr) -> Expr:
    """Multiply exponentials into one, whose exponent is factored power by power of s."""
    return sympy.powsimp(expression).replace(
        sympy.exp, lambda exponent: sympy.exp(sympy.collect(sympy.expand(exponent), 1 / s, sympy.factor))
    )


def _gathered(expression: Expr) -> Expr:
    """Write log(c/x) as log(c) - log(x), and a log(p) - a log(q) as a log(p/q)."""
    return expression.replace(sympy.log, _of_quotient).replace(lambda part: part.is_Add, _logs_in_one)


def _of_quotient(argument: Expr) -> Expr:
    above, below = sympy.fraction(sympy.together(argument))
    if not above.is_Rational or below.is_Rational:
        return sympy.log(argument)
    return sympy.log(abs(above)) - sympy.log(sympy.expand(below * sympy.sign(above)))


def _logs_in_one(total: Expr) -> Expr:
    ratios: dict[Expr, Expr] = {}
    rest = []
    for term in total.args:
        logarithm = next((f for f in sympy.Mul.make_args(term) if f.func == sympy.log and f.args[0].is_Rational), None)
        if logarithm is None:
            rest.append(term)
            continue
        factor, ratio = term / logarithm, logarithm.args[0]
        if factor.could_extract_minus_sign():
            factor, ratio = -factor, 1 / ratio
        ratios[factor] = ratios.get(factor, sympy.S.One) * ratio
    return sympy.Add(*rest, *(factor * sympy.log(ratio) for factor, ratio in ratios.items()))


def _agree(first: Expr, second: Expr) -> bool:
    """Whether two expressions have the same real values at some points, at least two."""
    compared = 0
    for point in _TRIED:
        try:
            a, b = (lower(e, next(iter(second.free_symbols), u), MPMATH)(mpmath.mpf(point)) for e in (first, second))
        except NotImplementedError:
            return False
        except (ValueError, ArithmeticError, TypeError):
            continue
        if not (mpmath.im(b) == 0 and mpmath.isfinite(b)):
            continue
        if not mpmath.almosteq(a, b, 1e-13, 1e-13):
            return False
        compared += 1
    return compared > 1
