"""Expressions with fractional powers of u as fractions of polynomials in root = u^(1/k), and their zeros."""

from __future__ import annotations

import math

import sympy
from sympy import Expr, Poly, Symbol

from fdiv.exact.comparison import sign
from fdiv.exact.constants import OpenError
from fdiv.exact.symbols import LARGEST_ORDER, u

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
    return None if values is None else [value**order for value in values if sign(value) > 0]


def _real_roots(polynomial: Poly) -> list[Expr] | None:
    """Return all real roots that are positive, and perhaps others; None where they are not all known in formulas."""
    try:
        return [value for value, _ in polynomial.real_roots(multiple=False)]
    except NotImplementedError:  # irrational coefficients
        return _simple_roots(polynomial)


def _simple_roots(polynomial: Poly) -> list[Expr] | None:
    """Return the real roots of a x + b, a x^2 + b x + c and a x^n + b with coefficients that may be irrational."""
    degree, coefficients = polynomial.degree(), polynomial.all_coeffs()
    first, last = coefficients[0], coefficients[-1]
    if sign(first) == 0:
        raise OpenError(f"the leading coefficient of {polynomial.as_expr()} is zero")
    if degree == 2:
        radicand = sympy.expand(coefficients[1] ** 2 - 4 * first * last)
        reached = sign(radicand)
        return [(-coefficients[1] + side * sympy.sqrt(radicand)) / (2 * first) for side in (1, -1)[: reached + 1]]
    if any(coefficient != 0 for coefficient in coefficients[1:-1]):
        return None
    # a negative root of an odd power is no place in (0, inf), and nobody asks for it
    return [] if sign(-last / first) < 0 else [(-last / first) ** sympy.Rational(1, degree)]
