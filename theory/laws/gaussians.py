"""The laws between two Gaussians of one covariance, s = |mu_P - mu_Q|^2 / sigma^2: of D(s) and of w(s) = dD/ds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import sympy

from fdiv import Divergence
from theory.laws.claims import Claims, DoesNotApply, Law, law, laws_in
from theory.laws.comparison import Comparison
from theory.laws.expectations import slope, weight


def _finite(c: Claims) -> None:
    if c.reason:
        raise DoesNotApply(c.reason)


@law("gaussian weight", 0.0, *(10.0**k for k in range(-12, 7)), 30.0)
def nonnegative(c: Claims, s: float) -> Iterator[Comparison]:
    """D(s) >= 0 with D(0) = 0, and w(s) >= 0."""
    _finite(c)
    yield Comparison(f"D({s:g})", c.gaussian(s), 0.0, "at_least" if s else "equal", 0.0)
    if s:
        yield Comparison(f"w({s:g})", c.weight(s), 0.0, "at_least", 0.0)


@law("gaussian", 0.1, 0.13, 0.3, 0.8, 2.0, 3.0)
def expectation(c: Claims, s: float) -> Iterator[Comparison]:
    """D(s) is the mean of f under Q."""
    _finite(c)
    yield Comparison(f"D({s:g})", c.gaussian(s), c.oracle.expectation(s), "equal", 1e-8, 1e-6)


@law("weight", 0.04, 0.9, 6.0)
def gradient_law(c: Claims, s: float) -> Iterator[Comparison]:
    """w(s) is dD/ds, and half the mean of u^2 f''(u) under Q, the masses of kinks included."""
    _finite(c)
    tolerance = 1e-8 if _singular(c.divergence) else 1e-10
    mean, derivative = weight(c.divergence, s), float(slope(c.divergence, s))
    yield Comparison(s, derivative, mean, "equal", tolerance)
    yield Comparison(f"fdiv, s={s:g}", c.weight(s), mean, "equal", tolerance)
    # the law itself holds for f that is not convex, the sign does not
    yield Comparison(f"sign, s={s:g}", derivative, 0.0, "at_least", 0.0)


def _singular(divergence: Divergence) -> bool:
    """Whether f'' is infinite where two pieces meet, as for |u - 1|^{3/2}: doubles of u - 1 then lose digits."""
    pairs = pairwise(divergence.pieces)
    return any(a.limit(a.second, a.upper).is_infinite or b.limit(b.second, b.lower).is_infinite for a, b in pairs)


@law("gaussian")
def universality(c: Claims) -> Iterator[Comparison]:
    """For small s, D(s)/s tends to f''(1)/2, the mean of both sides where they differ: 0 or inf is not MSE."""
    _finite(c)
    (left, right), kink = c.oracle.one_sided_curvatures(), c.oracle.jump(sympy.S.One)
    half = math.inf if kink else (left + right) / 4
    differ = not kink and not Comparison("f''(1-)", left, right, "equal", 1e-6).holds
    if c.curvature is None:  # which is said where there is no finite curvature
        yield Comparison("f''(1) does not exist", float(differ or math.isinf(half)), 1.0, "equal", 0.0)
    else:
        yield Comparison("f''(1)", c.curvature, math.nan if differ else 2 * half, "equal", 1e-6, 1e-3)
    first, second = (c.gaussian(s) / s for s in (1e-6, 1e-10))
    if 0 < half < math.inf:
        yield Comparison("D(s)/s", second, half, "equal", 1e-3)
    elif half:
        yield Comparison("D(s)/s grows", second, 3 * first, "at_least", 0.0)
    else:
        yield Comparison("D(s)/s vanishes", second, 0.1 * first, "at_most", 0.0)


@law("gaussian")
def large_s(c: Claims) -> Iterator[Comparison]:
    """A bounded f has the limit f(0) + f'(inf)."""
    _finite(c)
    top = c.oracle.limit("f(0+)") + c.oracle.limit("f'(inf)")
    if math.isinf(top):
        raise DoesNotApply("f(0+) + f'(inf) = inf, so D is not bounded")
    yield Comparison("D(1e5)", c.gaussian(1e5), top, "equal", 1e-6)


LAWS: tuple[Law, ...] = laws_in(globals())
