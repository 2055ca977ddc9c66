"""Pure SymPy calculus of one generator: its smooth pieces and kinks, derivatives, limits and adjoint.

A generator is convex on (0, inf) and may have kinks. It is resolved into smooth pieces once, and every
later derivation works piece by piece. Conventions: u is the ratio dP/dQ, t the argument of the conjugate, v
a critic's raw output (an estimated log-ratio), s the squared distance of two Gaussian means over their
common variance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import sympy
from sympy import Expr, Poly, Symbol

from fdiv.exact.asymptotics import UnknownExpansion, limit_at_infinity
from fdiv.exact.inversion import invert

u = sympy.Symbol("u", positive=True)
t = sympy.Symbol("t", real=True)
v = sympy.Symbol("v", real=True)
s = sympy.Symbol("s", positive=True)

_KINKED = (sympy.Abs, sympy.Max, sympy.Min, sympy.Piecewise)


class DerivationError(ValueError):
    """A quantity cannot be derived from the generator; the message says which and why."""


@dataclass(frozen=True)
class Piece:
    """A smooth stretch of the generator: `expression` on (lower, upper)."""

    lower: Expr
    upper: Expr
    expression: Expr

    @cached_property
    def slope(self) -> Expr:
        """f' on the piece, logarithms of products split and the rational part in partial fractions."""
        return normal(sympy.diff(self.expression, u))

    @cached_property
    def second(self) -> Expr:
        """f'' on the piece, with its logarithms cancelled."""
        return factored(sympy.diff(self.expression, u, 2))

    @cached_property
    def affine(self) -> bool:
        """Whether f is a straight line here."""
        return bool(sympy.simplify(self.second) == 0)

    @cached_property
    def samples(self) -> tuple[Expr, ...]:
        """Three points inside the piece."""
        thirds = (sympy.Rational(1, 5), sympy.Rational(4, 7), sympy.Rational(9, 10))
        if self.upper == sympy.oo:
            return tuple(self.lower + share / (1 - share) for share in thirds)
        return tuple(self.lower + (self.upper - self.lower) * share for share in thirds)

    def limit(self, expression: Expr, end: Expr) -> Expr:
        """One-sided limit of `expression` at `end`, which is `lower` or `upper`."""
        if end not in (0, sympy.oo):
            value = expression.subs(u, end)
            if value.is_finite:
                return sympy.simplify(value)
        side = 1 if end == self.lower else -1
        try:
            return limit_at_infinity(expression if end == sympy.oo else expression.subs(u, end + side / u), u)
        except UnknownExpansion:
            pass  # Gruntz's algorithm takes more kinds of functions
        try:
            value = sympy.limit(expression, u, end, "+" if side > 0 else "-")
        except (NotImplementedError, ValueError, TypeError, RecursionError, AttributeError) as error:
            raise DerivationError(f"the limit of {expression} at u = {end} cannot be derived") from error
        if value.is_extended_real is not True:
            raise DerivationError(f"the limit of {expression} at u = {end} is not a real number: {value}")
        return value


def pieces(generator: Expr) -> tuple[Piece, ...]:
    """Resolve Abs, Max, Min and Piecewise into smooth pieces, in increasing order of u."""
    resolved: list[Piece] = []
    for piece in _resolve(generator, sympy.S.Zero, sympy.oo):
        if resolved and sympy.expand(resolved[-1].expression - piece.expression) == 0:
            piece = Piece(resolved.pop().lower, piece.upper, piece.expression)
        resolved.append(piece)
    return tuple(resolved)


def _resolve(expression: Expr, lower: Expr, upper: Expr) -> list[Piece]:
    """Replace the first innermost kinked function by its branches, and recurse."""
    kinked = sorted((a for a in expression.atoms(*_KINKED) if a.has(u)), key=sympy.default_sort_key)
    if not kinked:
        return [Piece(lower, upper, expression)]
    atom = next(a for a in kinked if not any(inner.atoms(*_KINKED) for inner in a.args))
    inside = (root for switch in _switches(atom) for root in sign_changes(switch) if lower < root < upper)
    cuts = [lower, *sorted(set(inside)), upper]
    found: list[Piece] = []
    for left, right in pairwise(cuts):
        point = Piece(left, right, expression).samples[1]
        found += _resolve(expression.subs(atom, _branch(atom, point)), left, right)
    return found


def _switches(atom: Expr) -> list[Expr]:
    """Return the functions whose zeros are where `atom` may change its branch."""
    if isinstance(atom, sympy.Abs):
        return [atom.args[0]]
    if isinstance(atom, sympy.Piecewise):
        relations = {r for _, condition in atom.args for r in condition.atoms(sympy.core.relational.Relational)}
        return [r.lhs - r.rhs for r in sorted(relations, key=sympy.default_sort_key)]
    return [a - b for i, a in enumerate(atom.args) for b in atom.args[i + 1 :]]


