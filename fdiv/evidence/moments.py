"""A proof that a formula for D(s) is E_Q[f], which shares no code with how the formula was found.

For f = sum of c u^p (log u)^n and log u ~ N(-s/2, s), Stein's lemma gives dE[f]/ds = E[L f] with L f = u^2 f''/2, and
L maps the span of u^p (log u)^m, m <= n, into itself with the single eigenvalue p (p - 1)/2. So E[f] solves a linear
differential equation with constant coefficients, whose order is known, and its derivatives at 0 are (L^k f)(1). A
formula that is a sum of s^m e^{a s} solves one too. If both have equal derivatives up to the joint order, they are
the same function.
"""

from __future__ import annotations

from collections.abc import Sequence

import sympy
from sympy import Expr

from fdiv.derive.generator import Piece
from fdiv.exact.symbols import s, u

_HIGHEST_ORDER = 24
Terms = dict[tuple[Expr, int], Expr]  # (p, n) -> c


def is_expectation(formula: Expr | None, pieces: Sequence[Piece]) -> bool:
    """Whether `formula` in s is proved to be E_Q[f] for the generator with these pieces; False if not decidable."""
    if formula is None or len(pieces) != 1:
        return False
    terms, exponents = _terms(pieces[0].expression), _exponents(formula)
    if terms is None or exponents is None:
        return False
    # the characteristic polynomial of the joint equation: each rate of either side as often as the larger of the two
    orders = dict(exponents)
    for p, n in terms:
        eigenvalue = p * (p - 1) / 2
        orders[eigenvalue] = max(orders.get(eigenvalue, 0), n + 1)
    order = sum(orders.values())
    if order > _HIGHEST_ORDER:
        return False
    # k = 0, 1, ..., order - 1: the k-th derivative of E[f] at s = 0 is (L^k f)(1), as u = 1 there
    derivative = formula
    for _ in range(order):
        at_one = sum((c for (_, n), c in terms.items() if n == 0), sympy.S.Zero)
        if sympy.simplify(derivative.subs(s, 0) - at_one) != 0:
            return False
        terms, derivative = _generator_of_flow(terms), sympy.diff(derivative, s)
    return True


def _terms(generator: Expr) -> Terms | None:
    """Write f as a sum of c u^p (log u)^n, or None."""
    found: Terms = {}
    for term in sympy.Add.make_args(sympy.expand(sympy.expand_log(sympy.expand(generator)))):
        coefficient, power, logs = sympy.S.One, sympy.S.Zero, 0
        for factor in sympy.Mul.make_args(term):
            base, exponent = factor.as_base_exp()
            if not factor.has(u):
                coefficient *= factor
            elif base == u and not exponent.has(u):
                power += exponent
            elif base == sympy.log(u) and exponent.is_Integer and exponent > 0:
                logs += int(exponent)
            else:
                return None
        found[power, logs] = found.get((power, logs), sympy.S.Zero) + coefficient
    return found


def _exponents(formula: Expr) -> dict[Expr, int] | None:
    """Write the formula as a sum of c s^m e^{a s}, as {a: largest m + 1}, or None."""
    found: dict[Expr, int] = {}
    for term in sympy.Add.make_args(sympy.expand(formula)):
        rate, degree = sympy.S.Zero, 0
        for factor in sympy.Mul.make_args(term):
            if isinstance(factor, sympy.exp) and not sympy.cancel(factor.args[0] / s).has(s):
                rate += sympy.cancel(factor.args[0] / s)
            elif factor.has(s):
                base, exponent = factor.as_base_exp()
                if base != s or not (exponent.is_Integer and exponent > 0):
                    return None
                degree += int(exponent)
        found[rate] = max(found.get(rate, 0), degree + 1)
    return found


def _generator_of_flow(terms: Terms) -> Terms:
    """Return L f = u^2 f''/2, term by term."""
    found: Terms = {}
    for (p, n), c in terms.items():
        for logs, factor in ((n, p * (p - 1)), (n - 1, n * (2 * p - 1)), (n - 2, sympy.Integer(n * (n - 1)))):
            if logs >= 0 and factor != 0:
                found[p, logs] = found.get((p, logs), sympy.S.Zero) + c * factor / 2
    return found
