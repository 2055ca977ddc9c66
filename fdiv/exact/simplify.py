"""Normal forms of expressions in u, the adjoint of a generator, and the limit of a family where its formula is 0/0."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import sympy
from sympy import Expr, Symbol

from fdiv.exact.comparison import is_positive
from fdiv.exact.symbols import DerivationError, u

_LONGEST_NUMBER = 10**12
_HIGHEST_DEGREE = 24  # of a denominator that is taken apart
_LARGEST_COMMON_ROOT = 120
_LARGEST_DEGREE, _LARGEST_ROOT, _LARGEST_RATE = 64, 24, 8  # p and q of u^(p/q), and k of e^(k u), in polynomials


def factored(expression: Expr) -> Expr:
    """Factor, or only expand where powers such as u^0.123456 would become polynomials of enormous degree."""
    exponents = [power.exp for power in expression.atoms(sympy.Pow) if power.exp.is_Rational]
    small = all(abs(exponent.p) <= _LARGEST_DEGREE and exponent.q <= _LARGEST_ROOT for exponent in exponents)
    if small and _common_root(exponents) <= _LARGEST_COMMON_ROOT:
        covered, names = covering(expression)
        return sympy.factor(sympy.together(covered)).xreplace(names)
    return sympy.powsimp(sympy.expand(expression))


def _common_root(exponents: Sequence[Any]) -> int:
    """Return the k for which u^(1/7) and u^(1/11) are both powers of one u^(1/k)."""
    return math.lcm(*(int(exponent.q) for exponent in exponents))


def covering(expression: Expr) -> tuple[Expr, dict[Expr, Expr]]:
    """Give powers and exponentials of high degree names of their own, and say what they stand for.

    SymPy's polynomials take u^0.123456789012 for the 30,864,197,253rd power of a root, and e^(50 u) for a 50th power.
    An identity between the names holds between what they stand for.
    """
    names: dict[Expr, Expr] = {}
    powers = [p for p in expression.atoms(sympy.Pow) if p.exp.is_Rational]
    apart = _common_root([p.exp for p in powers]) > _LARGEST_COMMON_ROOT
    wild = [p for p in powers if _is_wild(p.exp) or (apart and p.exp.q > 1)]
    wild += [e for e in expression.atoms(sympy.exp) if any(map(_is_long, e.args[0].atoms(sympy.Rational)))]
    known: dict[Expr, Expr] = {}
    for power in sorted(wild, key=sympy.default_sort_key):
        if 1 / power in names:
            known[power] = 1 / names[1 / power]
        else:
            names[power] = known[power] = sympy.Dummy("power", positive=True) if power.is_positive else sympy.Dummy()
    return expression.xreplace(known), {name: power for power, name in names.items()}


def _is_wild(exponent: sympy.Rational) -> bool:
    return bool(exponent.q > _LARGEST_ROOT or (abs(exponent.p) > _LARGEST_DEGREE and exponent.q > 1))


def _is_long(rate: sympy.Rational) -> bool:
    return bool(max(abs(rate.p), rate.q) > _LARGEST_RATE)


def flat(expression: Expr) -> Expr:
    """Write fractions of fractions, such as those that a mixture (a + b u) makes, as one of two polynomials.

    Multiplied out as they stand they grow with every level of the fraction.
    """

    def flattened(node: Any) -> Any:
        if isinstance(node, Expr) and node.is_rational_function(u):
            return sympy.factor(node) if _is_compound(node) else node
        return node.func(*map(flattened, node.args)) if node.args and node.has(u) else node

    result: Expr = flattened(expression)
    return result


def _is_compound(expression: Expr) -> bool:
    """Whether a sum under a power, or in a product, holds a fraction itself."""
    sums = [p.base for p in expression.atoms(sympy.Pow) if p.base.is_Add]
    return any(not total.is_polynomial(u) for total in sums)


def simplified(expression: Expr) -> Expr:
    """Return SymPy's simplification, in which powers of high degree are not taken apart.

    Only the expansion where numbers are so long that p log(q) would become log(q^p) with millions of digits.
    """
    if any(max(abs(number.p), number.q) > _LONGEST_NUMBER for number in expression.atoms(sympy.Rational)):
        return sympy.expand(expression)
    covered, names = covering(expression)
    return sympy.simplify(covered).xreplace(names)


def normal(expression: Expr) -> Expr:
    """Expand, split logarithms of products, and take partial fractions of the rational terms."""
    if all(atom == u or atom.is_Rational for atom in expression.atoms()) and expression.is_rational_function(u):
        return partial_fractions(sympy.factor(sympy.together(expression)))  # denominators multiplied out take minutes
    terms = sympy.Add.make_args(sympy.expand(split_logarithms(expression)))
    covered, names = covering(sympy.Add(*terms))
    return _in_normal_form(sympy.Add.make_args(covered)).xreplace(names)


def _in_normal_form(terms: Sequence[Expr]) -> Expr:
    """Collect equal logarithms, and take partial fractions of what is rational in u."""
    rational = [term for term in terms if term.is_rational_function(u)]
    transcendental = [term for term in terms if not term.is_rational_function(u)]
    polynomial = [term for term in rational if not sympy.denom(term).has(u)]
    fractions = [term for term in rational if sympy.denom(term).has(u)]  # alone: apart is slow over roots of 2
    rest = partial_fractions(sympy.together(sympy.Add(*fractions)))
    return sympy.Add(*_common_factors(transcendental), *polynomial, rest)


def partial_fractions(fraction: Expr) -> Expr:
    """Take partial fractions in u, whose cost grows as the cube of the degree; none where that is high."""
    if sympy.degree(sympy.denom(fraction), u) > _HIGHEST_DEGREE:
        return fraction
    covered, names = covering(fraction)  # 2^0.123456789012 is of a field that no memory holds
    return sympy.apart(covered, u).xreplace(names)


def split_logarithms(expression: Expr) -> Expr:
    """Split the logarithm of a product into those of the factors that are positive at sight, and one of the rest.

    log((u - 3)^2) stays, because 2 log(u - 3) is not real below 3.
    """

    def split(argument: Expr) -> Expr:
        parts, rest = [], sympy.S.One
        covered, names = covering(argument)  # e^(50 u) + 1 has factors of degree 40 in e^u
        for factor in sympy.Mul.make_args(sympy.factor(covered).xreplace(names)):
            base, exponent = factor.as_base_exp()
            if not is_positive(base) or not exponent.is_real:
                rest *= factor
            elif isinstance(factor, sympy.exp):
                parts.append(factor.args[0])
            else:
                parts.append(exponent * sympy.log(base))
        if rest.is_Mul and len(rest.args) == 2 and rest.args[0].is_number:
            rest = sympy.expand(rest)
        return sympy.Add(*parts, sympy.expand_log(sympy.log(rest)) if rest != 1 else 0)

    return expression.replace(sympy.log, split)


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
    return split_logarithms(sympy.expand(u * flat(generator).subs(u, 1 / u)))


def on_one_base(expression: Expr) -> Expr:
    """Write 2^u 3^(-u), whose factors grow without bound or vanish, as (2/3)^u, in every product."""

    def joined(product: Expr) -> Expr:
        powers = [factor for factor in product.args if factor.is_Pow and factor.base.is_Rational and factor.exp.has(u)]
        if len(powers) < 2:
            return product
        others = sympy.Mul(*(factor for factor in product.args if factor not in powers))
        return others * sympy.powsimp(sympy.Mul(*powers), combine="base")

    return expression.replace(lambda part: part.is_Mul, joined)
