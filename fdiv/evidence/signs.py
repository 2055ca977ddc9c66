"""Whether an expression keeps its sign on an interval of u: proved, certified, tested or refuted, in that order.

Two exact arguments: SymPy's assumptions on a factored form (u > 0), and, for a rational function of a root
of u, a Sturm count of the sign changes of numerator and denominator. Where both fail, ball arithmetic certifies
the sign or finds a point that refutes it; what it leaves open is sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

import flint
import mpmath
import sympy
from flint import arb
from sympy import Expr, Poly

from fdiv.balls import ball
from fdiv.derive.generator import Piece
from fdiv.evidence.finding import Counterexample, Evidence, Finding, left_open
from fdiv.exact.comparison import between, compare, inside, is_positive, vanishes
from fdiv.exact.constants import OpenError
from fdiv.exact.roots import in_root
from fdiv.exact.simplify import covering, factored
from fdiv.exact.symbols import DerivationError, u
from fdiv.numeric.backends import MPMATH

GRID = 400
_SHARES = (sympy.Rational(1, 5), sympy.Rational(4, 7), sympy.Rational(9, 10))
_DIGITS = (2, 8, 20, 60, 200)  # of the boxes around roots, until those tell them from the ends of a piece
_CONSTANT_BITS = 512
Box = tuple[Expr, Expr]


def keeps_sign(expression: Expr, piece: Piece, quantity: str, strict: bool = False) -> Finding:
    """Judge expression >= 0 (or > 0 if `strict`) on the open interval of `piece`."""
    # 1. SymPy's assumptions: u > 0, and in one of these forms every part is positive
    if is_positive(expression, strict):
        return Finding(Evidence.PROVED, f"{quantity} = {factored(expression)} is a product and sum of positive factors")
    forms = (expression, factored(expression), sympy.expand(expression), _in_few_powers(expression))
    if any(is_positive(form, strict) for form in forms):
        return Finding(Evidence.PROVED, f"{quantity} = {forms[1]} is a product and sum of positive factors")
    # 2. factor by factor, a polynomial factor by Sturm's count of its roots
    if _is_product_of_signs(forms[1], piece, strict):
        return Finding(Evidence.PROVED, f"{quantity} = {forms[1]}, whose factors keep their signs by Sturm's count")
    # 3. the whole as one fraction of polynomials; what it refutes waits, since a ball's counterexample may be nearer
    by_sturm = _by_sturm(expression, piece, quantity, strict)
    if by_sturm is not None and by_sturm.evidence is Evidence.PROVED:
        return by_sturm
    # 4. ball arithmetic over all of the piece, its tails included
    verdict = ball.certify_sign(expression, piece.lower, piece.upper, strict)
    if verdict.positive:
        return Finding(Evidence.CERTIFIED, f"{quantity} {'>' if strict else '>='} 0: {verdict.reason}")
    if verdict.point is not None:
        point, value = ball.counterexample(expression, verdict.point, piece.lower, piece.upper)
        shown = Counterexample(float(point), quantity, value)
        return Finding(Evidence.REFUTED, f"{quantity} is {verdict.reason}", shown)
    return by_sturm or _sample(expression, piece, quantity, strict)


def _by_sturm(expression: Expr, piece: Piece, quantity: str, strict: bool) -> Finding | None:
    """Prove or refute that a rational function of a root of u keeps its sign; None where neither is done.

    It changes its sign only at a root of odd multiplicity of numerator or denominator. Where there is none in the
    piece, one positive value inside decides; where there are some, exact values beside them show a negative one.
    """
    root = sympy.Symbol("root", positive=True)
    fraction = _as_fraction(expression, root)
    if fraction is None:
        return None
    order, *polynomials = fraction
    ends = tuple(_root_of(end, order) for end in (piece.lower, piece.upper))
    try:
        boxes = [box for polynomial in polynomials for box in _crossings(polynomial, ends, strict)]
        points = [*(between(ends[0], ends[1], share) for share in _SHARES), *_beside(boxes, ends)]
    except (DerivationError, OpenError):
        return None
    values = [(point, *(polynomial.eval(point) for polynomial in polynomials)) for point in points]
    exact = [(point, above / below) for point, above, below in values if below != 0]
    if not boxes and any(value > 0 for _, value in exact):
        return Finding(Evidence.PROVED, f"Sturm: {quantity} has no sign change, and is positive inside")
    negative = [Counterexample(float(point**order), quantity, float(value)) for point, value in exact if value < 0]
    if not negative:
        return None
    # one that a person can follow: near 1 if there is one, and the worst there
    near = [shown for shown in negative if 0.05 < shown.point < 20]
    shown = min(near, key=lambda shown: shown.value) if near else negative[0]
    return Finding(Evidence.REFUTED, f"{quantity} is negative", shown)


def in_many_digits(expression: Expr, names: Mapping[str, Any] | None = None) -> Callable[[Any], Any]:
    """Return SymPy's own mpmath function of u; it shares no code with `fdiv.numeric`.

    What `names` has goes before mpmath's numbers and functions of these names.

    Python's max(3, u) would hand on the integer 3, and 1/3 would be a double: constants get many digits first.
    """

    def spelled(node: Expr) -> Expr:
        if isinstance(node, sympy.Piecewise):
            return sympy.Piecewise(*((_many_digits(branch), condition) for branch, condition in node.args))
        return node.func(*map(_many_digits, node.args))

    kinked = expression.replace(lambda e: isinstance(e, sympy.Max | sympy.Min | sympy.Piecewise), spelled)
    return sympy.lambdify(u, kinked, [dict(names or {}), "mpmath"])


def in_balls(expression: Expr) -> Callable[[Any], Any]:
    """Return the same function with the balls of python-flint for mpmath's numbers: six times as fast in 40 digits.

    Its precision is that of `flint.ctx`; where `expression` is undefined it is NaN.
    """
    return in_many_digits(expression, _ball_functions())


@cache
def _ball_functions() -> dict[str, Any]:
    """What the names in mpmath's spelling of an expression stand for."""

    def number(value: Any) -> Any:
        if not isinstance(value, tuple):
            return arb(value)
        sign, mantissa, exponent, _ = value  # a float of mpmath's
        return (-1) ** sign * arb(mantissa) * arb(2) ** exponent

    with flint.ctx.workprec(_CONSTANT_BITS):
        constants = {"pi": arb.pi(), "e": arb(1).exp()}
    functions = {"log": arb.log, "exp": arb.exp, "sqrt": arb.sqrt, "erf": arb.erf, "LambertW": arb.lambertw}
    # arb.sqrt(2) is NaN where 2 is no ball
    balls = {name: lambda x, *branch, call=call: call(arb(x), *branch) for name, call in functions.items()}
    return {"mpf": number, **constants, **balls}


