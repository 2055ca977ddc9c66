"""A generator: a convex function f on (0, inf), its smooth pieces and kinks, and its limits at both ends.

It may have kinks, and is resolved into smooth pieces once; every later derivation works piece by piece.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import sympy
from sympy import Expr
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean

from fdiv.balls.ball import sign_at
from fdiv.balls.zeros import crossings, has_formula
from fdiv.exact.asymptotics import UnknownExpansion, limit_at_infinity
from fdiv.exact.comparison import between, compare, in_order, inside, sign, vanishes
from fdiv.exact.constants import OpenError, value_at
from fdiv.exact.inversion import invert
from fdiv.exact.roots import positive_zeros
from fdiv.exact.simplify import factored, flat, normal, simplified
from fdiv.exact.symbols import LARGEST_ORDER, DerivationError, u

_LARGEST_DEGREE = 64  # of a radicand in which squares are looked for
_KINKED = (sympy.Abs, sympy.Max, sympy.Min, sympy.Piecewise)


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
        return bool(simplified(self.second) == 0)

    @cached_property
    def samples(self) -> tuple[Expr, ...]:
        """Three rational points certainly inside the piece."""
        shares = (sympy.Rational(1, 5), sympy.Rational(4, 7), sympy.Rational(9, 10))
        return tuple(between(self.lower, self.upper, share) for share in shares)

    def limit(self, expression: Expr, end: Expr) -> Expr:
        """One-sided limit of `expression` at `end`, which is `lower` or `upper`."""
        if end not in (0, sympy.oo):
            value = value_at(expression, u, end)
            if value.is_finite:
                return simplified(value)
        side = 1 if end == self.lower else -1
        try:
            return limit_at_infinity(expression if end == sympy.oo else expression.subs(u, end + side / u))
        except UnknownExpansion:
            pass  # Gruntz's algorithm takes more kinds of functions
        covered, names = _with_names(expression)
        unknown = f"the limit of {expression} at u = {end} cannot be derived"
        try:
            value = sympy.limit(covered, u, end, "+" if side > 0 else "-").xreplace(names)
        except (NotImplementedError, ValueError, TypeError, RecursionError, AttributeError) as error:
            raise DerivationError(unknown) from error
        if value.free_symbols:  # of Gruntz's algorithm, which takes 2^u/3^u for something that does not vary
            raise DerivationError(unknown)
        if value.is_extended_real is not True:
            raise DerivationError(f"the limit of {expression} at u = {end} is not a real number: {value}")
        return value


def _with_names(expression: Expr) -> tuple[Expr, dict[Expr, Expr]]:
    """Give log b of b^(g(u)), and roots of high order beside it, names of their sign, and say what these stand for.

    SymPy's limits run in circles between 56^(a u) and 2^(3a) 7^a.
    """
    powers = [power for power in expression.atoms(sympy.Pow) if power.base.is_Rational and power.base > 0]
    roots = [power for power in powers if power.exp.is_Rational and power.exp.q > LARGEST_ORDER]
    bases = {power.base for power in powers if power.exp.has(u)}
    if len(bases) != 1 or not roots:
        return expression, {}
    (base,) = bases
    rate = sympy.Dummy("rate", positive=base > 1, negative=base < 1)
    names = {sympy.log(base): rate, **{root: sympy.Dummy("root", positive=True) for root in roots}}
    exponentials = {power: sympy.exp(power.exp * rate) for power in powers if power.exp.has(u)}
    return expression.xreplace(exponentials).xreplace(names), {name: constant for constant, name in names.items()}


def piece_at(pieces: Sequence[Piece], place: Expr, side: Literal["left", "right"] = "left") -> Piece:
    """Return the piece that holds `place` in (0, inf); where two pieces meet there, the one on that `side` of it."""
    return next(p for p in pieces if compare(place, p.upper) < (1 if side == "left" else 0))


class Generator(ABC):
    """A convex f on (0, inf) with f(1) = 0. Whoever inherits gives `generator`; the rest is derived from it, once."""

    @property
    @abstractmethod
    def generator(self) -> Expr:
        """f as a SymPy expression in u alone."""

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The smooth pieces of f, in increasing order of u."""
        return pieces(self.generator)

    def value_at(self, place: Expr) -> Expr:
        """f at a place between two pieces; where two branches of a Max cross, the value that both have."""
        if has_formula(place):
            return value_at(self.generator, u, place)
        left = piece_at(self.pieces, place)
        return left.limit(left.expression, place)

    @cached_property
    def kinks(self) -> tuple[tuple[Expr, Expr], ...]:
        """(place, jump of the slope) where two pieces meet and the slope jumps."""
        jumps = (
            (left.upper, simplified(right.limit(right.slope, right.lower) - left.limit(left.slope, left.upper)))
            for left, right in pairwise(self.pieces)
        )
        return tuple((place, jump) for place, jump in jumps if sign(jump) != 0)

    @cached_property
    def value_at_zero(self) -> Expr:
        """f(0+), possibly infinite."""
        first = self.pieces[0]
        return first.limit(first.expression, first.lower)

    @cached_property
    def slope_at_zero(self) -> Expr:
        """f'(0+), possibly -infinite: below it the conjugate is the constant -f(0+)."""
        first = self.pieces[0]
        return first.limit(first.slope, first.lower)

    @cached_property
    def slope_at_infinity(self) -> Expr:
        """f'(inf) = lim f(u)/u, possibly infinite: where the conjugate becomes infinite."""
        last = self.pieces[-1]
        return last.limit(last.slope, last.upper)

    @cached_property
    def curvatures(self) -> tuple[Expr, Expr]:
        """f''(1-) and f''(1+); both infinite at a kink."""
        if any(compare(place, sympy.S.One) == 0 for place, _ in self.kinks):
            return sympy.oo, sympy.oo
        one = sympy.S.One
        left, right = piece_at(self.pieces, one, "left"), piece_at(self.pieces, one, "right")
        return simplified(left.limit(left.second, one)), simplified(right.limit(right.second, one))

    @property
    def curvature(self) -> Expr | None:
        """f''(1); infinite at a kink, None where the two one-sided values differ."""
        left, right = self.curvatures
        return left if left == right else None

    @cached_property
    def slope_at_one(self) -> Expr:
        """A subgradient of f at 1: the slope from the right."""
        piece = piece_at(self.pieces, sympy.S.One, "right")
        return piece.limit(piece.slope, sympy.S.One)


