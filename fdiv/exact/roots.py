"""Expressions with fractional powers of u as fractions of polynomials in root = u^(1/k), and their zeros."""

from __future__ import annotations

import math

import sympy
from sympy import Expr, Poly, Symbol

from fdiv.exact.symbols import u

LARGEST_ORDER = 24
"""The largest k: u^0.123456 would be a polynomial of degree 15,432, whose roots nobody counts."""
_LARGEST_DEGREE = 64


def in_root(expression: Expr, root: Symbol) -> tuple[int, Expr, Expr] | None:
    """Substitute u = root^k with the least k that makes every power of u a whole power of root.

    Args:
        expression: an expression in u, and in other symbols that stay as they are.
        root: the symbol that stands for u^(1/k).

    Returns:
        k, and the numerator and denominator, polynomials in root; None unless k <= `LARGEST_ORDER` and the
        expression is rational in root.
    """
    exponents = [p.exp for p in expression.atoms(sympy.Pow) if p.base == u and p.exp.is_Rational]
    order = math.lcm(*(int(exponent.q) for exponent in exponents))
    if order > LARGEST_ORDER:
        return None
    powered = expression.subs(u, root**order)
    if not powered.is_rational_function(root):
        return None
    numerator, denominator = sympy.fraction(sympy.together(powered))
    return order, numerator, denominator


def positive_zeros(expression: Expr) -> list[Expr] | None:
    """Return every zero of an expression in (0, inf) as a formula, or None where they are not all known in formulas."""
    root = sympy.Dummy("root", positive=True)
    fraction = in_root(expression, root)
    if fraction is None or sympy.degree(fraction[1], root) > _LARGEST_DEGREE:
        return None
    order, numerator, _ = fraction
    if not numerator.has(root):
        return []
    values = _real_roots(Poly(numerator, root))
    return None if values is None else [value**order for value in values if value.is_positive]


def _real_roots(polynomial: Poly) -> list[Expr] | None:
    """Return all real roots, or None where they are not all known in formulas."""
    try:
        return [value for value, _ in polynomial.real_roots(multiple=False)]
    except NotImplementedError:  # irrational coefficients
        found = sympy.roots(polynomial)
    whole = sum(found.values()) == polynomial.degree() and all(value.is_real is not None for value in found)
    return [value for value in found if value.is_real] if whole else None