def _many_digits(constant: Expr) -> Expr:
    return sympy.Float(constant, 150) if constant.is_Rational else constant


def _in_few_powers(expression: Expr) -> Expr:
    """Factor with as few independent powers of u as make up the others, each a positive symbol of its own.

    u^(391/80) has no polynomial of sensible degree; (1 + a b)/b has.
    """
    exponents = {p.exp for p in expression.atoms(sympy.Pow) if p.base == u and p.exp.is_Rational}
    known: dict[Expr, Expr] = {}
    for exponent in sorted({abs(e) for e in exponents}):
        sums = (known[a] * known[exponent - a] for a in list(known) if exponent - a in known)
        known[exponent] = next(sums, sympy.Dummy("power", positive=True))
    replaced = expression.xreplace({u**e: known[abs(e)] ** sympy.sign(e) for e in exponents})
    if len(exponents) > 8:
        return expression
    # a mixture's (1 + 9 u)^0.123456789012 is no polynomial of sensible degree either
    covered, names = covering(replaced)
    return sympy.factor(sympy.together(covered)).xreplace(names)


def _is_product_of_signs(expression: Expr, piece: Piece, strict: bool) -> bool:
    """Whether every factor is a power whose base has a proved sign on the piece, and the signs make a plus."""
    sign = 1
    for factor in sympy.Mul.make_args(expression):
        base, exponent = factor.as_base_exp()
        if exponent.is_even and not strict:
            continue
        if base == expression or not (exponent.is_Rational or is_positive(base)):
            return False
        if is_positive(base) or _is_positive_polynomial(base, piece):
            continue
        if not (exponent.is_Integer and (is_positive(-base) or _is_positive_polynomial(-base, piece))):
            return False
        sign = sign if exponent.is_even else -sign
    return sign > 0