def pieces(generator: Expr) -> tuple[Piece, ...]:
    """Resolve Abs, Max, Min, Piecewise and roots of squares into smooth pieces, in increasing order of u.

    Raises DerivationError where a branch, or the order of two kinks, is not decided by certain arithmetic.
    """
    resolved: list[Piece] = []
    try:
        for piece in _resolve(without_squares(flat(generator)), sympy.S.Zero, sympy.oo):
            if resolved and sympy.expand(resolved[-1].expression - piece.expression) == 0:
                piece = Piece(resolved.pop().lower, piece.upper, piece.expression)
            resolved.append(piece)
        return tuple(part for piece in resolved for part in _regular(piece))
    except OpenError as error:
        raise DerivationError(f"this software cannot tell the branches of {generator}: {error}") from error


def _regular(piece: Piece) -> list[Piece]:
    """Cut a piece where a divisor, a radicand or the argument of a log vanishes inside: it is not smooth there.

    Zeros that cannot be located are left where they are; no claim is proved of a piece that may hold one.
    """
    inner = {base for base, _ in guarded(piece.expression) if not base.is_positive}
    places: list[Expr] = []
    for base in sorted(inner, key=sympy.default_sort_key):
        try:
            places += [root for root in sign_changes(base) if inside(root, piece.lower, piece.upper)]
        except DerivationError:
            continue
    cuts = [piece.lower, *in_order(places), piece.upper]
    return [Piece(left, right, piece.expression) for left, right in pairwise(cuts)]


def guarded(expression: Expr) -> list[tuple[Expr, Expr]]:
    """Return what must stay positive for an expression to be finite and smooth, each with the power it is raised to.

    These are the bases of powers that are no whole number, divisors, and the arguments of log, with the power 0.
    """
    found = []
    for node in sympy.preorder_traversal(expression):
        if isinstance(node, sympy.log) and node.has(u):
            found.append((node.args[0], sympy.S.Zero))
        elif node.is_Pow and node.base.has(u) and not (node.exp.is_Integer and node.exp > 0):
            found.append((node.base, node.exp))
    return found


