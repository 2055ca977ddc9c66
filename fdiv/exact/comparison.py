"""The sign of a real constant and the order of two: by enclosures and exact arguments, or not at all.

Ball arithmetic tells a constant from zero; that one *is* zero is shown by identities: logarithms of rational numbers
written in those of primes, polynomials in independent symbols for what is transcendental, and for algebraic numbers
the separation bound of Burnikel, Funke, Mehlhorn, Schirra and Schmitt (2001), below which only zero lies. Where
neither decides within the counted limits an OpenError is raised, and the claim that asked is open.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache, cmp_to_key
from typing import Any

import sympy
from flint import arb, ctx
from sympy import Expr

from fdiv.exact.constants import OpenError, constant_ball, exact
from fdiv.exact.symbols import in_primes

PRECISIONS = (64, 128, 256, 512, 1024, 2048)
"""Bits at which a constant is enclosed, one after the other."""
_IDENTITIES_AT = 256  # bits that must not have told the constant from zero before identities are tried
_MOST_BITS = 1 << 14  # of a separation bound
_MOST_OPERATIONS = 200
_MOST_MIXED = 16  # terms of a sum of both signs whose sign is asked at sight
_SIMPLEST = 10**6
_LONGEST_NUMBER = 10**12  # SymPy would write p log(q) as log(q^p)
_HIGHEST_DEGREE = 200  # in e, as which SymPy factors what holds exp(200)


def sign(constant: Expr) -> int:
    """Return -1, 0 or 1, the sign of a real constant, possibly infinite.

    Raises:
        OpenError: it is not told from zero at any precision, nor shown to be zero, or no real number.
    """
    if constant.is_Rational or constant in (sympy.oo, -sympy.oo):
        return int(bool(constant > 0)) - int(bool(constant < 0))
    return _sign(constant)


@cache
def _sign(constant: Expr) -> int:
    for bits in PRECISIONS:
        with ctx.workprec(bits):
            ball = constant_ball(constant)
        if ball > 0 or ball < 0:
            return 1 if ball > 0 else -1
        if bits == _IDENTITIES_AT and vanishes(constant):
            return 0
    raise OpenError(f"whether {constant} is zero is not decided in {PRECISIONS[-1]} bits")


def compare(first: Expr, second: Expr) -> int:
    """Return the sign of first - second, for real constants or infinities; raises OpenError as `sign` does."""
    return 0 if first == second else sign(first - second)


def inside(place: Expr, lower: Expr, upper: Expr) -> bool:
    """Whether lower < place < upper; raises OpenError where that is not decided."""
    return compare(lower, place) < 0 and compare(place, upper) < 0


def in_order(places: list[Expr]) -> list[Expr]:
    """Return the places in increasing order, equal ones once; raises OpenError where their order is not decided."""
    found: list[Expr] = []
    for place in sorted(dict.fromkeys(places), key=cmp_to_key(compare)):
        if not found or compare(found[-1], place) != 0:
            found.append(place)
    return found


def is_positive(expression: Expr, strict: bool = True) -> bool:
    """Whether an expression in positive symbols is positive (or at least 0 if not `strict`) at sight, term by term.

    SymPy decides by the signs of what it adds, multiplies and raises; the signs of irrational numbers come from here,
    since its own are those of a few digits.
    """
    if not expression.is_number or expression.has(sympy.I):
        if any(map(_long_and_mixed, expression.atoms(sympy.Add))):
            return False
        expression = _with_certain_numbers(expression)
        return bool(expression.is_positive or (not strict and expression.is_nonnegative))
    try:
        return sign(expression) >= int(strict)
    except OpenError:
        return False


def _long_and_mixed(total: Expr) -> bool:
    """Whether a sum has terms of both signs and so many that SymPy takes seconds to find out nothing."""
    return len(total.args) > _MOST_MIXED and any(term.could_extract_minus_sign() for term in total.args)


def _with_certain_numbers(node: Expr) -> Expr:
    """Replace irrational numbers by symbols that have their sign, but not exponents."""
    if node.is_Rational or not node.args:
        return node
    if node.is_number:
        try:
            return _OF_SIGN[sign(node)]()
        except OpenError:
            return sympy.Dummy("open")
    if node.is_Pow and node.exp.is_number:
        return _with_certain_numbers(node.base) ** node.exp
    if node.is_Add or node.is_Mul:
        numbers = [argument for argument in node.args if argument.is_number]
        others = [_with_certain_numbers(argument) for argument in node.args if not argument.is_number]
        return node.func(_with_certain_numbers(node.func(*numbers)), *others)
    return node.func(*map(_with_certain_numbers, node.args))


_OF_SIGN = {
    1: lambda: sympy.Dummy("plus", positive=True),
    0: lambda: sympy.S.Zero,
    -1: lambda: sympy.Dummy("minus", negative=True),
}


def between(lower: Expr, upper: Expr, share: sympy.Rational) -> sympy.Rational:
    """Return a rational number certainly inside (lower, upper), about at that share; `upper` may be infinite."""
    infinite = upper == sympy.oo
    if lower.is_Rational and (infinite or upper.is_Rational):
        return lower + (share / (1 - share) if infinite else (upper - lower) * share)
    for bits in PRECISIONS:
        with ctx.workprec(bits):
            low = constant_ball(lower)
            high = low + exact(1 / (1 - share)) if infinite else constant_ball(upper)
            near = _middle(low + (high - low) * exact(share))
            for point in (near.limit_denominator(_SIMPLEST), near):
                if low < exact(point) and (infinite or exact(point) < high):
                    return sympy.Rational(point.numerator, point.denominator)
    raise OpenError(f"no number between {lower} and {upper} was found")


def _middle(ball: Any) -> Fraction:
    if not ball.is_finite():
        return Fraction(0)
    mantissa, exponent = ball.mid().man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


@cache
def vanishes(constant: Expr) -> bool:
    """Whether a constant is shown to be zero; False says nothing."""
    if constant.is_Rational:
        return bool(constant == 0)
    if constant.has(sympy.nan, sympy.zoo, sympy.oo) or constant.count_ops() > _MOST_OPERATIONS:
        return False
    numerator = sympy.expand(sympy.fraction(sympy.together(_in_primes(constant)))[0])
    kinds = (sympy.Function, sympy.NumberSymbol, sympy.Pow)
    atoms = {a for a in numerator.atoms(*kinds) if a.is_number and not _is_algebraic(a)}
    outer = {a for a in atoms if not any(a != b and b.has(a) for b in atoms)}
    symbols = {a: sympy.Dummy("transcendental", positive=True) for a in outer}
    replaced = numerator.xreplace(symbols)
    try:
        coefficients = sympy.Poly(replaced, *symbols.values()).coeffs() if symbols else [replaced]
    except sympy.PolynomialError:
        coefficients = []
    if coefficients and all(_is_algebraic_zero(c) for c in coefficients):
        return True
    long = any(max(abs(number.p), number.q) > _LONGEST_NUMBER for number in constant.atoms(sympy.Rational))
    return not long and _degree(constant) <= _HIGHEST_DEGREE and bool(sympy.simplify(constant) == 0)


def _degree(constant: Expr) -> Expr:
    """Return the degree that its exponentials have as powers of common ones, or its roots if that is higher."""
    rates = [power.args[0].as_coeff_Mul(rational=True)[0] for power in constant.atoms(sympy.exp)]
    orders = [int(power.exp.q) for power in constant.atoms(sympy.Pow) if power.exp.is_Rational]
    return max(max(map(abs, rates), default=0) * math.lcm(*(int(rate.q) for rate in rates)), math.lcm(*orders))


def _in_primes(constant: Expr) -> Expr:
    """Write log of a positive rational number as a sum over its prime factors; a large factor stays whole."""

    def logarithm(argument: Expr) -> Expr:
        if not (argument.is_Rational and argument > 0):
            return sympy.log(argument)
        return sympy.Add(*(power * sympy.log(prime) for prime, power in in_primes(argument).items()))

    def exponential(argument: Expr) -> Expr:
        lambert = [w for w in argument.atoms(sympy.LambertW) if argument.coeff(w).is_Integer]
        if not lambert:
            return sympy.exp(argument)
        times = argument.coeff(lambert[0])  # e^W(z) = z/W(z)
        rest = sympy.exp(argument - times * lambert[0])
        return rest * (lambert[0].args[0] / lambert[0]) ** times

    def factored(argument: Expr) -> Expr:
        return sympy.log(sympy.factor(argument) if _degree(argument) <= _HIGHEST_DEGREE else argument)

    split = sympy.expand_log(constant.replace(sympy.log, factored), force=False)
    return sympy.expand(split.replace(sympy.log, logarithm).replace(sympy.exp, exponential))


def _is_algebraic(number: Expr) -> bool:
    """Whether it is built from rational numbers and rational powers, or one root of a polynomial."""
    if number.is_Rational or isinstance(number, sympy.polys.rootoftools.ComplexRootOf):
        return True
    if number.is_Pow:
        return number.exp.is_Rational and _is_algebraic(number.base)
    return (number.is_Add or number.is_Mul) and all(map(_is_algebraic, number.args))


def _is_algebraic_zero(number: Expr) -> bool:
    """Whether an algebraic number is shown to be zero."""
    if number.is_Rational:
        return bool(number == 0)
    if not _is_algebraic(number):
        return False
    roots = number.atoms(sympy.polys.rootoftools.ComplexRootOf)
    if roots:
        (root, *others), x = roots, sympy.Dummy("x")
        numerator = sympy.fraction(sympy.together(number.xreplace({root: x})))[0]
        if others or not numerator.is_polynomial(x):
            return False
        # the root's polynomial is irreducible: every other polynomial that vanishes there is a multiple of it
        return bool(sympy.rem(numerator, root.expr.subs(root.poly.gen, x), x) == 0)
    if _cancels(number):
        return True
    try:
        bits = separation(number)
    except OpenError:
        return False
    with ctx.workprec(bits + 128):
        return bool(constant_ball(number).abs_upper() < arb(2) ** -bits)


def _cancels(number: Expr) -> bool:
    """Whether the terms are products of powers of positive rational numbers that cancel once written in primes."""
    sums: dict[frozenset[tuple[int, Expr]], Expr] = {}
    for term in sympy.Add.make_args(sympy.expand(number)):
        size, rest = term.as_coeff_Mul(rational=True)
        orders: dict[int, Expr] = {}
        for base, power in (factor.as_base_exp() for factor in sympy.Mul.make_args(rest)):
            if not (base.is_Rational and base > 0 and power.is_Rational):
                return False
            for prime, order in in_primes(base).items():
                orders[prime] = orders.get(prime, sympy.S.Zero) + order * power
        size *= math.prod(sympy.Integer(prime) ** sympy.floor(order) for prime, order in orders.items())
        left = frozenset((prime, order % 1) for prime, order in orders.items() if order % 1)
        sums[left] = sums.get(left, sympy.S.Zero) + size
    return not any(sums.values())


def separation(number: Expr) -> int:
    """Return n such that a number written in roots exceeds 2^-n in size, or is zero.

    Raises:
        OpenError: it is not written in rational numbers and roots, or n is too large to compute with.
    """
    orders: dict[tuple[Expr, int], int] = {}
    upper, lower = _separation(number, orders)
    bits = (math.prod(orders.values()) - 1) * upper + lower + 1
    if bits > _MOST_BITS:
        raise OpenError(f"{number} may be as small as 2^-{bits}")
    return bits


def _separation(number: Expr, orders: dict[tuple[Expr, int], int]) -> tuple[int, int]:
    """Return upper bounds of log2 u and log2 l of the separation bound, and collect the orders of the roots.

    The rules: a fraction p/q has u = |p| and l = q; a sum u1 l2 + l1 u2 and l1 l2; a product u1 u2 and l1 l2; an
    inverse l and u; a k-th root u^(1/k) l^((k-1)/k) and l where u >= l, else u and l^(1/k) u^((k-1)/k).
    """
    if number.is_Rational:
        return abs(int(number.p)).bit_length(), int(number.q).bit_length()
    if number.is_Add or number.is_Mul:
        (above, below), *others = [_separation(part, orders) for part in number.args]
        for u, v in others:
            above = max(above + v, below + u) + 1 if number.is_Add else above + u
            below += v
        return above, below
    if not (number.is_Pow and number.exp.is_Rational):
        raise OpenError(f"{number} is not written in roots")
    above, below = _separation(number.base, orders)
    k, power = int(number.exp.q), abs(int(number.exp.p))
    if k > 1:
        orders[number.base, k] = k
        if above >= below:
            above = -(-(above + (k - 1) * below) // k)
        else:
            below = -(-(below + (k - 1) * above) // k)
    return (above * power, below * power) if number.exp > 0 else (below * power, above * power)
