"""From u to v = log u: forms that survive |v| = 80 in single precision.

Products are added up in the exponent, positive sums become softplus, other sums are divided by a power of 1 + u, and
a constant that cancels becomes expm1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, reduce
from typing import Any, Literal

import mpmath
import numpy as np
import sympy
from sympy import Expr
from sympy.codegen.cfunctions import expm1

from fdiv.derive.generator import Piece
from fdiv.exact.simplify import factored, normal, on_one_base
from fdiv.exact.symbols import DerivationError, u, v
from fdiv.numeric.backends import MPMATH, Backend, numpy_backend
from fdiv.numeric.lower import lower
from fdiv.numeric.rewrite import cancelled, softplus

_MOST_OPERATIONS = 1000  # of a form, which is evaluated thousands of times
_MOST_REWRITTEN = 600  # of a form that is rewritten once more
_LONGEST_CHAIN = 6  # of softplus inside softplus, each of which a reflection writes twice

_REACHES = (80.0, 44.0, 20.0, 9.0)
_Scaled = Literal["none", "powers", "factors"]
_KINDS: tuple[tuple[_Scaled, ...], ...] = (("none", "powers"), ("factors",))


@cache
def in_log_ratio(expression: Expr, piece: Piece, positive: bool = False) -> Expr:
    """Rewrite an expression in u as one in v = log u that is accurate in fp32 for v in [-80, 80].

    Several forms are tried, and the shortest of those about as accurate as the best is returned: which form
    is stable is a fact to be measured, not a rule to be guessed. A `positive` expression is judged by its
    relative error. Only ratios inside `piece` count. Where every form overflows, it is one for v in [-44, 44] or fewer.
    Raises DerivationError where there is none.
    """
    candidates: list[Expr] = []
    for kinds in _KINDS:
        candidates = list(dict.fromkeys([*candidates, *_candidates(expression, kinds)]))
        found = _best(candidates, expression, piece, positive, _REACHES[0])
        if found is not None:
            return found
    nearer = (_best(candidates, expression, piece, positive, reach) for reach in _REACHES[1:])
    found = next((form for form in nearer if form is not None), None)
    if found is None:
        raise DerivationError(f"no form of {expression} in log u with {_MOST_OPERATIONS} operations is stable")
    return found


def _best(candidates: list[Expr], expression: Expr, piece: Piece, positive: bool, reach: float) -> Expr | None:
    errors = [log_ratio_error(candidate, expression, piece, positive, reach) for candidate in candidates]
    if min(errors, default=math.inf) == math.inf:
        return None
    good = [c for c, error in zip(candidates, errors, strict=True) if error <= 4 * min(errors)]
    return min(good, key=lambda form: (form.count_ops(), sympy.default_sort_key(form)))


def _candidates(expression: Expr, kinds: tuple[_Scaled, ...]) -> list[Expr]:
    """Return forms of an expression in u in v = log u, none of them long."""
    forms = [expression, normal(expression), factored(expression), _multiplied(expression), _gathered(expression)]
    if any(power.exp.has(u) for power in expression.atoms(sympy.Pow)):
        forms.append(on_one_base(sympy.expand(expression)))
    rewritten = _short(_logarithmic(form, scaled) for form in dict.fromkeys(forms) for scaled in kinds)
    rewritten += [_reflected(form) for form in rewritten]
    if expression.has(sympy.exp):
        rewritten += [_apart(form) for form in rewritten]
    variants = (g for f in _short(rewritten) for g in (cancelled(f, v), _deeply(f), f))
    return [form for form in dict.fromkeys(variants) if form.count_ops() <= _MOST_OPERATIONS]


def _short(forms: Iterable[Expr]) -> list[Expr]:
    return [form for form in dict.fromkeys(forms) if form.count_ops() <= _MOST_REWRITTEN]


def _logarithmic(node: Expr, scaled: _Scaled) -> Expr:
    """Write u as e^v, and powers and logs of sums through logarithms.

    Those of positive sums alone, or also of what is to be `scaled`: all powers and logs, or sums that are factors too.
    """
    if node == u:
        return sympy.exp(v)
    if isinstance(node, sympy.log) or (node.is_Pow and node.base.is_Add and not node.exp.has(u)):
        total, power = (node.args[0], None) if isinstance(node, sympy.log) else node.as_base_exp()
        found = _log_of_sum(total, scaled != "none")
        if found is None:
            return node.subs(u, sympy.exp(v))
        logarithm, rest = found
        if power is None:
            return logarithm + sympy.log(rest)
        return _collect_exponent([sympy.exp(power * logarithm), rest**power])
    if node.is_Mul:
        return _collect_exponent([_factor(argument, scaled) for argument in node.args])
    return node.func(*(_logarithmic(argument, scaled) for argument in node.args)) if node.args else node


def _factor(node: Expr, scaled: _Scaled) -> Expr:
    found = _log_of_sum(node, True) if scaled == "factors" and node.is_Add else None
    return _logarithmic(node, scaled) if found is None else sympy.exp(found[0]) * found[1]


def _collect_exponent(factors: list[Expr]) -> Expr:
    factors = [part for factor in factors for part in sympy.Mul.make_args(factor)]
    exponents = [factor.args[0] for factor in factors if isinstance(factor, sympy.exp)]
    rest = [factor for factor in factors if not isinstance(factor, sympy.exp)]
    return sympy.Mul(*rest, sympy.exp(sympy.expand(sympy.Add(*exponents))))


def _log_of_sum(total: Expr, scaled: bool) -> tuple[Expr, Expr] | None:
    """Return (a, r) with total = r e^a, neither of which overflows, or None unless it is a sum of monomials c u^p.

    A short positive sum is a chain of softplus, with r = 1. Any other is `scaled` by (1 + u)^n, n the span of its
    powers p: u^p / (1 + u)^n is at most 1.
    """
    if total.has(sympy.exp):
        return _log_of_exponentials(total)
    monomials = []
    for term in sympy.Add.make_args(sympy.expand(total)):
        coefficient, power = term.as_independent(u, as_Add=False)
        base, exponent = power.as_base_exp()
        if (base != u and power != 1) or exponent.has(u):
            return None
        monomials.append((exponent if power != 1 else sympy.S.Zero, coefficient))
    monomials.sort(key=lambda pair: float(pair[0]))
    positive = all(coefficient.is_positive for _, coefficient in monomials)
    if positive and len(monomials) <= _LONGEST_CHAIN:
        return _chain([sympy.log(coefficient) + exponent * v for exponent, coefficient in monomials]), sympy.S.One
    if not scaled:
        return None
    low, high = monomials[0][0], monomials[-1][0]
    shares = (c * sympy.exp((low - p) * softplus(-v) + (p - high) * softplus(v)) for p, c in monomials)
    return low * v + (high - low) * softplus(v), sympy.Add(*shares)


def _chain(logs: list[Expr]) -> Expr:
    """The logarithm of a sum of exponentials, the largest for large v last."""
    return reduce(lambda larger, smaller: smaller + softplus(sympy.expand(larger - smaller)), reversed(logs))


def _log_of_exponentials(total: Expr) -> tuple[Expr, Expr] | None:
    """The same for a positive sum of two terms c e^a, such as 1 + e^(u - 2)."""
    logs = []
    for term in sympy.Add.make_args(sympy.expand(total, power_exp=False)):
        coefficient, rest = term.as_independent(u, as_Add=False)
        exponents = [factor.args[0] for factor in sympy.Mul.make_args(rest) if isinstance(factor, sympy.exp)]
        if not coefficient.is_positive or sympy.Mul(*map(sympy.exp, exponents)) != rest:
            return None
        constant = coefficient.args[0] if isinstance(coefficient, sympy.exp) else sympy.log(coefficient)
        logs.append(constant + sympy.Add(*exponents).subs(u, sympy.exp(v)))
    logs.sort(key=lambda log: log.has(v))
    return (_chain(logs), sympy.S.One) if len(logs) == 2 else None


def _reflected(expression: Expr) -> Expr:
    """Write softplus(x) as x + softplus(-x), which is better where x cancels against another term."""
    return sympy.expand(expression.replace(softplus, lambda x: x + softplus(sympy.expand(-x))), power_exp=False)


def _multiplied(expression: Expr) -> Expr:
    """Multiply out factors with a common real power, which turns (u + 1)(u^2 - u + 1) into the positive sum u^3 + 1."""
    if not expression.is_Mul:
        return expression
    bases: dict[Expr, Expr] = {}
    for factor in expression.args:
        base, power = factor.as_base_exp()
        key = power if base.is_Add else sympy.S.Zero
        bases[key] = bases.get(key, sympy.S.One) * (base if base.is_Add else factor)
    rest = bases.pop(sympy.S.Zero, sympy.S.One)
    return rest * sympy.Mul(*(sympy.expand(base) ** power for power, base in bases.items()))


def _gathered(expression: Expr) -> Expr:
    """Take a power of a sum out of terms whose powers of it differ by integers: w (1+w)^p - (1+w)^(p+1) = -(1+w)^p."""
    groups: dict[tuple[Expr, Expr], list[tuple[Expr, Expr]]] = {}
    for term in sympy.Add.make_args(sympy.expand(expression)):
        roots = [p for p in sympy.Mul.make_args(term) if p.is_Pow and p.base.is_Add and not p.exp.is_Integer]
        base, power = roots[0].as_base_exp() if roots and roots[0].exp.is_Rational else (sympy.S.One, sympy.S.Zero)
        groups.setdefault((base, power % 1), []).append((power, term / base**power))
    parts = []
    for (base, _), terms in groups.items():
        lowest = min(power for power, _ in terms)
        parts.append(base**lowest * sympy.expand(sympy.Add(*(rest * base ** (p - lowest) for p, rest in terms))))
    return sympy.Add(*parts)


def _apart(expression: Expr) -> Expr:
    """Write e^{p v + y} as e^{p v} (expm1(y) + 1) and expand, so that u/(1 + e^-y) - u is u expm1(-softplus(-y))."""

    def split(exponent: Expr) -> Expr:
        powers = [term for term in sympy.Add.make_args(exponent) if (term / v).is_number]
        rest = exponent - sympy.Add(*powers)
        return sympy.exp(sympy.Add(*powers)) * (expm1(rest) + 1) if rest.has(softplus) else sympy.exp(exponent)

    return sympy.expand(expression.replace(sympy.exp, split), power_exp=False)


def _deeply(node: Expr) -> Expr:
    """Cancel the constants of every sum inside, such as 1 - e^v under a root."""
    if not node.args:
        return node
    inner = node.func(*map(_deeply, node.args))
    return cancelled(inner, v) if inner.is_Add else inner


def log_ratio_error(
    candidate: Expr, expression: Expr, piece: Piece, positive: bool = False, reach: float = 80.0
) -> float:
    """Return the largest fp32 error of `candidate` on the piece, relative to |true value| or 1e-3 if signed.

    Only |v| up to `reach` counts; infinite where the piece lies beyond.
    """
    grid, truth = _truth(expression, piece, reach)
    if not len(grid):
        return math.inf
    limits = np.finfo(np.float32)
    with np.errstate(all="ignore"):
        values = lower(candidate, v, _single_precision())(grid).astype(float)
        floor = 16 * float(limits.tiny) if positive else 1e-3
        error = np.abs(values - truth) / np.maximum(floor, np.abs(truth))
    finite = np.abs(truth) < float(limits.max) / 16
    return float(np.max(np.where(np.isfinite(values), error, np.inf)[finite], initial=0.0))


@cache
def _truth(expression: Expr, piece: Piece, reach: float) -> tuple[Any, Any]:
    """Return v on the piece, in fp32, and the values of `expression` there."""
    points = np.array([0, 1e-3, 0.1, 0.7, 2, 5, 9, 14, 17, 20, 31, 44, 60, 80], dtype=np.float32)
    points = points[points <= reach]
    grid = np.concatenate([-points[:0:-1], points])
    low = float(sympy.log(piece.lower)) if piece.lower != 0 else -np.inf
    high = float(sympy.log(piece.upper))
    inside = grid[(low < grid) & (grid < high)]
    if not len(inside) and math.isfinite(high - low):  # a narrow piece
        inside = np.array([(low + high) / 2], dtype=np.float32)
    with mpmath.workdps(90):
        exact = lower(expression, u, MPMATH)
        return inside, np.array([float(exact(mpmath.exp(float(x)))) for x in inside])


@cache
def _single_precision() -> Backend:
    """Return NumPy with every function rounded from double precision, so that all machines choose the same form.

    What NumPy computes in single precision differs in the last digit from one processor to the next.
    """

    def rounded(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, *power: function(np.float64(x), *power).astype(np.float32)

    backend = numpy_backend()
    functions = {name: rounded(function) for name, function in backend.functions.items()}
    return replace(backend, functions=functions, power=rounded(backend.power))