def without_squares(expression: Expr) -> Expr:
    """Write roots and logarithms of squares by absolute values: (r g^2)^(1/2) = r^(1/2) |g|, log(g^2) = 2 log |g|."""

    def power(base: Expr, exponent: Expr) -> Expr:
        if exponent.is_Integer or not exponent.is_Rational or (parts := _squares(base)) is None:
            return base**exponent
        rest, squared = parts
        return rest**exponent * sympy.Mul(*(sympy.Abs(factor) ** (exponent * order) for factor, order in squared))

    def logarithm(argument: Expr) -> Expr:
        if (parts := _squares(argument)) is None:
            return sympy.log(argument)
        rest, squared = parts
        return sympy.log(rest) + sympy.Add(*(order * sympy.log(sympy.Abs(factor)) for factor, order in squared))

    return expression.replace(sympy.Pow, power).replace(sympy.log, logarithm)


def _squares(base: Expr) -> tuple[Expr, list[tuple[Expr, int]]] | None:
    """Split a rational polynomial in u into r and the (g, n), n even, whose powers make it up; None without such."""
    if not (base.is_polynomial(u) and base.has(u)) or base.is_positive:
        return None
    polynomial = sympy.Poly(base, u)
    if polynomial.degree() > _LARGEST_DEGREE or not (polynomial.domain.is_QQ or polynomial.domain.is_ZZ):
        return None
    coefficient, factors = polynomial.factor_list()
    squared = [(g.as_expr(), n) for g, n in factors if n % 2 == 0 and g.as_expr() != u]
    if not squared:
        return None
    others = (g.as_expr() ** n for g, n in factors if n % 2 == 1 or g.as_expr() == u)
    return coefficient * sympy.Mul(*others), squared


def _resolve(expression: Expr, lower: Expr, upper: Expr) -> list[Piece]:
    """Replace the first innermost kinked function by its branches, and recurse."""
    kinked = sorted((a for a in expression.atoms(*_KINKED) if a.has(u)), key=sympy.default_sort_key)
    if not kinked:
        return [Piece(lower, upper, expression)]
    atom = next(a for a in kinked if not any(inner.atoms(*_KINKED) for inner in a.args))
    roots = [root for switch in _switches(atom) for root in sign_changes(switch) if inside(root, lower, upper)]
    # between two places where it may change its branch the atom has one: that of any point inside
    cuts = [lower, *in_order(roots), upper]
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
        for branch, condition in atom.args:
            held = {r: holds(r, sign_at(r.lhs - r.rhs, point)) for r in condition.atoms(Relational)}
            if condition.xreplace(held) == sympy.true:
                return branch
        raise DerivationError(f"no branch of the Piecewise is defined at u = {point}")
    if isinstance(atom, sympy.Abs):
        return atom.args[0] if sign_at(atom.args[0], point) >= 0 else -atom.args[0]
    # the sign of the difference, in which the terms that both branches have are gone
    preferred = 1 if isinstance(atom, sympy.Max) else -1
    chosen, *others = atom.args
    for other in others:
        if sign_at(other - chosen, point) == preferred:
            chosen = other
    return chosen


def holds(relation: Relational, difference: int) -> Boolean:
    """Whether a relation holds where the sign of its left side less its right is `difference`."""
    return relation.func(sympy.Integer(difference), sympy.S.Zero)


def sign_changes(function: Expr) -> list[Expr]:
    """Return all places in (0, inf) where a smooth `function` may change its sign: its zeros and its poles."""
    parts = (factored(part) for part in sympy.fraction(sympy.together(function)))
    factors = (factor.as_base_exp()[0] for part in parts for factor in sympy.Mul.make_args(part))
    return [root for factor in factors for root in _roots_of_factor(factor)]


def _roots_of_factor(function: Expr) -> list[Expr]:
    if not function.has(u) or function == u or isinstance(function, sympy.exp):
        return []
    if isinstance(function, sympy.log):
        return sign_changes(function.args[0] - 1)
    known = positive_zeros(function)
    if known is not None:
        return known
    found = crossings(function)
    if len(found) != 1:
        return list(found)
    level = sympy.Dummy("level", real=True)
    inverse = invert(function, level, (sympy.Rational(1, 5), sympy.Rational(4, 3), sympy.Integer(9)))
    value = None if inverse is None else simplified(inverse.subs(level, 0))
    return [value if value is not None and _is_zero_of(function, value) else found[0]]


def _is_zero_of(function: Expr, place: Expr) -> bool:
    """Whether `place` is shown to be a positive zero of a function that has but one."""
    try:
        return sign(place) > 0 and vanishes(function.subs(u, place))
    except OpenError:
        return False
