"""What the command line says of a divergence: rows of the catalogue, derived facts, numbers, relations."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import mpmath
import sympy
from sympy import Expr, Rational, Symbol

from fdiv.catalog import CATALOG
from fdiv.equivalence import Relation, equivalents
from fdiv.evidence.certificate import Refused, certify
from fdiv.evidence.signs import in_many_digits
from fdiv.exact.domain import Interval
from fdiv.exact.symbols import DerivationError, s, u, v
from fdiv.numeric.backends import MPMATH
from fdiv.numeric.lower import lower
from fdiv.record import Divergence, Record

_DIGITS = 15
_TRIED = (-7.3, -2.1, -0.37, 0.21, 0.64, 1.7, 5.2)


def catalogue_rows() -> tuple[Record, ...]:
    """Return the catalogue's records in order."""
    return tuple(CATALOG.values())


def catalogue_row(record: Record) -> dict[str, Any]:
    """Describe one record; a family is certified at its parameters' examples."""
    example = record.bind({parameter.name: parameter.example for parameter in record.parameters})
    certificate = certify(example)
    return {
        "name": record.name,
        "title": record.title,
        "aliases": list(record.aliases),
        "generator": str(record.generator),
        "parameters": [
            {"name": p.name, "domain": " U ".join(map(domain_text, p.domain)), "reason": p.reason}
            for p in record.parameters
        ],
        "reference": record.reference,
        "certified_at": example.spec,
        "accepted": certificate.accepted,
        "convexity": str(certificate.claim("convexity").evidence),
        "conjugate": str(certificate.claim("conjugate").evidence),
        "gaussian": certificate.gaussian,
    }


def facts(shown: Divergence) -> dict[str, str | None]:
    """Return all that is derived from a certified generator, as text; None where there is no closed form."""
    conjugate, gaussian = shown.conjugate, shown.gaussian
    found: dict[str, Any] = {
        "name": label(shown),
        "title": shown.title,
        "aliases": ", ".join(shown.record.aliases) or "none",
        "reference": shown.reference,
        "f(u)": shown.generator,
        "f'(u)": _per_piece(shown, [piece.slope for piece in shown.pieces]),
        "f''(u)": _per_piece(shown, [piece.second for piece in shown.pieces]),
        "f(0+)": shown.value_at_zero,
        "f'(0+)": shown.slope_at_zero,
        "f'(inf)": shown.slope_at_infinity,
        "f''(1)": shown.curvature if shown.curvature is not None else "one-sided values differ",
        "adjoint u f(1/u)": shown.adjoint.generator,
        "conjugate f*(t)": conjugate.formula,
        "effective domain": conjugate.effective_domain,
    }
    try:
        found["activation T(v)"] = shown.activation.output
        found["T(v) is"] = activation_kind(shown)
        found["f*(T(v))"] = shown.activation.conjugate_term
    except DerivationError as error:
        found["activation T(v)"] = str(error)
    found["Gaussian"] = gaussian.kind
    found["D(s)"] = gaussian.formula if gaussian.evaluable else gaussian.reason
    found["w(s) = dD/ds"] = gaussian.gradient_weight_formula
    same = [f"{spec} (D(s) is {factor} times)" for spec, factor in equivalents(shown).items() if factor != 1]
    same = [spec for spec, factor in equivalents(shown).items() if factor == 1] + same
    found["equal D(s)"] = ", ".join(same) or "none in the catalogue"
    counts: dict[str, list[str]] = {}
    for claim in certify(shown).claims:
        counts.setdefault(str(claim.evidence), []).append(claim.name)
    found["evidence"] = "; ".join(f"{word}: {', '.join(names)}" for word, names in counts.items())
    return {key: _text(value) for key, value in found.items()}


def activation_kind(shown: Divergence) -> str:
    """Say whether the variational bound is tight; raises DerivationError where there is no activation."""
    if shown.activation.canonical:
        return "f'(e^v); the bound is tight at v = log dP/dQ"
    return "a smooth step in place of the jump of f'; the bound is not tight at v = log dP/dQ"


def _per_piece(shown: Divergence, expressions: list[Expr]) -> str:
    if len(expressions) == 1:
        return str(_text(expressions[0]))
    pairs = zip(expressions, shown.pieces, strict=True)
    return "; ".join(f"{_text(e)} on {domain_text(Interval(piece.lower, piece.upper))}" for e, piece in pairs)