def _branch(atom: Expr, point: Expr) -> Expr:
    """Return the smooth expression that `atom` equals around `point`."""
    if isinstance(atom, sympy.Piecewise):
        chosen = [branch for branch, condition in atom.args if condition.subs(u, point) == sympy.true]
        if not chosen:
            raise DerivationError(f"no branch of the Piecewise is defined at u = {point}")
        return chosen[0]
    values = [(argument.subs(u, point).evalf(), argument) for argument in atom.args]
    if not all(value.is_real for value, _ in values):
        raise DerivationError(f"{atom} is not real at u = {point}")
    if isinstance(atom, sympy.Abs):
        return values[0][1] if values[0][0] > 0 else -values[0][1]
    pick = max if isinstance(atom, sympy.Max) else min
    return pick(values, key=lambda pair: pair[0])[1]


def sign_changes(function: Expr) -> list[Expr]:
    """Return all places in (0, inf) where a smooth `function` may change its sign: its zeros and its poles."""
    parts = (factored(part) for part in sympy.fraction(sympy.together(function)))
    factors = (factor.as_base_exp()[0] for part in parts for factor in sympy.Mul.make_args(part))
    return [root for factor in factors for root in _roots_of_factor(factor)]


def _roots_of_factor(function: Expr) -> list[Expr]:
    from fdiv.balls.zeros import crossings

    if not function.has(u) or function == u or isinstance(function, sympy.exp):
        return []
    if isinstance(function, sympy.log):
        return sign_changes(function.args[0] - 1)
    root = sympy.Dummy("root", positive=True)
    order = math.lcm(*(int(p.exp.q) for p in function.atoms(sympy.Pow) if p.base == u and p.exp.is_Rational))
    powered = function.subs(u, root**order) if order <= 64 else None
    if powered is not None and powered.is_polynomial(root) and sympy.degree(powered, root) <= 64:
        values = _real_roots(sympy.Poly(powered, root))
        if values is not None:
            return [value**order for value in values if value.is_positive]
    found = crossings(function)
    if len(found) != 1:
        return list(found)
    level = sympy.Dummy("level", real=True)
    inverse = invert(function, u, level, (sympy.Rational(1, 5), sympy.Rational(4, 3), sympy.Integer(9)))
    value = None if inverse is None else sympy.simplify(inverse.subs(level, 0))
    # the formula is one of the zeros, and there is but one
    return [value if value is not None and value.is_positive else found[0]]


def _real_roots(polynomial: Poly) -> list[Expr] | None:
    """Return all real roots, or None where they are not all known in formulas."""
    try:
        return [value for value, _ in polynomial.real_roots(multiple=False)]
    except NotImplementedError:  # irrational coefficients
        found = sympy.roots(polynomial)
    whole = sum(found.values()) == polynomial.degree() and all(value.is_real is not None for value in found)
    return [value for value in found if value.is_real] if whole else None


def factored(expression: Expr) -> Expr:
    """Factor, or only expand where powers such as u^0.123456 would become polynomials of enormous degree."""
    exponents = [power.exp for power in expression.atoms(sympy.Pow) if power.exp.is_Rational]
    if all(abs(exponent.p) <= 64 and exponent.q <= 24 for exponent in exponents):
        return sympy.factor(sympy.together(expression))
    return sympy.powsimp(sympy.expand(expression))


def normal(expression: Expr) -> Expr:
    """Expand, split logarithms of products, and take partial fractions of the rational terms."""
    factored = expression.replace(sympy.log, lambda argument: sympy.log(sympy.factor(argument)))
    terms = sympy.Add.make_args(sympy.expand(sympy.expand_log(factored, force=True)))
    rational = [term for term in terms if term.is_rational_function(u)]
    transcendental = [term for term in terms if not term.is_rational_function(u)]
    polynomial = [term for term in rational if not sympy.denom(term).has(u)]
    fractions = [term for term in rational if sympy.denom(term).has(u)]  # alone: apart is slow over roots of 2
    return sympy.Add(
        *_common_factors(transcendental), *polynomial, sympy.apart(sympy.together(sympy.Add(*fractions)), u)
    )


def _common_factors(terms: list[Expr]) -> list[Expr]:
    """Add up the rational coefficients of each logarithm, which often cancel."""
    coefficients: dict[Expr, Expr] = {}
    for term in terms:
        logs = [factor for factor in sympy.Mul.make_args(term) if isinstance(factor, sympy.log)]
        key = logs[0] if len(logs) == 1 and (term / logs[0]).is_rational_function(u) else term
        coefficients[key] = coefficients.get(key, sympy.S.Zero) + term / key
    return [sympy.cancel(coefficient) * key for key, coefficient in coefficients.items()]


def limit_generator(family: Expr, values: Mapping[Symbol, Expr]) -> Expr:
    """Return the limit of a family above its tangent at u = 1, where its parameters tend to singular `values`.

    Raises DerivationError where there is no finite limit.
    """
    limit = family - sympy.simplify(sympy.diff(family, u).subs(u, 1)) * (u - 1)
    for symbol, value in values.items():
        near = limit.subs(symbol, value)
        limit = sympy.limit(limit, symbol, value) if near.has(sympy.nan, sympy.zoo, sympy.oo) else near
    if limit.has(sympy.nan, sympy.zoo, sympy.oo, sympy.Limit):
        raise DerivationError(f"{family} has no finite limit at {dict(values)}")
    return normal(limit)


def adjoint(generator: Expr) -> Expr:
    """Return the generator u f(1/u), which exchanges the roles of P and Q (Liese and Vajda 2006)."""
    return sympy.expand_log(sympy.expand(u * generator.subs(u, 1 / u)), force=True)
