"""What follows for a convex generator: its limits, conjugate, adjoint, activation, and its values between Gaussians.

Each judge returns the evidence for one claim about what `fdiv` derived. An exact argument is made where there is
one; an oracle that shares no code with the derivation looks at the numbers either way, and can refute them.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import flint
import sympy
from flint import arb
from sympy import Expr

from fdiv.balls.tails import is_bounded_by_a_power, limit
from fdiv.derive.generator import Piece
from fdiv.derive.numeric_conjugate import ConjugatePiece
from fdiv.evidence import oracles
from fdiv.evidence.finding import Evidence, Finding, left_open
from fdiv.evidence.signs import approaches
from fdiv.exact.asymptotics import limit_at_zero
from fdiv.exact.comparison import compare, vanishes
from fdiv.exact.constants import OpenError, constant_ball
from fdiv.exact.identities import is_identity
from fdiv.exact.simplify import simplified
from fdiv.exact.symbols import s, t, u
from fdiv.record import Divergence

Settled = Mapping[str, Evidence]  # the claims before this one
_STARTS = (4, 16, 64)
_TIGHT = arb(2) ** -100


def _following(settled: Settled, premises: tuple[str, ...], reason: str, checked: Finding | None = None) -> Finding:
    """A theorem is as good as its weakest premise; the oracle's look at it may still contradict what was derived."""
    if checked is not None and not checked.evidence.settled:
        return checked
    weakest = max(premises, key=lambda name: settled[name].rank)
    if not settled[weakest].settled:
        return Finding(Evidence.NOT_APPLICABLE, f"rests on the claim {weakest!r}, which does not hold")
    return Finding(settled[weakest], reason if checked is None else f"{reason}; {checked.reason}")


def limits(divergence: Divergence, settled: Settled) -> Finding:
    """f(0+), f'(0+) and f'(inf) by SymPy's limits, against enclosed leading terms, which share no code with them."""
    first, last = divergence.pieces[0], divergence.pieces[-1]
    stated = (
        ("f(0+)", first.expression, -1, divergence.value_at_zero),
        ("f'(0+)", first.slope, -1, divergence.slope_at_zero),
        ("f'(inf)", last.slope, 1, divergence.slope_at_infinity),
    )
    shown = ", ".join(f"{name} = {value}" for name, _, _, value in stated).replace("oo", "inf")
    enclosed = True
    for name, expression, side, value in stated:
        agrees = _encloses(expression, side, value)
        if agrees is False:
            return Finding(Evidence.REFUTED, f"{name} = {value} contradicts the enclosed limit of {expression}")
        if agrees is None and not approaches(expression, side, value):
            return left_open(f"{name} = {value} is not seen in the values of {expression} near the end")
        enclosed = enclosed and agrees is True
    if enclosed:
        return Finding(Evidence.PROVED, f"{shown}: exact limits, confirmed by enclosed leading terms")
    return Finding(Evidence.TESTED, f"{shown}: exact limits, confirmed by values near the ends")


def _encloses(expression: Expr, side: int, value: Expr) -> bool | None:
    """Whether the enclosed limit of `expression` towards that end is `value`; None if there is none that is tight."""
    if expression == value:
        return True
    for start in _STARTS:
        try:
            with flint.ctx.workprec(192):
                found = limit(expression, side, start)
                if value.is_infinite:
                    return bool(found == (flint.arb.pos_inf() if value > 0 else flint.arb.neg_inf()))
                if not found.is_finite() or not found.overlaps(constant_ball(value)):
                    return False
                if found.rad() < _TIGHT * (1 + abs(constant_ball(value))):
                    return True  # a wide ball would confirm any value
        except (OpenError, ZeroDivisionError, ValueError):
            continue
    return None


def conjugate(divergence: Divergence, settled: Settled) -> Finding:
    """f*(f'(u)) = u f'(u) - f(u): with the slope range it proves f* on the interior, however it was found.

    f' is continuous, so that it takes every t between its limits, and f is convex, so that u maximises u t - f(u).
    """
    pieces = [piece for piece in divergence.conjugate.pieces if piece.source is not None]
    implicit = [piece for piece in pieces if piece.expression is None]
    for piece in pieces:
        if piece.expression is not None and not _surplus_identity(piece):
            return Finding(Evidence.TESTED, "f*(f'(u)) = u f'(u) - f(u) was not simplified to an identity")
    reason = "f*(f'(u)) = u f'(u) - f(u) identically, and f' rises through its whole range"
    if implicit:
        reason = "f*(t) = u f'(u) - f(u) where f'(u) = t, which has a root for every t in the range of f'"
        reason += "; there is no formula in t, and numbers come from an inverse with an asserted residual"
    return _following(settled, ("convexity", "limits"), reason)