def readable(expression: Expr) -> Expr:
    """Return the shortest form for people that has the same values, or the expression itself.

    Fractions that stand for 0.6666666666666666 become 2/3, logarithms are gathered, and the value at a closed end
    joins the piece that ends there.
    """
    if isinstance(expression, sympy.Piecewise):
        return _joined([(readable(value), _condition(condition)) for value, condition in expression.args])
    plain = expression.xreplace({number: _simple(number) for number in expression.atoms(sympy.Rational)})
    forms = [plain, *(form for form in (_gathered(plain), _gathered(_one_power(plain))) if _agree(form, plain))]
    return min(forms, key=lambda form: len(str(form)))


def simple(number: float) -> str:
    """Return the shortest text of a double: decimals, or a fraction that is the same double."""
    near, decimals = str(Fraction(number).limit_denominator(1000)), f"{number!r}".removesuffix(".0")
    return near if float(Fraction(near)) == number and len(near) < len(decimals) - 2 else decimals


def label(divergence: Divergence) -> str:
    """Return the spec with fractions for long decimals; `fdiv.divergence` reads it all the same."""
    pairs = ",".join(f"{name}={simple(value)}" for name, value in divergence.values)
    return f"{divergence.name}:{pairs}" if pairs else divergence.name


def domain_text(interval: Interval) -> str:
    """Return an interval with readable ends."""
    ends = (readable(sympy.nsimplify(end, rational=True)) for end in (interval.lower, interval.upper))
    return str(replace(interval, **dict(zip(("lower", "upper"), ends, strict=True))))


def _simple(number: Rational) -> Rational:
    near = sympy.Rational(Fraction(int(number.p), int(number.q)).limit_denominator(1000))
    return near if abs(near - number) <= abs(number) * sympy.Rational(1, 10**14) else number


def _condition(condition: Any) -> Any:
    return condition.func(*map(readable, condition.args)) if condition.args else condition


def _joined(branches: list[tuple[Expr, Any]]) -> Expr:
    """Give the value at a closed end to the piece that ends there, where it is that piece's value."""
    found: list[tuple[Expr, Any]] = []
    for value, condition in branches:
        if found and isinstance(condition, sympy.Le) and found[-1][1] == sympy.Lt(*condition.args):
            symbol, end = condition.args
            if sympy.simplify(found[-1][0].subs(symbol, end) - value) == 0:
                found[-1] = (found[-1][0], condition)
                continue
        found.append((value, condition))
    return sympy.Piecewise(*found)


def _one_power(expression: Expr) -> Expr:
    """Multiply exponentials into one, whose exponent is factored power by power of s."""
    return sympy.powsimp(expression).replace(
        sympy.exp, lambda exponent: sympy.exp(sympy.collect(sympy.expand(exponent), 1 / s, sympy.factor))
    )


def _gathered(expression: Expr) -> Expr:
    """Write log(c/x) as log(c) - log(x), and a log(p) - a log(q) as a log(p/q)."""
    return expression.replace(sympy.log, _of_quotient).replace(lambda part: part.is_Add, _logs_in_one)


def _of_quotient(argument: Expr) -> Expr:
    above, below = sympy.fraction(sympy.together(argument))
    if not above.is_Rational or below.is_Rational:
        return sympy.log(argument)
    return sympy.log(abs(above)) - sympy.log(sympy.expand(below * sympy.sign(above)))


def _logs_in_one(total: Expr) -> Expr:
    ratios: dict[Expr, Expr] = {}
    rest = []
    for term in total.args:
        logarithm = next((f for f in sympy.Mul.make_args(term) if f.func == sympy.log and f.args[0].is_Rational), None)
        if logarithm is None:
            rest.append(term)
            continue
        factor, ratio = term / logarithm, logarithm.args[0]
        if factor.could_extract_minus_sign():
            factor, ratio = -factor, 1 / ratio
        ratios[factor] = ratios.get(factor, sympy.S.One) * ratio
    return sympy.Add(*rest, *(factor * sympy.log(ratio) for factor, ratio in ratios.items()))


def _agree(first: Expr, second: Expr) -> bool:
    """Whether two expressions have the same real values at some points, at least two."""
    compared = 0
    for point in _TRIED:
        try:
            a, b = (lower(e, next(iter(second.free_symbols), u), MPMATH)(mpmath.mpf(point)) for e in (first, second))
        except NotImplementedError:
            return False
        except (ValueError, ArithmeticError, TypeError):
            continue
        if not (mpmath.im(b) == 0 and mpmath.isfinite(b)):
            continue
        if not mpmath.almosteq(a, b, 1e-13, 1e-13):
            return False
        compared += 1
    return compared > 1


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, Interval):
        return domain_text(value)
    if isinstance(value, Expr):
        value = readable(value)
    if isinstance(value, sympy.Piecewise):
        branches = (f"{branch} if {condition}" for branch, condition in value.args)
        return "; ".join(branches).replace("if True", "otherwise").replace("oo", "inf")
    return None if value is None else str(value).replace("oo", "inf")


