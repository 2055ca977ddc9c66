"""Rewrites of expressions that would lose digits, or a branch, in numbers."""

from __future__ import annotations

import sympy
from sympy import Expr, Symbol
from sympy.codegen.cfunctions import expm1, log1p

from fdiv.exact.symbols import u, v


class softplus(sympy.Function):  # noqa: N801  (SymPy names functions in lower case)
    """log(1 + e^x)."""

    def fdiff(self, argindex: int = 1) -> Expr:
        """Return the logistic function."""
        return 1 / (1 + sympy.exp(-self.args[0]))

    def _eval_evalf(self, precision: int) -> Expr:
        return sympy.log(1 + sympy.exp(self.args[0]))._eval_evalf(precision)


def outward(expression: Expr, sign: int) -> Expr:
    """Write an expression in u = e^{sign v} so that it is analytic where Re v > 0 and no zero is crossed.

    In log(g) and g^p the monomial of g that dominates for large v is taken out, and log1p of the rest stays on its
    principal branch, while log(g) itself would jump where Im v passes a multiple of pi.
    """
    if not expression.has(u):
        return expression
    if expression == u:
        return sympy.exp(sign * v)
    if isinstance(expression, sympy.log):
        return _outward_log(expression.args[0], sign)
    if expression.is_Pow and not expression.exp.has(u) and not expression.exp.is_Integer:
        return sympy.exp(sympy.expand(expression.exp * _outward_log(expression.base, sign)))
    return expression.func(*(outward(a, sign) for a in expression.args)) if expression.args else expression


def _outward_log(argument: Expr, sign: int) -> Expr:
    monomials: dict[Expr, Expr] = {}
    for term in sympy.Add.make_args(sympy.expand(argument)):
        coefficient, power = term.as_independent(u, as_Add=False)
        base, exponent = power.as_base_exp() if power != 1 else (u, sympy.S.Zero)
        if base != u:
            return sympy.log(outward(argument, sign))
        monomials[sign * exponent] = monomials.get(sign * exponent, sympy.S.Zero) + coefficient
    # log(c e^{q v} (1 + r)) = log c + q v + log1p(r), where |r| falls as Re v rises
    # the argument is positive, but its leading monomial need not be on a panel that ends, as 3 - u's on (0, 3)
    top = max(monomials, key=lambda power: (bool(monomials[power] > 0), float(power)))
    rest = [c / monomials[top] * sympy.exp((power - top) * v) for power, c in monomials.items() if power != top]
    return sympy.log(monomials[top]) + top * v + (log1p(sympy.Add(*rest)) if rest else 0)


def cancelled(expression: Expr, symbol: Symbol) -> Expr:
    """Replace e^x by expm1(x) + 1 in the terms of a sum, so that the constants cancel exactly."""
    terms = []
    for term in sympy.Add.make_args(sympy.expand(expression)):
        coefficient, factor = term.as_independent(symbol, as_Add=False)
        if isinstance(factor, sympy.exp):
            terms += [coefficient * expm1(factor.args[0]), coefficient]
        else:
            terms.append(term)
    return sympy.Add(*terms)