def _is_positive_polynomial(expression: Expr, piece: Piece) -> bool:
    """Whether a polynomial in a root of u is proved positive on the open piece."""
    root = sympy.Symbol("root", positive=True)
    fraction = _as_fraction(expression, root) if expression.has(u) else None
    if fraction is None:
        return False
    order, polynomial, denominator = fraction
    ends = (_root_of(piece.lower, order), _root_of(piece.upper, order))
    try:
        at = between(ends[0], ends[1], _SHARES[1])
        positive = bool(denominator.is_ground and polynomial.eval(at) / denominator.eval(at) > 0)
        return positive and not _crossings(polynomial, ends, strict=True)
    except (DerivationError, OpenError):
        return False


def _as_fraction(expression: Expr, root: Expr) -> tuple[int, Poly, Poly] | None:
    """Write the expression as a fraction of rational polynomials in root = u^(1/k)."""
    fraction = in_root(expression, root)
    if fraction is None:
        return None
    order, above, below = fraction
    numerator, denominator = (Poly(part, root) for part in sympy.fraction(sympy.cancel(above / below)))
    if not all(polynomial.domain.is_ZZ or polynomial.domain.is_QQ for polynomial in (numerator, denominator)):
        return None
    return order, numerator, denominator


def _root_of(end: Expr, order: int) -> Expr:
    return end if end in (0, sympy.oo) else end ** sympy.Rational(1, order)


def _crossings(polynomial: Poly, ends: tuple[Expr, ...], strict: bool) -> list[Box]:
    """Return a box for each root of odd multiplicity (of any, if `strict`) between the ends.

    Raises DerivationError where a root cannot be told from an end.
    """
    factors = [factor for factor, multiplicity in polynomial.sqf_list()[1] if strict or multiplicity % 2]
    return [box for factor in factors for box in _boxes(factor, ends)]


def _boxes(factor: Poly, ends: tuple[Expr, ...]) -> list[Box]:
    """Isolate the simple roots that lie strictly between the ends, in boxes that do so too."""
    for end in ends:  # a root at an end is no change of sign inside
        if end.is_Rational and factor.eval(end) == 0:
            factor = factor.quo(Poly(factor.gen - end, factor.gen))
    for digits in _DIGITS:
        found = [box for box, _ in factor.intervals(eps=sympy.Rational(1, 10**digits))]
        found = [box for box in found if _meets(box, ends) and not _is_end(factor, ends, *box)]
        if all(compare(ends[0], low) < 0 and compare(high, ends[1]) < 0 for low, high in found):
            return found
    raise DerivationError(f"the roots of {factor.as_expr()} are not told from the ends of a piece")


def _meets(box: Box, ends: tuple[Expr, ...]) -> bool:
    return compare(box[1], ends[0]) > 0 and compare(box[0], ends[1]) < 0


def _is_end(factor: Poly, ends: tuple[Expr, ...], left: Expr, right: Expr) -> bool:
    return any(
        end != sympy.oo
        and compare(left, end) <= 0 <= compare(right, end)
        and vanishes(factor.as_expr().subs(factor.gen, end))
        for end in ends
    )


def _beside(boxes: list[Box], ends: tuple[Expr, ...]) -> list[Expr]:
    """Return rational points inside the piece on both sides of each root, from far to very near."""
    shares = [sympy.Rational(1, 2), *(sympy.Rational(1, 10**digits) for digits in (1, *_DIGITS)), sympy.S.Zero]
    pairs = ((low * (1 - share), high * (1 + share)) for share in shares for low, high in boxes)
    return [point for pair in pairs for point in pair if inside(point, *ends)]


