"""The laws for any P and Q: of the generator, its limits, its conjugate, its adjoint and its critic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise, product

import mpmath
import numpy as np

from theory.laws.claims import Claims, DoesNotApply, Law, Scalar, law, laws_in, spread
from theory.laws.comparison import Comparison
from theory.laws.published import published

LOGS = (-4.0, -3.5, -1.1, -0.3, 0.2, 0.4, 0.9, 1.3, 3.0, 3.5)
LETTERS = P, Q = (0.7, 0.2, 0.1), (0.2, 0.3, 0.5)
SINGULAR = (((0.5, 0.5), (1.0, 0.0)), ((1.0, 0.0), (0.3, 0.7)), ((0.2, 0.8, 0.0), (0.0, 0.4, 0.6)))
Pair = tuple[Sequence[float], ...]  # the probabilities of P, and of Q


def _letters(singular: bool) -> Iterator[Pair]:
    """P and Q on four letters from weights in log space; of some letters P or Q, never both, has nothing."""
    for logs in spread(*[(-4.0, 0.0)] * 8):
        p, q = np.exp(np.array(logs).reshape(2, 4))
        if singular:
            p[0], q[1] = p[0] * (logs[0] >= -2), q[1] * (logs[5] >= -2)
        yield tuple((p / p.sum()).tolist()), tuple((q / q.sum()).tolist())


def on_letters(f: Scalar, ends: tuple[float, float], pair: Pair) -> float:
    """D_f(P||Q) on a finite alphabet by its definition (Liese and Vajda 2006).

    Args:
        f: The generator as a function of log u.
        ends: f(0+), which atoms of Q without P count, and f'(inf), which atoms of P without Q count.
        pair: The probabilities of P and of Q.
    """
    letters = list(zip(*pair, strict=True))
    both = math.fsum(q * f(math.log(p / q)) for p, q in letters if p > 0 and q > 0)
    only_q = math.fsum(q for p, q in letters if p == 0)
    only_p = math.fsum(p for p, q in letters if q == 0)
    return both + (ends[0] * only_q if only_q else 0.0) + (ends[1] * only_p if only_p else 0.0)


def divergence_of(c: Claims, pair: Pair) -> float:
    """D_f(P||Q) on a finite alphabet, with the limits that are claimed."""
    return on_letters(c.oracle.value, (c.value_at_zero, c.slope_at_infinity), pair)


# --- the generator and its limits


@law("generator")
def vanishes_at_one(c: Claims) -> Iterator[Comparison]:
    """f(1) = 0."""
    yield Comparison("f(1)", c.oracle.value(0.0), 0.0, "equal", 1e-15, 1e-15)


@law("generator", (-2.0, 2.0, 0.4), (-0.4, 0.4, 0.5), (-0.1, 0.1, 0.5), *spread((-30, 30), (-30, 30), (0, 1)))
def convex(c: Claims, chord: tuple[float, float, float]) -> Iterator[Comparison]:
    """f lies below its chords."""
    x, y, share = chord
    with mpmath.workdps(60):
        a, b, w = mpmath.exp(x), mpmath.exp(y), mpmath.mpf(share)
        f = c.oracle.exact
        above = w * f(a) + (1 - w) * f(b)
        gap = above - f(w * a + (1 - w) * b)
        scale = float(1 + abs(above))
    yield Comparison(f"chord from x={x:.3g} to {y:.3g}", float(gap), 0.0, "at_least", 1e-15, 1e-10 * scale)


@law("limits")
def limits(c: Claims) -> Iterator[Comparison]:
    """f(0+), f'(0+) and f'(inf) are what values far out tend to."""
    stated = {"f(0+)": c.value_at_zero, "f'(0+)": c.slope_at_zero, "f'(inf)": c.slope_at_infinity}
    for name, value in stated.items():
        yield Comparison(name, value, c.oracle.limit(name), "equal", 1e-9, 1.0)


@law("generator", LETTERS, *_letters(singular=False))
def published_value(c: Claims, pair: Pair) -> Iterator[Comparison]:
    """On a finite alphabet the divergence is the published one, in nats and in this orientation."""
    reference = published(c.divergence.spec)
    if reference is None:
        raise DoesNotApply("no formula for it is published here")
    yield Comparison(f"P, Q = {pair}", divergence_of(c, pair), reference(*pair), "equal", 1e-9, 1e-3)


@law("limits", *SINGULAR)
def published_singular_value(c: Claims, pair: Pair) -> Iterator[Comparison]:
    """It is the published one where Q has letters that P has not, and P letters that Q has not."""
    yield from published_value.check(c, pair)


@law("adjoint", LETTERS, *SINGULAR, *_letters(singular=True))
def exchange(c: Claims, pair: Pair) -> Iterator[Comparison]:
    """The adjoint's divergence of Q from P is that of P from Q, singular atoms included."""
    exchanged = on_letters(c.adjoint, c.adjoint_limits, pair[::-1])
    yield Comparison(f"adjoint, P, Q = {pair}", exchanged, divergence_of(c, pair), "equal", 1e-9, 1e-2)


