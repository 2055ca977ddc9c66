"""Expansions of an expression in u at infinity (at zero: of f(1/u)) in terms c u^p (log u)^n, with exact coefficients.

Each subexpression becomes a finite sum and a bound O(u^floor) on what is left out, so that a limit or a leading
term is read off and never guessed. It takes sums, products, powers, log, exp and erf near 0; SymPy's Gruntz algorithm,
which is a hundred times slower, is left for the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy
from sympy import Expr, Rational, Symbol

from fdiv.exact.comparison import sign
from fdiv.exact.constants import OpenError
from fdiv.exact.symbols import u

_WIDTHS = (2, 5, 12)  # how far below the leading power an expansion reaches
_MOST_TERMS = 400
_SCALES = 3  # exponentials that are tried as the largest term of a logarithm's argument
_ZERO = sympy.S.Zero
Power = tuple[Expr, int]


class UnknownExpansion(ArithmeticError):  # noqa: N818  (named as the fault)
    """The expression has no expansion in powers and logarithms, or none was found."""


@dataclass(frozen=True)
class Series:
    """The sum of c u^p (log u)^n over `terms`, up to O(u^floor); `floor` is -inf where it is exact."""

    terms: dict[Power, Expr]
    floor: Expr

    @property
    def leading(self) -> tuple[Expr, Power]:
        """The coefficient and power of the largest term."""
        if not self.terms:
            raise UnknownExpansion("every term that was found cancels")
        power = max(self.terms)
        return self.terms[power], power


def terms_above(expression: Expr, lowest: Expr) -> dict[Power, Expr]:
    """Return {(p, n): c}, every term of the expansion at infinity with p >= lowest; raises UnknownExpansion."""
    for width in _WIDTHS:
        series = _expand(expression, sympy.Integer(width))
        if series.floor < lowest:
            return {power: c for power, c in series.terms.items() if power[0] >= lowest}
    raise UnknownExpansion(f"the expansion of {expression} does not reach u^{lowest}")


def limit_at_infinity(expression: Expr) -> Expr:
    """Return the limit as u -> inf, possibly infinite; raises UnknownExpansion."""
    terms = terms_above(expression, _ZERO)
    if not terms:
        return _ZERO
    power = max(terms)
    return terms[power] if power == (0, 0) else sympy.oo * _sign(terms[power])


def limit_at_zero(expression: Expr, symbol: Symbol) -> Expr:
    """Return the limit of an expression in a positive symbol as it falls to 0; raises UnknownExpansion.

    An erf(a/sqrt(s) + ...) tends to the sign of a faster than any power of s, and so does e^(-c/s + ...) to 0. They are
    replaced by those limits, which is exact where nothing beside them grows faster than powers of s and log s do.
    """

    def scaled(argument: Expr, scale: Expr) -> int:
        leading = sympy.expand(argument * scale).subs(symbol, 0)
        if not leading.is_finite:
            raise UnknownExpansion(f"{argument} outgrows what is known at 0")
        return _sign(leading)

    def error(argument: Expr) -> Expr:
        return sympy.Integer(scaled(argument, sympy.sqrt(symbol))) or sympy.erf(argument)

    def exponential(argument: Expr) -> Expr:
        return _ZERO if scaled(argument, symbol) < 0 else sympy.exp(argument)

    for node in expression.atoms(sympy.Function, sympy.Pow):
        grows = (
            scaled(node.args[0], symbol) > 0 if isinstance(node, sympy.exp) else node.is_Pow and node.exp.has(symbol)
        )
        if grows or not isinstance(node, sympy.Pow | sympy.exp | sympy.log | sympy.erf):
            raise UnknownExpansion(f"{node} may outgrow every power at 0")
    plain = expression.replace(sympy.erf, error).replace(sympy.exp, exponential)
    return limit_at_infinity(sympy.expand(plain.subs(symbol, u**-2)))


def _sign(coefficient: Expr) -> int:
    try:
        return sign(coefficient)
    except OpenError as error:
        raise UnknownExpansion(str(error)) from error


def _expand(node: Expr, width: Expr) -> Series:
    if node == u:
        return Series({(sympy.S.One, 0): sympy.S.One}, -sympy.oo)
    if not node.has(u):
        return Series({} if node == 0 else {(_ZERO, 0): node}, -sympy.oo)
    if node.is_Add:
        return _sum([_expand(argument, width) for argument in node.args])
    if node.is_Mul:
        result, *others = [_expand(argument, width) for argument in node.args]
        for other in others:
            result = _product(result, other, width)
        return result
    if node.is_Pow and not node.exp.has(u):
        return _power(_expand(node.base, width), node.exp, width)
    if isinstance(node, sympy.log):
        return _expand_log(node.args[0], width)
    if isinstance(node, sympy.exp):
        return _exp(_expand(node.args[0], width), width)
    if isinstance(node, sympy.erf):
        return _erf(_expand(node.args[0], width), width)
    if node.is_Pow:
        return _exp(_expand(node.exp * sympy.log(node.base), width), width)
    raise UnknownExpansion(f"{node.func.__name__} has no expansion in powers and logarithms")


def _expand_log(argument: Expr, width: Expr) -> Series:
    """Expand log g, or a + log(g e^-a) for an e^a in g that outgrows all else, such as that of log(1 + e^u)."""
    try:
        return _log(_expand(argument, width), width)
    except UnknownExpansion:
        for scale in sorted((e for e in argument.atoms(sympy.exp) if e.has(u)), key=sympy.default_sort_key)[:_SCALES]:
            rest = sympy.expand(argument / scale)
            if not any(_outgrows(e) for e in rest.atoms(sympy.exp)):
                return _sum([_expand(scale.args[0], width), _log(_expand(rest, width), width)])
        raise


def _outgrows(exponential: Expr) -> bool:
    """Whether e^a outgrows every power, by the leading term of a."""
    c, (p, _) = _expand(exponential.args[0], sympy.S.One).leading
    return bool(p > 0) and _sign(c) > 0


def _sum(parts: list[Series]) -> Series:
    floor = max(part.floor for part in parts)
    terms: dict[Power, Expr] = {}
    for part in parts:
        for power, coefficient in part.terms.items():
            terms[power] = terms.get(power, _ZERO) + coefficient
    kept = {p: sympy.expand(c) for p, c in terms.items() if p[0] > floor}
    return Series({p: c for p, c in kept.items() if not _vanishes(c)}, floor)


def _vanishes(coefficient: Expr) -> bool:
    if coefficient.is_Rational:
        return bool(coefficient == 0)
    return _sign(coefficient) == 0


def _product(a: Series, b: Series, width: Expr) -> Series:
    if (not a.terms and a.floor == -sympy.oo) or (not b.terms and b.floor == -sympy.oo):
        return Series({}, -sympy.oo)
    tops = [max(p for p, _ in x.terms) if x.terms else x.floor for x in (a, b)]
    floor = max(a.floor + tops[1], b.floor + tops[0])
    if len(a.terms) * len(b.terms) > 4:  # a product of short sums stays exact; a long one is cut below the width
        floor = max(floor, tops[0] + tops[1] - width)
    if len(a.terms) * len(b.terms) > _MOST_TERMS:
        raise UnknownExpansion("the expansion has too many terms")
    parts = [
        Series({(p + q, m + n): c * d}, floor)
        for (p, m), c in a.terms.items()
        for (q, n), d in b.terms.items()
        if p + q > floor
    ]
    return _sum([Series({}, floor), *parts])


def _scaled(series: Series, coefficient: Expr, power: Expr) -> Series:
    terms = {(p + power, n): c * coefficient for (p, n), c in series.terms.items()}
    return Series(terms, series.floor + power)


def _composed(small: Series, coefficients: list[Expr], width: Expr) -> Series:
    """Return sum of coefficients[j] small^j, whose next term is below the width or beyond all coefficients."""
    result, power = Series({}, -sympy.oo), Series({(_ZERO, 0): sympy.S.One}, -sympy.oo)
    for coefficient in coefficients:
        result = _sum([result, _scaled(power, coefficient, _ZERO)])
        power = _product(power, small, width)
        if not power.terms:
            break
    # what follows the last coefficient is O(small^j): its leading power bounds what is left out
    top = max(p for p, _ in power.terms) if power.terms else power.floor
    floor = max(result.floor, top)
    return Series({p: c for p, c in result.terms.items() if p[0] > floor}, floor)


def _relative(base: Series) -> tuple[Expr, Expr, Series]:
    """Split base = c u^p (1 + small); powers and logarithms of 1 + small are series in small."""
    c, (p, n) = base.leading
    rest = {power: value for power, value in base.terms.items() if power != (p, n)}
    if n != 0 or any(q == p for q, _ in rest):
        raise UnknownExpansion("a power or logarithm of a logarithm")
    return c, p, _scaled(Series(rest, base.floor), 1 / c, -p)


def _order(small: Series, width: Expr) -> int:
    """How many powers of `small` reach below the width."""
    if not small.terms:
        return 1
    top = -max(p for p, _ in small.terms)
    order = int(sympy.ceiling(width / top)) + 1
    if order > 60:
        raise UnknownExpansion("the expansion converges too slowly")
    return order


def _power(base: Series, power: Expr, width: Expr) -> Series:
    c, p, small = _relative(base)
    if not power.is_Integer and _sign(c) <= 0:
        raise UnknownExpansion("a real power of a negative number")
    if power.is_Integer and power >= 0 and not small.terms and small.floor == -sympy.oo:
        return Series({(p * power, 0): c**power}, -sympy.oo)
    order = int(power) + 1 if power.is_Integer and power >= 0 else _order(small, width)
    coefficients = [sympy.ff(power, j) / sympy.factorial(j) for j in range(order)]  # the binomial series
    return _scaled(_composed(small, coefficients, width), c**power, p * power)


def _log(base: Series, width: Expr) -> Series:
    c, p, small = _relative(base)
    if _sign(c) <= 0:
        raise UnknownExpansion("a logarithm of a negative number")
    # log(c u^p (1 + small)) = log c + p log u + small - small^2/2 + ...
    coefficients = [_ZERO, *(Rational((-1) ** (j + 1), j) for j in range(1, _order(small, width) + 1))]
    head = Series({(_ZERO, 0): sympy.log(c), (_ZERO, 1): p}, -sympy.oo)
    return _sum([head, _composed(small, coefficients, width)])


def _exp(argument: Series, width: Expr) -> Series:
    if not argument.terms:
        raise UnknownExpansion("the exponential of an unknown remainder")
    c, (p, n) = argument.leading
    if p > 0:
        if _sign(c) > 0:
            raise UnknownExpansion("an exponential that outgrows every power")
        return Series({}, sympy.Integer(-1000))  # smaller than every power
    if n > 1:
        raise UnknownExpansion("an exponential of a square of a logarithm")
    # exp(b + a log u + small) = e^b u^a exp(small)
    constant, logarithm = argument.terms.get((_ZERO, 0), _ZERO), argument.terms.get((_ZERO, 1), _ZERO)
    small = Series({q: d for q, d in argument.terms.items() if q[0] < 0}, argument.floor)
    coefficients = [1 / sympy.factorial(j) for j in range(_order(small, width) + 1)]
    return _scaled(_composed(small, coefficients, width), sympy.exp(constant), logarithm)


def _erf(small: Series, width: Expr) -> Series:
    if small.floor >= 0 or any(p >= 0 for p, _ in small.terms):
        raise UnknownExpansion("an error function of what does not tend to 0")
    # 2/sqrt(pi) (x - x^3/3 + x^5/10 - ...)
    orders = range(_order(small, width) + 1)
    coefficients = [Rational((-1) ** (j // 2), j) / sympy.factorial(j // 2) if j % 2 else _ZERO for j in orders]
    return _composed(small, [2 / sympy.sqrt(sympy.pi) * c for c in coefficients], width)