def _surplus_identity(piece: ConjugatePiece) -> bool:
    source = piece.source
    assert source is not None
    assert piece.expression is not None
    # where t = f'(u) the concave u t - f(u) is stationary, hence highest: its value there is f*(t)
    slope = sympy.together(source.slope) if source.slope.is_rational_function(u) else source.slope
    residual = piece.expression.subs(t, slope) - (u * slope - source.expression)
    return is_identity(residual) or is_identity(residual.subs(u, _stretched(source)))


def _stretched(piece: Piece) -> Expr:
    """Return a map of (0, inf) onto the piece, after which (1 - u)^2 has a root whose sign is known."""
    if piece.upper == sympy.oo:
        return piece.lower + u
    return (piece.lower + piece.upper * u) / (1 + u)


def conjugate_everywhere(divergence: Divergence, settled: Settled) -> Finding:
    """The pieces of f* cover the line: -f(0+) below f'(0+), a line k t - f(k) at each kink, +inf above f'(inf)."""
    checked = oracles.compare_conjugate(divergence)
    derived = divergence.conjugate
    # the slopes -inf, f'(0+), f'(k-), f'(k+), ..., f'(inf): each piece begins where the one before it ends
    seams = [(a.upper, b.lower) for a, b in pairwise(derived.pieces)]
    seams += [(derived.pieces[-1].upper, divergence.slope_at_infinity), (derived.pieces[0].lower, -sympy.oo)]
    whole = all(a == b or vanishes(a - b) for a, b in seams)
    whole = whole and all(_line_is_right(divergence, piece) for piece in derived.pieces if piece.source is None)
    reason = "the pieces meet: -f(0+) below f'(0+), k t - f(k) at a kink k, +inf above f'(inf)"
    if not checked.evidence.settled or not whole:
        return checked
    return _following(settled, ("conjugate", "limits"), reason, checked)


def _line_is_right(divergence: Divergence, piece: ConjugatePiece) -> bool:
    """A piece without a source belongs to u = 0 or to a kink: it is the line u t - f(u) over that kink's slopes."""
    if piece.lower == -sympy.oo:
        return bool(simplified(piece.expression + divergence.value_at_zero) == 0)
    places = [place for place, _ in divergence.kinks if piece.ratio is not None and place == piece.ratio]
    return any(simplified(piece.expression - (place * t - divergence.value_at(place))) == 0 for place in places)


def biconjugation(divergence: Divergence, settled: Settled) -> Finding:
    """f** = f on (0, inf): Fenchel and Moreau."""
    reason = "f is convex and continuous on (0, inf), and f* is its conjugate (Fenchel-Moreau)"
    premises = ("convexity", "conjugate on the whole line")
    return _following(settled, premises, reason, oracles.compare_biconjugate(divergence))


def fenchel_young(divergence: Divergence, settled: Settled) -> Finding:
    """f(u) + f*(t) >= u t, with equality exactly where t is f'(u), or between the two slopes at a kink."""
    reason = "f*(t) is a supremum, attained exactly at the u whose subgradients contain t"
    premises = ("convexity", "conjugate on the whole line")
    return _following(settled, premises, reason, oracles.compare_fenchel_young(divergence))


def adjoint(divergence: Divergence, settled: Settled) -> Finding:
    """The adjoint of the adjoint is f, and it exchanges f(0+) with f'(inf)."""
    once = divergence.adjoint
    exchanged = (once.value_at_zero, divergence.slope_at_infinity), (once.slope_at_infinity, divergence.value_at_zero)
    if not all(a == b or simplified(a - b) == 0 for a, b in exchanged):
        return Finding(Evidence.TESTED, "an involution by definition; f(0+) and f'(inf) were not shown to exchange")
    # g(u) = u f(1/u) gives u g(1/u) = f(u): its pieces are those of f again, in the order of u
    pairs = list(zip(once.adjoint.pieces, divergence.pieces, strict=False))
    if len(once.pieces) == len(divergence.pieces) and all(
        is_identity(twice.expression - piece.expression) for twice, piece in pairs
    ):
        return Finding(Evidence.PROVED, "an involution that exchanges f(0+) and f'(inf)")
    return oracles.compare_adjoint(divergence)


def activation(divergence: Divergence, settled: Settled) -> Finding:
    """T(v) = f'(e^v) increases from f'(0+) to f'(inf); the kernel proves it where T is f'(e^v)."""
    return oracles.compare_activation(divergence)


def _no_gaussian(divergence: Divergence) -> Finding | None:
    gaussian = divergence.gaussian
    return None if gaussian.evaluable else Finding(Evidence.NOT_APPLICABLE, gaussian.reason)


def gaussian_value(divergence: Divergence, settled: Settled) -> Finding:
    """D(s) = E_Q[f] by quadrature; the kernel proves it in the closed class, and bounds the error of a rule."""
    if missing := _no_gaussian(divergence):
        return missing
    return oracles.compare_gaussian(divergence)