def wrapped(found: Mapping[str, str | None]) -> str:
    """Return the facts as a table of two columns."""
    width = max(map(len, found))
    lines = []
    for key, value in found.items():
        body = textwrap.wrap(value or "none in closed form", 100, break_on_hyphens=False) or [""]
        lines += [f"{key if i == 0 else '':<{width}}  {line}" for i, line in enumerate(body)]
    return "\n".join(lines)


def evaluate(divergence: Divergence, quantity: str, point: float) -> str:
    """Return one number as text of 15 digits; raises ValueError outside the quantity's domain, Refused without one."""
    with mpmath.workdps(40):
        value = QUANTITIES[quantity](divergence, point)
        number = float(value)
        if math.isinf(number) and mpmath.isfinite(value):  # too large for a double, but known
            return str(mpmath.nstr(value, _DIGITS))
    return f"{number:.{_DIGITS}g}"


def _generator(divergence: Divergence, point: float) -> Any:
    if not 0 <= point < math.inf:
        raise ValueError(f"u lies in [0, inf), where 0 means the limit f(0+); got {point}")
    if point == 0:
        return MPMATH.number(divergence.value_at_zero)
    return in_many_digits(divergence.generator)(mpmath.mpf(point))


def _adjoint(divergence: Divergence, point: float) -> Any:
    return _generator(divergence.adjoint, point)


def _conjugate(divergence: Divergence, point: float) -> Any:
    if point == -math.inf:
        return -MPMATH.number(divergence.value_at_zero)
    return mpmath.mpf(divergence.conjugate(point))


def _activation(divergence: Divergence, point: float) -> Any:
    try:
        output = divergence.activation.output
    except DerivationError as error:
        raise Refused(str(error)) from None
    if math.isinf(point):
        return MPMATH.number(divergence.slope_at_infinity if point > 0 else divergence.slope_at_zero)
    return lower(output, v, MPMATH)(mpmath.mpf(point))


def _gaussian(divergence: Divergence, point: float) -> Any:
    return _between_gaussians(divergence, point, divergence.gaussian.formula, divergence.gaussian)


def _gradient_weight(divergence: Divergence, point: float) -> Any:
    gaussian = divergence.gaussian
    return _between_gaussians(divergence, point, gaussian.gradient_weight_formula, gaussian.gradient_weight)


def _between_gaussians(
    divergence: Divergence, point: float, formula: Expr | None, function: Callable[[float], float]
) -> Any:
    """Take the formula in 40 digits where there is one, else double precision."""
    if not divergence.gaussian.evaluable:
        raise Refused(f"{divergence.spec} has no value between Gaussians: {divergence.gaussian.reason}")
    if not 0 <= point < math.inf:
        raise ValueError(f"s lies in [0, inf); got {point}")
    return mpmath.mpf(function(point)) if formula is None or point == 0 else _in_digits(formula, s, point)


def _in_digits(formula: Expr, symbol: Symbol, point: float) -> Any:
    with mpmath.workdps(80):
        return lower(formula, symbol, MPMATH)(mpmath.mpf(point))


QUANTITIES: dict[str, Callable[[Divergence, float], Any]] = {
    "generator": _generator,
    "conjugate": _conjugate,
    "adjoint": _adjoint,
    "activation": _activation,
    "gaussian": _gaussian,
    "gradient-weight": _gradient_weight,
}


def relation_dict(relation: Relation) -> dict[str, Any]:
    """Return a relation as JSON-able data."""
    where = relation.where
    place = None
    if where is not None:
        place = {"quantity": where.quantity, "point": where.point, "first": where.first, "second": where.second}
    return {
        "relation": relation.kind,
        "factor": None if relation.factor is None else str(relation.factor),
        "evidence": str(relation.evidence),
        "where": place,
        "gaussian": None if relation.gaussian is None else relation_dict(relation.gaussian),
    }


def relation_text(first: str, second: str, relation: Relation) -> str:
    """Return a relation as sentences."""
    lines = [_sentence(first, second, relation, "as divergences")]
    if relation.gaussian is not None:
        lines.append(_sentence(first, second, relation.gaussian, "between Gaussians of one covariance"))
    return "\n".join(lines)


def _sentence(first: str, second: str, relation: Relation, where: str) -> str:
    stated = f"{where}: {relation.kind} ({relation.evidence})"
    if relation.kind == "proportional":
        return f"{stated}: {first} = {relation.factor} * ({second})"
    if relation.where is not None:
        at = relation.where
        return f"{stated}: {at.quantity} at {at.point:.6g} is {at.first:.15g} against {at.second:.15g}"
    return stated
