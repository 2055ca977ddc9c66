"""What makes a generator one: f(1) = 0, finite on (0, inf), convex. Without these nothing else is asked.

Every comparison here that leads to *proved* or *refuted* is made by `fdiv.exact.comparison` or in ball arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import mpmath
import sympy
from sympy import Expr
from sympy.core.relational import Relational

from fdiv.balls import ball
from fdiv.balls.zeros import Crossing, has_formula
from fdiv.derive.generator import Piece, guarded, holds, piece_at, pieces, sign_changes
from fdiv.evidence.finding import Counterexample, Evidence, Finding, left_open, weakest
from fdiv.evidence.signs import GRID, grid, in_many_digits, keeps_sign, value_at
from fdiv.exact.comparison import in_order, sign
from fdiv.exact.constants import FUNCTIONS, OpenError
from fdiv.exact.simplify import factored, simplified
from fdiv.exact.symbols import DerivationError, u
from fdiv.record import Divergence

_SAMPLES = 150  # ratios on either side of 1 at which the pieces are compared with the generator
_LARGEST_ROOT, _LARGEST_POWER = 24, 10**4
_LOOKED_AT = (1, 2, 4, 10, 50, 1000, 10**6)  # and their reciprocals


def vanishes_at_one(divergence: Divergence) -> Finding:
    """f(1) = 0, or else the generator that would have it."""
    try:
        value = piece_at(divergence.pieces, sympy.S.One).expression.subs(u, 1)
    except DerivationError:
        value = divergence.generator.subs(u, 1)
    value = simplified(value)
    if not (value.is_finite and value.is_extended_real):
        shown = Counterexample(1.0, f"f(u) = {value}", float("nan"))
        return Finding(Evidence.REFUTED, f"f(1) = {value} is not a real number", shown)
    if sign(value) == 0:
        return Finding(Evidence.PROVED, "by substitution")
    proposal = f"f(1) = {value}, not 0; f - f(1) = {divergence.generator - value} has the value 0 there"
    return Finding(Evidence.REFUTED, proposal, Counterexample(1.0, "f(u)", float(value)))


def finite(divergence: Divergence) -> Finding:
    """f is real and finite on (0, inf)."""
    return (
        _undefined_somewhere(divergence)
        or _resolved_wrongly(divergence)
        or weakest(
            [
                *(_judged(_poles_between, left, right) for left, right in pairwise(divergence.pieces)),
                *(_judged(regular, piece) for piece in divergence.pieces),
            ]
        )
    )


def _judged(judge: Callable[..., Finding], *about: object) -> Finding:
    """Return the finding, open where certain arithmetic does not decide: another one may still refute the claim."""
    try:
        return judge(*about)
    except (OpenError, DerivationError) as error:
        return left_open(f"not decided: {error}")


def _poles_between(left: Piece, right: Piece) -> Finding:
    """Judge that f has a value where two pieces meet, if a divisor or the argument of a log vanishes there."""
    place = left.upper
    for piece in (left, right):
        singular = [b for b, power in guarded(piece.expression) if power <= 0 and _is_zero_at(b, place)]
        if not singular:
            continue
        if piece.limit(piece.expression, place).is_infinite:
            shown = Counterexample(float(place), "|f(u)|", float("inf"))
            return Finding(Evidence.REFUTED, f"f has a pole at u = {place}, where {singular[0]} = 0", shown)
        return left_open(f"f is not defined at u = {place}, where {singular[0]} = 0, though it has a limit there")
    return Finding(Evidence.PROVED, "no pole where the pieces meet")


def _is_zero_at(expression: Expr, place: Expr) -> bool:
    return sign_on(expression, place) == 0


def sign_on(expression: Expr, place: Expr) -> int:
    """Return the sign of a smooth expression at a place between two pieces; raises OpenError."""
    if isinstance(place, Crossing) and _divides(place.function, expression):
        return 0
    return sign(expression.subs(u, place))


def _divides(function: Expr, expression: Expr) -> bool:
    """Whether the function is seen to be a factor of the expression's numerator, but for its sign."""
    numerator = factored(sympy.fraction(sympy.together(expression))[0])
    factors = (factor.as_base_exp()[0] for factor in sympy.Mul.make_args(numerator))
    return any(sympy.expand(factor - side * function) == 0 for factor in factors for side in (1, -1))


def _resolved_wrongly(divergence: Divergence) -> Finding | None:
    """Compare the pieces with the generator as it stands: a kink that was overlooked must not pass."""
    function = in_many_digits(divergence.generator)
    branches = [(float(piece.upper), in_many_digits(piece.expression)) for piece in divergence.pieces]
    if len(branches) == 1 and divergence.pieces[0].expression == divergence.generator:
        return None
    with mpmath.workdps(30):
        for i in range(-_SAMPLES, _SAMPLES + 1):
            ratio = mpmath.exp(mpmath.mpf(12 * i + 1) / _SAMPLES)
            branch = next((f for upper, f in branches if ratio < upper), branches[-1][1])
            value, truth = branch(ratio), function(ratio)
            if not abs(value - truth) <= 1e-20 * max(1, abs(truth)):
                reason = f"the kinks were not all found: f({float(ratio):.6g}) = {truth}, its piece has {value}"
                return left_open(reason)
    return None