def _sample(expression: Expr, piece: Piece, quantity: str, strict: bool) -> Finding:
    """Evaluate at points in 40 digits; a negative value refutes if ball arithmetic confirms it at that very point."""
    terms = [in_many_digits(term) for term in sympy.Add.make_args(sympy.expand(expression))]
    with mpmath.workdps(40):
        values = [(point, *_total(terms, point)) for point in grid(piece)]
    bound = mpmath.mpf(10) ** -30
    wrong = [
        (point, value)
        for point, value, size in values
        if value is None or value < -bound * size or (strict and value == 0)
    ]
    if wrong:
        # one that a person can follow: near 1 if there is one, and the worst there
        near = [pair for pair in wrong if abs(mpmath.log(pair[0])) < 3] or wrong[:1]
        point, value = min(near, key=lambda pair: mpmath.inf if pair[1] is None else pair[1])
        if value is not None and is_negative_at(expression, ball.rational_point(point)):
            shown = Counterexample(float(point), quantity, float(value))
            return Finding(Evidence.REFUTED, f"{quantity} is not {'positive' if strict else 'non-negative'}", shown)
        return left_open(f"{quantity} = {value} at u = {float(point):.6g} in 40 digits, which no enclosure confirms")
    stated = f"{quantity} {'>' if strict else '>='} 0 at {GRID} points in 40 digits"
    return Finding(Evidence.TESTED, f"{stated}; neither an exact argument nor ball arithmetic settles it")


def is_negative_at(expression: Expr, point: Fraction) -> bool:
    """Whether ball arithmetic finds a negative value at a rational u."""
    try:
        return ball.sign_at(expression, sympy.Rational(point.numerator, point.denominator)) < 0
    except OpenError:
        return False


def _total(terms: list[Callable[[Any], Any]], point: mpmath.mpf) -> tuple[mpmath.mpf | None, mpmath.mpf]:
    """Return the sum of the terms and the sum of their sizes; None for a sum that is not real and finite."""
    values = [value_at(term, point) for term in terms]
    known = [value for value in values if value is not None]
    return mpmath.fsum(known) if len(known) == len(values) else None, mpmath.fsum(known, absolute=True)


def grid(piece: Piece) -> list[mpmath.mpf]:
    """Return points of the piece, log-spaced, dense around 1."""
    low = mpmath.log(MPMATH.number(piece.lower)) if piece.lower != 0 else mpmath.mpf(-60)
    high = mpmath.log(MPMATH.number(piece.upper)) if piece.upper != sympy.oo else mpmath.mpf(60)
    shares = ((i + mpmath.mpf(1) / 2) / GRID for i in range(GRID))
    # a cubic map puts half of the points into the middle eighth
    return [
        mpmath.exp((low + high) / 2 + (high - low) / 2 * (0.05 * z + 0.95 * z**3)) for z in (2 * x - 1 for x in shares)
    ]


def value_at(function: object, point: mpmath.mpf) -> mpmath.mpf | None:
    """Return a real finite value or None."""
    try:
        value = mpmath.mpmathify(function(point))  # type: ignore[operator]
    except (ZeroDivisionError, ValueError, OverflowError):
        return None
    return value if isinstance(value, mpmath.mpf) and mpmath.isfinite(value) else None


def approaches(expression: Expr, side: int, value: Expr) -> bool:
    """Whether values of `expression` at u = e^(side x), x up to 480, tend to `value`."""
    function = in_many_digits(expression)
    with mpmath.workdps(450):
        values = [function(mpmath.exp(side * x)) for x in (30, 60, 120, 240, 480)]
        if value.is_infinite:
            away = [x if value > 0 else -x for x in values]
            return away[-1] > 1 and all(a <= b for a, b in pairwise(away))
        errors = [abs(x - mpmath.mpmathify(value.evalf(450))) for x in values]
        return errors[-1] < 0.01 * max(1, abs(value)) and all(a >= b for a, b in pairwise(errors))