@law("adjoint", *LOGS)
def involution(c: Claims, x: float) -> Iterator[Comparison]:
    """The adjoint is u f(1/u), and the adjoint of the adjoint is f."""
    ratio = math.exp(x)
    unit = 1e-3 * (1 + ratio)
    yield Comparison(f"adjoint, x={x:g}", c.adjoint(x), ratio * c.oracle.value(-x), "equal", 1e-9, unit)
    yield Comparison(f"its adjoint, x={x:g}", c.twice_adjoint(x), c.oracle.value(x), "equal", 1e-9, unit)


# --- the conjugate


@law("conjugate", -6.0, -3.0, -1.2, -0.7, -0.4, -0.3, -0.1, 0.05, 0.3, 0.8, 1.5, 2.5, 4.0)
def supremum(c: Claims, t: float) -> Iterator[Comparison]:
    """f*(t) is the supremum of u t - f(u): below f'(0+), on every piece and kink, and +inf above f'(inf)."""
    if abs(t - c.slope_at_infinity) >= 1e-9:  # the end has its own law
        yield Comparison(f"f*, t={t:.3g}", c.conjugate(t), c.oracle.supremum(t), "equal", 1e-7, 1.0)


@law("conjugate", 0.0, 1e-9, 1.0, 5.0, 100.0)
def constant_branch(c: Claims, distance: float) -> Iterator[Comparison]:
    """Below f'(0+) the conjugate is the constant -f(0+)."""
    if math.isinf(c.slope_at_zero):
        raise DoesNotApply("f'(0+) = -inf, so no slope lies below it")
    t = c.slope_at_zero - distance
    yield Comparison(f"f*, t={t:.3g}", c.conjugate(t), -c.oracle.limit("f(0+)"), "equal", 1e-9, 1e-3)


@law("conjugate")
def closed_end(c: Claims) -> Iterator[Comparison]:
    """At t = f'(inf) the conjugate is the limit of u f'(inf) - f(u): finite exactly where the domain is closed."""
    if math.isinf(c.slope_at_infinity):
        raise DoesNotApply("f'(inf) = inf, so f* is finite on the whole line")
    truth = c.oracle.surplus_at_infinity()
    yield Comparison("f* at f'(inf)", c.conjugate(c.slope_at_infinity), truth, "equal", 1e-6, 1e-3)
    yield Comparison("closed at f'(inf)", float(c.closed), float(math.isfinite(truth)), "equal", 0.0)


@law("conjugate", 1e-6, 0.1, 0.5, 100.0)
def beyond_the_end(c: Claims, distance: float) -> Iterator[Comparison]:
    """Above f'(inf) the conjugate is +inf."""
    if math.isinf(c.slope_at_infinity):
        raise DoesNotApply("f'(inf) = inf, so f* is finite on the whole line")
    yield Comparison(f"f*, f'(inf) + {distance:g}", c.conjugate(c.slope_at_infinity + distance), math.inf, "equal", 0.0)


@law("conjugate", *LOGS)
def biconjugate(c: Claims, x: float) -> Iterator[Comparison]:
    """The supremum over t of u t - f*(t) is f(u)."""
    ratio, truth = math.exp(x), c.oracle.value(x)
    around = {c.oracle.slope(x + step) for step in (-2, -0.5, -0.1, 0, 0.1, 0.5, 2)}
    again = max(ratio * t - c.conjugate(t) for t in around)
    yield Comparison(f"f**, x={x:g}", again, truth, "equal", 1e-7, 1 + ratio)