def _undefined_somewhere(divergence: Divergence) -> Finding | None:
    """Substitute simple ratios, and the places where a Piecewise switches, into the generator as it stands."""
    generator = divergence.generator
    rationals = [sympy.Rational(k) for k in _LOOKED_AT]
    places = {point: _chosen(generator, point) for k in rationals for point in (k, 1 / k)} | _switches(generator)
    for point, form in places.items():
        value = _undefined(form, point)
        if value is not None:
            if value.is_infinite:
                shown = Counterexample(float(point), "|f(u)|", float("inf"))
                return Finding(Evidence.REFUTED, f"f has a pole at u = {point}", shown)
            shown = Counterexample(float(point), f"f(u) is {_short(value)}, not a real number", float("nan"))
            return Finding(Evidence.REFUTED, "f is not real and defined everywhere on (0, inf)", shown)
    return None


def _chosen(generator: Expr, point: Expr) -> Expr:
    """Replace the conditions of every Piecewise by what they are at a rational point, where that is decided."""
    held = {}
    for relation in generator.atoms(Relational):
        try:
            held[relation] = holds(relation, sign((relation.lhs - relation.rhs).subs(u, point)))
        except OpenError:
            continue
    return generator.xreplace(held)


def _undefined(form: Expr, point: Expr) -> Expr | None:
    """Return what f is at a point instead of a real number, by an exact argument; None if no such thing is shown."""
    if any(power.exp.q > _LARGEST_ROOT for power in form.atoms(sympy.Pow) if power.exp.is_Rational):
        return None  # SymPy spends minutes on an exact 999^1.999999
    exponents = [power.exp.subs(u, point) for power in form.atoms(sympy.Pow) if power.base.is_Rational]
    if any(exponent.is_Rational and abs(exponent) > _LARGEST_POWER for exponent in exponents):
        return None  # it writes all digits of 2^(u^2), which at u = 10^6 no memory holds
    value = form.subs(u, point)
    if value.has(sympy.nan, sympy.zoo, sympy.oo):
        return value
    number = value.evalf(20)
    if number.is_real is not False:
        return None
    outside = [base for base, power in guarded(form) if not power.is_integer or power == 0]
    outside = [base for base in outside if _is_certainly_negative(base.subs(u, point))]
    imaginary = form.has(sympy.I) and value.as_real_imag()[1]
    return number if outside or (imaginary and sign(imaginary) != 0) else None


def _is_certainly_negative(number: Expr) -> bool:
    try:
        return sign(number) < 0
    except OpenError:
        return False


def _short(number: Expr) -> str:
    return "undefined" if number is sympy.nan else str(number.evalf(6))


def _switches(generator: Expr) -> dict[Expr, Expr]:
    """Return the places where a Piecewise may switch, and the generator as it stands there, its branches chosen."""
    relations = generator.atoms(Relational)
    resolved = {r: pieces(r.lhs - r.rhs) for r in relations}
    places = in_order([x for parts in resolved.values() for p in parts for x in sign_changes(p.expression)])
    found = {}
    for place in places:
        differences = {r: piece_at(resolved[r], place).expression for r in relations}
        found[place] = generator.xreplace({r: holds(r, sign_on(d, place)) for r, d in differences.items()})
    return found


def not_affine(divergence: Divergence) -> Finding:
    """f is not a (u - 1): D_f would be zero for all P and Q, and a loss without a gradient."""
    curved = [piece for piece in divergence.pieces if not piece.affine]
    if any(_is_nonzero(piece.second, point) for piece in curved for point in piece.samples):
        return Finding(Evidence.PROVED, "f'' is not identically zero")
    if curved:
        return left_open("whether f'' is identically zero is not decided")
    if divergence.kinks:
        return Finding(Evidence.PROVED, f"f has a kink at u = {divergence.kinks[0][0]}")
    shown = Counterexample(2.0, "f(u) - f'(1) (u - 1)", 0.0)
    return Finding(Evidence.REFUTED, "f is affine, so D_f(P||Q) = 0 for all P and Q", shown)


def _is_nonzero(expression: Expr, point: sympy.Rational) -> bool:
    try:
        return ball.sign_at(expression, point) != 0
    except OpenError:
        return False


