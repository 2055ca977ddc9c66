"""What makes a generator one: f(1) = 0, finite on (0, inf), convex. Without these nothing else is asked."""

from __future__ import annotations

from itertools import pairwise

import flint
import mpmath
import sympy
from sympy import Expr
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean

from fdiv.balls.zeros import has_formula
from fdiv.derive.generator import Piece, piece_at, pieces, sign_changes
from fdiv.evidence.finding import Counterexample, Evidence, Finding, weakest
from fdiv.evidence.signs import in_many_digits, is_finite, keeps_sign
from fdiv.exact.symbols import u
from fdiv.numeric.constants import constant_ball
from fdiv.record import Divergence

_SAMPLES = 150  # ratios on either side of 1 at which the pieces are compared with the generator
_EQUAL = 1e-40  # numbers that agree so far are equal
_LOOKED_AT = (1, 2, 4, 10, 50, 1000, 10**6)  # and their reciprocals


def vanishes_at_one(divergence: Divergence) -> Finding:
    """f(1) = 0, or else the generator that would have it."""
    value = sympy.simplify(divergence.generator.subs(u, 1))
    if value == 0 or value.equals(0):
        return Finding(Evidence.PROVED, "by substitution")
    if not (value.is_finite and value.is_extended_real):
        shown = Counterexample(1.0, f"f(u) = {value}", float("nan"))
        return Finding(Evidence.REFUTED, f"f(1) = {value} is not a real number", shown)
    proposal = f"f(1) = {value}, not 0; f - f(1) = {divergence.generator - value} has the value 0 there"
    return Finding(Evidence.REFUTED, proposal, Counterexample(1.0, "f(u)", float(value)))


def finite(divergence: Divergence) -> Finding:
    """f is real and finite on (0, inf)."""
    return (
        _undefined_somewhere(divergence)
        or _resolved_wrongly(divergence)
        or weakest([is_finite(piece) for piece in divergence.pieces])
    )


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
                return Finding(Evidence.NOT_APPLICABLE, reason)
    return None


def _undefined_somewhere(divergence: Divergence) -> Finding | None:
    """Substitute simple ratios, and the places where a Piecewise switches, into the generator as it stands."""
    generator = divergence.generator
    rationals = [sympy.Rational(k) for k in _LOOKED_AT]
    # SymPy spends minutes on an exact 999^1.999999
    simple = all(power.exp.q <= 24 for power in generator.atoms(sympy.Pow) if power.exp.is_Rational)
    places = {point: generator for k in rationals for point in (k, 1 / k)} | _switches(generator)
    for point, form in places.items():
        value = form.subs(u, point if simple else point.evalf(60))
        number = sympy.nan if value is sympy.nan else value.evalf(20)
        if not (number.is_finite and number.is_real):
            if number.is_infinite:
                shown = Counterexample(float(point), "|f(u)|", float("inf"))
                return Finding(Evidence.REFUTED, f"f has a pole at u = {point}", shown)
            shown = Counterexample(float(point), f"f(u) is {_short(number)}, not a real number", float("nan"))
            return Finding(Evidence.REFUTED, "f is not real and defined everywhere on (0, inf)", shown)
    return None


def _short(number: Expr) -> str:
    return "undefined" if number is sympy.nan else str(number.evalf(6))


def _switches(generator: Expr) -> dict[Expr, Expr]:
    """Return the places where a Piecewise may switch, and the generator as it stands there, its branches chosen."""
    relations = generator.atoms(Relational)
    places = {r: {x for p in pieces(r.lhs - r.rhs) for x in sign_changes(p.expression)} for r in relations}
    return {
        place: generator.xreplace({r: _truth(r, place, place in places[r]) for r in relations})
        for place in sorted(set().union(*places.values()), key=float)
    }


def _truth(relation: Relational, place: Expr, changes: bool) -> Boolean:
    """Return whether a relation holds at `place`; SymPy would compare equal sides in ever more digits."""
    difference = (relation.lhs - relation.rhs).subs(u, place.evalf(60)).evalf(60)
    if changes and abs(difference) < _EQUAL:
        return sympy.sympify(isinstance(relation, sympy.Ge | sympy.Le | sympy.Eq))
    return relation.func(difference, 0)


