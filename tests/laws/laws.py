"""The laws of an f-divergence, each a comparison of what is claimed of it with what its generator says.

A law takes `Claims` and, mostly, a point of some domain. It returns a `Gap`: the value, the truth, and their distance
in units of what is allowed. A law that does not apply raises `DoesNotApply` with the mathematical reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import mpmath
import sympy

from tests.laws.claims import Claims, DoesNotApply, Gap, apart, at_least, worst
from tests.laws.references import published

# --- the generator


def vanishes_at_one(c: Claims) -> Gap:
    """f(1) = 0."""
    return apart(c.oracle.value(0.0), 0.0, 0, 1e-30)


def convex(c: Claims, drawn: tuple[float, float, float]) -> Gap:
    """f lies below its chords."""
    x, y, share = drawn
    with mpmath.workdps(60):
        a, b, w = mpmath.exp(x), mpmath.exp(y), mpmath.mpf(share)
        f = c.oracle.exact
        chord = w * f(a) + (1 - w) * f(b)
        return at_least(float(chord - f(w * a + (1 - w) * b)), 0.0, 1e-25 * float(1 + abs(chord)))


def limits(c: Claims) -> Gap:
    """f(0+), f'(0+) and f'(inf) are what values far out tend to."""
    stated = {"f(0+)": c.value_at_zero, "f'(0+)": c.slope_at_zero, "f'(inf)": c.slope_at_infinity}
    return worst([apart(value, c.oracle.limit(name), 1e-9, 1e-9) for name, value in stated.items()])


def published_value(c: Claims, drawn: tuple[Sequence[float], Sequence[float]]) -> Gap:
    """On a finite alphabet the divergence is the published one, in nats and in this orientation.

    Atoms of Q without P count f(0+), and atoms of P without Q count f'(inf) (Liese and Vajda 2006).
    """
    reference = published(c.spec)
    if reference is None:
        raise DoesNotApply("no formula for it is published here")
    return apart(alphabet(c, *drawn), reference(*drawn), 1e-9, 1e-12)


def alphabet(c: Claims, p: Sequence[float], q: Sequence[float]) -> float:
    """D_f(P||Q) by its definition."""
    both = [b * c.oracle.value(math.log(a / b)) for a, b in zip(p, q, strict=True) if a > 0 and b > 0]
    only_q = sum(b for a, b in zip(p, q, strict=True) if a == 0)
    only_p = sum(a for a, b in zip(p, q, strict=True) if b == 0)
    return (
        math.fsum(both) + (c.value_at_zero * only_q if only_q else 0) + (c.slope_at_infinity * only_p if only_p else 0)
    )


def exchange(c: Claims, drawn: tuple[Sequence[float], Sequence[float]]) -> Gap:
    """The adjoint's divergence of Q from P is the divergence of P from Q, singular atoms included."""
    p, q = drawn
    both = [a * c.adjoint(math.log(b / a)) for a, b in zip(p, q, strict=True) if a > 0 and b > 0]
    only_q = sum(b for a, b in zip(p, q, strict=True) if a == 0)
    only_p = sum(a for a, b in zip(p, q, strict=True) if b == 0)
    at_zero, at_infinity = c.adjoint_limits
    value = math.fsum(both) + (at_zero * only_p if only_p else 0) + (at_infinity * only_q if only_q else 0)
    return apart(value, alphabet(c, p, q), 1e-9, 1e-11)


def involution(c: Claims, x: float) -> Gap:
    """The adjoint is u f(1/u), and the adjoint of the adjoint is f."""
    ratio = math.exp(x)
    once = apart(c.adjoint(x), ratio * c.oracle.value(-x), 1e-9, 1e-12 * (1 + ratio))
    return worst([once, apart(c.twice_adjoint(x), c.oracle.value(x), 1e-9, 1e-12 * (1 + ratio))])


# --- the conjugate


def supremum(c: Claims, t: float) -> Gap:
    """f*(t) is the supremum of u t - f(u): below f'(0+), on every piece and kink, and +inf above f'(inf)."""
    if abs(t - c.slope_at_infinity) < 1e-9:
        raise DoesNotApply("the end of the domain has its own law")
    return apart(c.conjugate(t), c.oracle.supremum(t), 1e-7, 1e-7)