@law("conjugate", *product((-3.5, -1.1, 0.2, 0.9, 3.5), repeat=2), *spread((-4, 4), (-4, 4)))
def fenchel_young(c: Claims, places: tuple[float, float]) -> Iterator[Comparison]:
    """f(u) + f*(t) - u t >= 0, and it is 0 exactly where t is a slope of f at u."""
    x, y = places
    ratio, t, value = math.exp(x), c.oracle.slope(y), c.oracle.value(x)
    star = c.conjugate(t)
    gap, unit = value + star - ratio * t, 1 + abs(value) + abs(star) + ratio * abs(t)
    if x == y:
        yield Comparison(f"equality, x={x:g}", gap, 0.0, "equal", 1e-7, unit)
        return
    yield Comparison(f"Fenchel, x={x:g}, t={t:.3g}", gap, 0.0, "at_least", 1e-7, unit)
    own, between = c.oracle.slope(x), c.oracle.slope((x + y) / 2)
    # a lower bound of the gap, where the slope turns between the two places by more than rounding
    if min(abs(t - own), abs(between - own)) * min(ratio, math.exp(y)) > 1e-5 * unit:
        yield Comparison(f"not equal, x={x:g}, t={t:.3g}", gap, 5e-324, "at_least", 0.0)


# --- the critic


def _critic(c: Claims) -> None:
    if c.no_critic:
        raise DoesNotApply(c.no_critic)


@law("critic", *pairwise((-80.0, -20.0, -3.0, -0.5, 0.0, 0.5, 3.0, 9.0, 20.0, 80.0)), *spread((-80, 80), (-20, 20)))
def increasing(c: Claims, places: tuple[float, float]) -> Iterator[Comparison]:
    """T never decreases, and stays inside the domain of f* (up to the rounding of its end)."""
    _critic(c)
    low, high = sorted(places)
    yield Comparison(f"T({high:g}) > T({low:g})", c.output(high), c.output(low), "at_least", 1e-14)
    yield Comparison(f"T({high:g}) in dom f*", c.output(high), c.slope_at_infinity, "at_most", 1e-14)


@law("critic", *LOGS)
def surplus(c: Claims, x: float) -> Iterator[Comparison]:
    """f*(T(v)) is the supremum at T(v); and T(v) = f'(e^v) where f has no kink."""
    _critic(c)
    t, term = c.output(x), c.term(x)
    yield Comparison(f"f*(T({x:g}))", term, c.oracle.supremum(t), "equal", 1e-7, 1.0)
    if c.canonical:
        slope = c.oracle.slope(x)
        yield Comparison(f"T({x:g})", t, slope, "equal", 1e-9, 1.0)
        yield Comparison(f"u f' - f, x={x:g}", term, math.exp(x) * slope - c.oracle.value(x), "equal", 1e-9, 1.0)


@law("critic", -4.1, -0.43, 0.21, 3.07)
def critic_slopes(c: Claims, x: float) -> Iterator[Comparison]:
    """The stated slopes of T and of f* o T are their derivatives by v."""
    _critic(c)
    for function, slope in ((c.output, c.output_slope), (c.term, c.term_slope)):
        near, far = (function(x + k * 1e-3) - function(x - k * 1e-3) for k in (1, 2))
        yield Comparison(f"slope, v={x:g}", slope(x), (8 * near - far) / 12e-3, "equal", 1e-6, 0.1)


@law("critic", (0.0, 0.0, 0.0), (1.0, -0.5, -1.6), *spread(*[(-4, 4)] * 3))
def bound(c: Claims, critic: Sequence[float]) -> Iterator[Comparison]:
    """No critic's bound E_P[T] - E_Q[f*(T)] exceeds the divergence."""
    _critic(c)
    yield Comparison(f"critic {critic}", _bound(c, critic), divergence_of(c, LETTERS), "at_most", 1e-9, 1.0)


@law("critic")
def tight(c: Claims) -> Iterator[Comparison]:
    """The bound is the divergence at the critic log p/q, or, where f' jumps, at the subgradient f'(p/q) itself."""
    _critic(c)
    ratios = [math.log(p / q) for p, q in zip(P, Q, strict=True)]
    value = _bound(c, ratios) if c.canonical else _at_subgradients(c, [c.oracle.slope(x) for x in ratios])
    yield Comparison("log p/q" if c.canonical else "subgradient", value, divergence_of(c, LETTERS), "equal", 1e-9)


def _bound(c: Claims, critic: Sequence[float]) -> float:
    return math.fsum(p * c.output(x) - q * c.term(x) for p, q, x in zip(P, Q, critic, strict=True))


def _at_subgradients(c: Claims, slopes: Sequence[float]) -> float:
    return math.fsum(p * t - q * c.conjugate(t) for p, q, t in zip(P, Q, slopes, strict=True))


LAWS: tuple[Law, ...] = laws_in(globals())