def not_affine(divergence: Divergence) -> Finding:
    """f is not a (u - 1): D_f would be zero for all P and Q, and a loss without a gradient."""
    if not all(piece.affine for piece in divergence.pieces):
        return Finding(Evidence.PROVED, "f'' is not identically zero")
    if divergence.kinks:
        return Finding(Evidence.PROVED, f"f has a kink at u = {divergence.kinks[0][0]}")
    shown = Counterexample(2.0, "f(u) - f'(1) (u - 1)", 0.0)
    return Finding(Evidence.REFUTED, "f is affine, so D_f(P||Q) = 0 for all P and Q", shown)


def convex(divergence: Divergence) -> Finding:
    """Convex on each piece, continuous, and with a slope that never jumps down."""
    # f is convex exactly if f'' >= 0 inside the pieces and, where two meet, f is continuous and f' does not fall
    findings = [keeps_sign(piece.second, piece, "f''(u)") for piece in divergence.pieces]
    findings += [_joined(divergence, left, right) for left, right in pairwise(divergence.pieces)]
    findings += [_no_odd_point(divergence, place, form) for place, form in _switches(divergence.generator).items()]
    found = weakest(findings)
    if found.evidence is Evidence.REFUTED or len(findings) == 1:
        return found
    kinks = ", ".join(str(place) for place, _ in divergence.kinks) or "none"
    return Finding(found.evidence, f"{found.reason}; continuous, with slopes that jump up at: {kinks}")


def _joined(divergence: Divergence, left: Piece, right: Piece) -> Finding:
    """Judge how two pieces meet: the two limits and the value agree, and the slope does not jump down."""
    place = left.upper
    before, after = left.limit(left.expression, place), right.limit(right.expression, place)
    # two branches of a Max cross where they are equal; SymPy would compare them in ever more digits
    steps = (after - before, divergence.value_at(place) - before) if has_formula(place) else ()
    for step in steps:
        if not _is_zero(step):
            shown = Counterexample(float(place), "jump of f", float(step))
            return Finding(Evidence.REFUTED, f"f is not continuous at u = {place}", shown)
    jump = right.limit(right.slope, place) - left.limit(left.slope, place)
    if _sign(jump) > 0 or _is_zero(jump):
        return Finding(Evidence.PROVED, "the pieces join")
    if _sign(jump) == 0:
        return Finding(Evidence.TESTED, f"the jump of the slope at u = {place} is zero to 70 digits")
    shown = Counterexample(float(place), "jump of f'", float(jump))
    return Finding(Evidence.REFUTED, f"the slope jumps down at u = {place}", shown)


def _no_odd_point(divergence: Divergence, place: Expr, form: Expr) -> Finding:
    """Judge that the value where a Piecewise switches, by the branch taken there, is the limit there."""
    piece = piece_at(divergence.pieces, place)
    if sympy.expand(form - piece.expression) == 0:
        return Finding(Evidence.PROVED, "no odd point")
    if not has_formula(place):
        step = (form - piece.expression).subs(u, place.evalf(60)).evalf(60)
        evidence = Evidence.TESTED if abs(step) < _EQUAL else Evidence.REFUTED
    else:
        step = form.subs(u, place) - piece.limit(piece.expression, place)
        evidence = Evidence.PROVED if _is_zero(step) else Evidence.REFUTED
    if evidence is not Evidence.REFUTED:
        return Finding(evidence, f"no odd point at u = {place}")
    shown = Counterexample(float(place), "jump of f", float(step))
    return Finding(Evidence.REFUTED, f"f is not continuous at u = {place}", shown)


def _is_zero(number: Expr) -> bool:
    return bool(sympy.simplify(number) == 0 or number.equals(0))


def _sign(number: Expr) -> int:
    """Return the sign of a constant, 0 where 256 bits do not decide it."""
    if number.is_infinite:
        return 1 if number > 0 else -1
    with flint.ctx.workprec(256):
        value = constant_ball(number)
    return int(value > 0) - int(value < 0)