def closed_end(c: Claims) -> Gap:
    """At t = f'(inf) the conjugate is the limit of u f'(inf) - f(u): finite exactly where the domain is closed."""
    if math.isinf(c.slope_at_infinity):
        raise DoesNotApply("f'(inf) = inf, so f* is finite on the whole line")
    truth = c.oracle.surplus_at_infinity()
    value = c.conjugate(c.slope_at_infinity)
    return worst([apart(value, truth, 1e-6, 1e-9), apart(c.closed, math.isfinite(truth), 0)])


def beyond_the_end(c: Claims, distance: float) -> Gap:
    """Above f'(inf) the conjugate is +inf."""
    if math.isinf(c.slope_at_infinity):
        raise DoesNotApply("f'(inf) = inf, so f* is finite on the whole line")
    return apart(c.conjugate(c.slope_at_infinity + distance), math.inf, 0)


def constant_branch(c: Claims, distance: float) -> Gap:
    """Below f'(0+) the conjugate is the constant -f(0+)."""
    if math.isinf(c.slope_at_zero):
        raise DoesNotApply("f'(0+) = -inf, so no slope lies below it")
    return apart(c.conjugate(c.slope_at_zero - distance), -c.oracle.limit("f(0+)"), 1e-9, 1e-12)


def biconjugate(c: Claims, x: float) -> Gap:
    """The supremum over t of u t - f*(t) is f(u)."""
    ratio = math.exp(x)
    around = {c.oracle.slope(x + step) for step in (-2, -0.5, -0.1, 0, 0.1, 0.5, 2)}
    value = max(ratio * t - c.conjugate(t) for t in around)
    truth = c.oracle.value(x)
    return apart(value, truth, 1e-7, 1e-7 * (1 + ratio))


def fenchel_young(c: Claims, drawn: tuple[float, float]) -> Gap:
    """f(u) + f*(t) - u t >= 0, and it is 0 exactly where t is a slope of f at u."""
    x, y = drawn
    ratio, t, value = math.exp(x), c.oracle.slope(y), c.oracle.value(x)
    star = c.conjugate(t)
    gap = value + star - ratio * t
    scale = 1e-7 * (1 + abs(value) + abs(star) + ratio * abs(t))
    if x == y:
        return apart(gap, 0.0, 0, scale)
    own, beside = c.oracle.slope(x), abs(c.oracle.slope((x + y) / 2) - c.oracle.slope(x))
    wide = min(abs(t - own), beside) * min(ratio, math.exp(y)) * 1e-2 > scale
    return Gap(gap, "> 0", 0.0 if gap > 0 or (not wide and gap >= -scale) else math.inf)


# --- the critic


def _critic(c: Claims) -> None:
    if c.no_critic:
        raise DoesNotApply(c.no_critic)


def increasing(c: Claims, drawn: tuple[float, float]) -> Gap:
    """T never decreases, and stays inside the domain of f* (up to the rounding of its end)."""
    _critic(c)
    low, high = sorted(drawn)
    a, b = c.output(low), c.output(high)
    rounding = 1e-14 * (abs(a) + abs(b))
    inside = b <= c.slope_at_infinity + rounding
    return Gap((a, b), "increasing inside dom f*", 0.0 if inside and b >= a - rounding else math.inf)


def surplus(c: Claims, x: float) -> Gap:
    """f*(T(v)) is the supremum at T(v); and T(v) = f'(e^v) where f has no kink."""
    _critic(c)
    t = c.output(x)
    gaps = [apart(c.term(x), c.oracle.supremum(t), 1e-7, 1e-7)]
    if c.canonical:
        gaps.append(apart(t, c.oracle.slope(x), 1e-9, 1e-9))
        gaps.append(apart(c.term(x), math.exp(x) * c.oracle.slope(x) - c.oracle.value(x), 1e-9, 1e-9))
    return worst(gaps)