def gaussian_sign(divergence: Divergence, settled: Settled) -> Finding:
    """D(0) = 0 and D(s) >= 0, by Jensen's inequality."""
    if missing := _no_gaussian(divergence):
        return missing
    reason = "Jensen: E_Q[f(dP/dQ)] >= f(1) = 0, and at s = 0 dP/dQ = 1"
    return _following(settled, ("f(1) = 0", "convexity", "D(s)"), reason, oracles.compare_sign(divergence))


def gaussian_weight(divergence: Divergence, settled: Settled) -> Finding:
    """w = dD/ds; w >= 0 because f is convex."""
    if missing := _no_gaussian(divergence):
        return missing
    checked, gaussian = oracles.compare_gradient_weight(divergence), divergence.gaussian
    if not checked.evidence.settled or gaussian.formula is None or gaussian.gradient_weight_formula is None:
        return checked
    if sympy.expand(sympy.diff(gaussian.formula, s) - gaussian.gradient_weight_formula) != 0:
        return checked
    return _following(settled, ("convexity", "D(s)"), "the derivative of D's formula; f'' >= 0", checked)


def gradient_law(divergence: Divergence, settled: Settled) -> Finding:
    """w(s) = E_Q[u^2 f''(u)] / 2, a kink k with jump j counting as j delta(u - k): Stein's lemma."""
    if missing := _no_gaussian(divergence):
        return missing
    reason = "Stein's lemma, twice by parts under the Gaussian of log u"
    return _following(settled, ("w(s) = dD/ds >= 0",), reason, oracles.compare_gradient_law(divergence))


def mean_squared_error(divergence: Divergence, settled: Settled) -> Finding:
    """D(s)/s -> f''(1)/2 under the hypothesis 0 < f''(1) < inf; or why the hypothesis fails."""
    curvature = divergence.curvature
    if curvature is None:
        left, right = divergence.curvatures
        return Finding(Evidence.NOT_APPLICABLE, f"f is not C^2 at 1: f''(1-) = {left} and f''(1+) = {right}")
    if not divergence.reduces_to_mse:
        jump = next((jump for place, jump in divergence.kinks if place == 1), None)
        why = "" if jump is None else f", as f' jumps by {jump} there, and D(s) is of order sqrt(s)"
        shown = f"the hypothesis 0 < f''(1) < inf fails: f''(1) = {curvature}{why}".replace("oo", "inf")
        return Finding(Evidence.NOT_APPLICABLE, shown)
    if missing := _no_gaussian(divergence):
        return missing
    gaussian, stated = divergence.gaussian, f"0 < f''(1) = {curvature} < inf"
    if gaussian.formula is not None:  # D(0) = 0, so that D(s)/s tends to w(0)
        slope_at_zero = limit_at_zero(gaussian.formula / s, s)
        if compare(slope_at_zero, curvature / 2) == 0:
            return _following(settled, ("D(s)",), f"{stated}, and lim D(s)/s = f''(1)/2")
        return Finding(Evidence.REFUTED, f"lim D(s)/s = {slope_at_zero}, not f''(1)/2 = {curvature / 2}")
    slope = gaussian(1e-12) / 1e-12
    if abs(slope - float(curvature) / 2) > 1e-5 * float(curvature):  # off by sqrt(s) where f''' jumps
        return left_open(f"D(s)/s = {slope!r} at s = 1e-12 is not f''(1)/2 = {curvature / 2}")
    # w(s) = E_Q[u^2 f'']/2 with u -> 1: the limit may be taken inside where a power of u, integrable, lies above
    if _polynomial_growth(divergence):
        reason = f"{stated}, and u^2 f'' is at most a power of u, so w(s) -> f''(1)/2 by dominated convergence"
        return Finding(settled["limits"], f"{reason}; D(s)/s at s = 1e-12 agrees")
    return Finding(Evidence.TESTED, f"{stated}, and D(s)/s = f''(1)/2 at s = 1e-12")


def _polynomial_growth(divergence: Divergence) -> bool:
    """Whether f'' is enclosed by powers of u towards both ends; between them it is continuous."""
    ends = ((divergence.pieces[0], -1), (divergence.pieces[-1], 1))
    return len(divergence.pieces) == 1 and all(_is_bounded(piece.second, side) for piece, side in ends)


def _is_bounded(expression: Expr, side: int) -> bool:
    for start in _STARTS:
        try:
            with flint.ctx.workprec(192):
                return is_bounded_by_a_power(expression, side, start)
        except (OpenError, ZeroDivisionError, ValueError):
            continue
    return False


def large_s(divergence: Divergence, settled: Settled) -> Finding:
    """D(s) -> f(0+) + f'(inf), finite or not, as P and Q become mutually singular."""
    if missing := _no_gaussian(divergence):
        return missing
    top = divergence.value_at_zero + divergence.slope_at_infinity
    shown = f"D(s) -> f(0+) + f'(inf) = {top}".replace("oo", "inf")
    reason = f"{shown}: D increases, dP/dQ -> 0 in Q-probability and -> inf in P-probability"
    return _following(settled, ("limits", "convexity", "D(s)"), reason, oracles.compare_large_s(divergence))
