"""Whether a residual in u > 0 is identically zero, by exact rules only; logarithms, roots and Lambert's W included."""

from __future__ import annotations

import sympy
from sympy import Expr

from fdiv.exact.comparison import is_positive
from fdiv.exact.simplify import factored, normal, simplified
from fdiv.exact.symbols import u


def is_identity(residual: Expr) -> bool:
    """Whether the residual is identically zero; False where the rules do not show it."""
    # each step puts one kind of function into a normal form, so that equal terms cancel in the last line:
    # exponents into powers, W(y e^y) into y, factored radicands, logarithms of factors
    residual = residual.replace(sympy.exp, lambda x: sympy.powsimp(sympy.exp(sympy.expand(x)).expand(power_exp=True)))
    residual = residual.replace(sympy.LambertW, _lambert_of_product)
    residual = residual.replace(sympy.Pow, lambda base, power: factored(base) ** power)
    residual = sympy.powdenest(sympy.expand_log(residual.replace(sympy.log, _log_of_factored), force=False))
    return bool(normal(residual) == 0 or simplified(residual) == 0)


def _log_of_factored(argument: Expr) -> Expr:
    return sympy.log(factored(argument))


def _lambert_of_product(z: Expr, branch: Expr = sympy.S.Zero) -> Expr:
    """W(y e^y) = y, on branch 0 where y >= -1 and on branch -1 where y <= -1."""
    product = factored(sympy.powsimp(sympy.expand_power_exp(z)))
    for factor in sympy.Mul.make_args(product):
        if isinstance(factor, sympy.exp):
            rest = sympy.Mul(*(other for other in sympy.Mul.make_args(product) if other != factor))
            constant = simplified(rest - factor.args[0])
            y = rest if constant == 0 else _shifted(rest, factor.args[0])
            if y is not None and _on_branch(y, branch):
                return y
    return sympy.LambertW(z, branch)


def _shifted(rest: Expr, exponent: Expr) -> Expr | None:
    """Return y = c rest with y = exponent - log c, if there is such a constant c."""
    # y e^y = c rest e^{exponent - log c}: the constant c is the ratio of the two derivatives
    scale = sympy.cancel(sympy.diff(exponent, u) / sympy.diff(rest, u)) if rest.has(u) else sympy.S.Zero
    if scale.has(u) or not is_positive(scale):
        return None
    y = sympy.cancel(scale * rest)
    return y if simplified(exponent - sympy.log(scale) - y) == 0 else None


def _on_branch(y: Expr, branch: Expr) -> bool:
    margin = sympy.factor(sympy.together(y + 1))
    return is_positive(margin if branch == 0 else -margin, strict=False)