def critic_slopes(c: Claims, x: float) -> Gap:
    """The stated slopes of T and of f* o T are their derivatives by v."""
    _critic(c)
    gaps = []
    for function, slope in ((c.output, c.output_slope), (c.term, c.term_slope)):
        near, far = (function(x + k * 1e-3) - function(x - k * 1e-3) for k in (1, 2))
        gaps.append(apart(slope(x), (8 * near - far) / 12e-3, 1e-6, 1e-7))
    return worst(gaps)


P, Q = (0.7, 0.2, 0.1), (0.2, 0.3, 0.5)


def bound(c: Claims, critic: Sequence[float]) -> Gap:
    """No critic's bound E_P[T] - E_Q[f*(T)] exceeds the divergence."""
    _critic(c)
    return at_least(alphabet(c, P, Q) - _bound(c, critic), 0.0, 1e-9)


def tight(c: Claims) -> Gap:
    """The bound is the divergence where the critic is log p/q."""
    _critic(c)
    if not c.canonical:
        raise DoesNotApply("f' jumps, and a critic cannot learn through a step: T is smoothed there, v no log ratio")
    return apart(_bound(c, [math.log(p / q) for p, q in zip(P, Q, strict=True)]), alphabet(c, P, Q), 1e-9)


def _bound(c: Claims, critic: Sequence[float]) -> float:
    return sum(p * c.output(x) - q * c.term(x) for p, q, x in zip(P, Q, critic, strict=True))


# --- between Gaussians


def _finite(c: Claims) -> None:
    if c.reason:
        raise DoesNotApply(c.reason)


def nonnegative(c: Claims, s: float) -> Gap:
    """D(s) >= 0 with D(0) = 0, and w(s) >= 0."""
    _finite(c)
    if s == 0:
        return apart(c.gaussian(0.0), 0.0, 0)
    return worst([at_least(c.gaussian(s), 0.0, 1e-300), at_least(c.weight(s), 0.0, 1e-300)])


def expectation(c: Claims, s: float) -> Gap:
    """D(s) is the mean of f under Q."""
    _finite(c)
    return apart(c.gaussian(s), c.oracle.expectation(s), 1e-8, 1e-14)


def derivative(c: Claims, s: float) -> Gap:
    """w(s) is dD/ds."""
    _finite(c)
    return apart(c.weight(s), c.oracle.derivative_of_expectation(s), 1e-5, 1e-11)


def gradient_law(c: Claims, s: float) -> Gap:
    """w(s) is half the mean of u^2 f''(u) under Q, the masses of kinks included."""
    _finite(c)
    return apart(c.weight(s), c.oracle.gradient_law(s), 1e-6, 1e-12)


def universality(c: Claims) -> Gap:
    """For small s, D(s)/s tends to f''(1)/2, the mean of both sides where they differ: 0 or inf is not MSE."""
    _finite(c)
    sides = c.oracle.one_sided_curvatures()
    truth = math.inf if c.oracle.jump(sympy.S.One) else sum(sides) / 4
    differ = apart(*sides, 1e-6).error > 1 and not c.oracle.jump(sympy.S.One)
    stated = None if differ else 2 * truth
    if stated is None or c.curvature is None:  # None is said where there is no finite curvature
        known = Gap(c.curvature, stated, 0.0 if c.curvature is None and stated in (None, math.inf) else math.inf)
    else:
        known = apart(c.curvature, stated, 1e-6, 1e-9)
    first, second = (c.gaussian(s) / s for s in (1e-6, 1e-10))
    if 0 < truth < math.inf:
        return worst([known, apart(second, truth, 1e-3)])
    grows = second > 3 * first if truth else second < 0.1 * first or second == first == 0
    return worst([known, Gap((first, second), truth, 0.0 if grows else math.inf)])


def large_s(c: Claims) -> Gap:
    """A bounded f has the limit f(0) + f'(inf)."""
    _finite(c)
    top = c.oracle.limit("f(0+)") + c.oracle.limit("f'(inf)")
    if math.isinf(top):
        raise DoesNotApply("f(0+) + f'(inf) = inf, so D is not bounded")
    return apart(c.gaussian(1e5), top, 1e-6)