def convex(divergence: Divergence) -> Finding:
    """Convex on each piece, continuous, and with a slope that never jumps down."""
    # f is convex exactly if f'' >= 0 inside the pieces and, where two meet, f is continuous and f' does not fall
    parts = divergence.pieces
    findings = [_judged(keeps_sign, piece.second, piece, "f''(u)") for piece in parts]
    findings += [_judged(_joined, left, right) for left, right in pairwise(parts)]
    switches = _switches(divergence.generator).items()
    findings += [_judged(_no_odd_point, divergence, place, form) for place, form in switches]
    found = weakest(findings)
    smooth = weakest([_judged(regular, piece) for piece in parts])
    if found.evidence.settled and smooth.evidence.rank > found.evidence.rank:
        return smooth  # f'' >= 0 says nothing across a point where there is no f''
    if not found.evidence.settled or len(findings) == 1:
        return found
    kinks = ", ".join(str(place) for place, _ in divergence.kinks) or "none"
    return Finding(found.evidence, f"{found.reason}; continuous, with slopes that jump up at: {kinks}")


def _joined(left: Piece, right: Piece) -> Finding:
    """Judge how two pieces meet: the two limits agree, and the slope does not jump down."""
    place = left.upper
    if has_formula(place):
        step = right.limit(right.expression, place) - left.limit(left.expression, place)
        jumps = sign(step)
    else:  # where two branches of a Max cross they are equal
        step = (right.expression - left.expression).subs(u, place)
        jumps = sign_on(right.expression - left.expression, place)
    if jumps != 0:
        shown = Counterexample(float(place), "jump of f", float(step))
        return Finding(Evidence.REFUTED, f"f is not continuous at u = {place}", shown)
    jump = right.limit(right.slope, place) - left.limit(left.slope, place)
    if sign(jump) >= 0:
        return Finding(Evidence.PROVED, "the pieces join")
    shown = Counterexample(float(place), "jump of f'", float(jump))
    return Finding(Evidence.REFUTED, f"the slope jumps down at u = {place}", shown)


def _no_odd_point(divergence: Divergence, place: Expr, form: Expr) -> Finding:
    """Judge that the value where a Piecewise switches, by the branch taken there, is the limit there."""
    piece = piece_at(divergence.pieces, place)
    if sympy.expand(form - piece.expression) == 0:
        return Finding(Evidence.PROVED, "no odd point")
    if has_formula(place):
        step = form.subs(u, place) - piece.limit(piece.expression, place)
        jumps = sign(step)
    else:
        step = (form - piece.expression).subs(u, place)
        jumps = sign_on(form - piece.expression, place)
    if jumps == 0:
        return Finding(Evidence.PROVED, f"no odd point at u = {place}")
    shown = Counterexample(float(place), "jump of f", float(step))
    return Finding(Evidence.REFUTED, f"f is not continuous at u = {place}", shown)


@cache
def regular(piece: Piece) -> Finding:
    """Judge that f is real, finite and smooth inside a piece: no divisor, radicand or argument of log vanishes."""
    findings = [_nonzero(base, power, piece) for base, power in dict.fromkeys(guarded(piece.expression))]
    found = weakest([*findings, Finding(Evidence.PROVED, "every divisor, radicand and argument of log is positive")])
    if found.evidence is not Evidence.NOT_APPLICABLE and not _unfamiliar(piece.expression):
        return found
    function = in_many_digits(piece.expression)
    with mpmath.workdps(40):
        broken = next((point for point in grid(piece) if value_at(function, point) is None), None)
    if broken is not None:
        return left_open(f"f has no real finite value in 40 digits at u = {float(broken):.6g}, which nothing confirms")
    return Finding(Evidence.TESTED, f"f is real and finite at {GRID} points; no exact argument was found")


def _nonzero(base: Expr, power: Expr, piece: Piece) -> Finding:
    """Judge that what f divides by is not zero, or that a radicand or the argument of a log is positive."""
    found = keeps_sign(base, piece, str(base), strict=True)
    if found.evidence in (Evidence.PROVED, Evidence.CERTIFIED):
        return found
    if power.is_integer and power != 0:
        other = keeps_sign(-base, piece, str(-base), strict=True)
        return other if other.evidence in (Evidence.PROVED, Evidence.CERTIFIED) else left_open(f"{base} may vanish")
    if found.evidence is Evidence.REFUTED and found.counterexample is not None:
        point = found.counterexample.point
        shown = Counterexample(point, "f(u), not a real finite number", float("nan"))
        return Finding(Evidence.REFUTED, f"f is not real and finite on (0, inf): {base} < 0 there", shown)
    return left_open(f"whether {base} stays positive is not decided")


def _unfamiliar(expression: Expr) -> set[str]:
    """Return the functions in it that may jump or have poles for all that is known here, such as floor and tan."""
    nodes = {node for node in sympy.preorder_traversal(expression) if node.has(u) and node.args}
    return {str(n.func) for n in nodes if not (n.is_Add or n.is_Mul or n.is_Pow or n.func in FUNCTIONS)}
