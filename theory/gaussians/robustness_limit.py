r"""The robustness limit: no f-divergence forgets large errors at a faster exponential rate than e^{-s/8}.

Statement and proof. With g(x) = e^{3x/2} f''(e^x)/2 (a measure, atoms at kinks) the gradient law reads
w(s) = e^{-s/8} integral of g(dx) phi(x/sqrt s)/sqrt s. g >= 0 has a positive mass m on some [-X, X] unless f is affine,
and phi(x/sqrt s) >= phi(X/sqrt s) there, so

    w(s) >= m e^{-X^2/(2s)} e^{-s/8} / sqrt(2 pi s)        for every s > 0.

Hence liminf of log w(s)/s is at least -1/8. Convexity is what forbids more: a redescending weight that vanishes
faster, or beyond some s, belongs to no f-divergence between these Gaussians.

The rate is attained. Squared Hellinger has a constant g and w(s) = w(0) e^{-s/8} exactly. The bound itself, with the
factor 1/sqrt(s), is attained too: sqrt(2 pi s) e^{s/8} w(s) tends to the total mass of g whenever that is finite
(dominated convergence), as for total variation, triangular and Jensen-Shannon. So squared Hellinger is *not* the
fastest to forget: it attains the exponential rate, and the divergences of finite mass beat it by a factor of order
1/sqrt(s).

Before the limit: sqrt(2 pi s) e^{s/8} w(s) = integral of g(dx) e^{-x^2/(2s)} rises with s, as e^{-x^2/(2s)} does for
every x. So w(t) <= e^{(s - t)/8} sqrt(s/t) w(s) for t <= s, and D(s), the integral of w from 0 to s, is at most

    2 s e^{s/8} w(s),

nearly attained for small s where f has a kink at 1, as D and w are then of the orders sqrt(s) and 1/(2 sqrt(s)). With
it the kernel bounds the error of w (`docs/kernel.md`).

For the divergence itself: a bounded D_f tends to f(0) + f'(inf), with a deficit, the integral of w beyond s, that can
fall no faster than e^{-s/8}/sqrt(s).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from fdiv import Divergence
from theory.gaussians.alpha_family import terms
from theory.laws.expectations import in_doubles, kinks, weight
from theory.theorem import Comparison, Theorem

_POINTS = (0.5, 5.0, 30.0, 200.0, 800.0)
_SMALLER = (1e-3, 0.04, 0.5, 5.0, 30.0)


@cache
def _mass(divergence: Divergence, reach: float) -> float:
    """The integral of g over (-reach, reach), atoms included, by panels of Gauss and Legendre."""
    nodes, shares = np.polynomial.legendre.leggauss(40)
    cuts = {-reach, 0.0, reach, *(x for k in kinks(divergence) if abs(x := math.log(float(k))) < reach)}
    ends = sorted({*cuts, *(float(x) for x in np.arange(-math.floor(reach), reach, 0.5))})
    total = 0.0
    for left, right in pairwise(ends):
        u = np.exp((left + right) / 2 + (right - left) / 2 * nodes)
        middle = math.exp((left + right) / 2)
        (piece,) = [piece for piece in divergence.pieces if float(piece.lower) < middle <= float(piece.upper)]
        total += float(np.sum(u**1.5 * in_doubles(piece.second)(u) * shares)) * (right - left) / 4
    for place, jump in divergence.kinks:
        if abs(math.log(float(place))) < reach:
            total += float(place) ** 0.5 * float(jump) / 2
    return total


def _reach(divergence: Divergence) -> float:
    return max([2.0, *(1.01 * abs(math.log(float(place))) + 0.1 for place, _ in divergence.kinks)])


def finite_mass(divergence: Divergence) -> float | None:
    """The integral of g over the line, or None where it does not converge by |x| = 60."""
    near, far = _mass(divergence, 30.0), _mass(divergence, 60.0)
    return far if far - near <= 1e-4 * far else None


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    reach = _reach(divergence)
    mass, total = _mass(divergence, reach), finite_mass(divergence)
    for s in _POINTS:
        floor = mass * math.exp(-s / 8 - reach**2 / (2 * s)) / math.sqrt(2 * math.pi * s)
        yield Comparison(s, divergence.gaussian.gradient_weight(s), floor, "at_least", 1e-12)
        if s <= 64:
            yield Comparison(f"oracle, s={s:g}", weight(divergence, s), floor, "at_least", 1e-12)
    risen = [math.sqrt(s) * math.exp(s / 8) * weight(divergence, s) for s in _SMALLER]
    for s, value, (before, after) in zip(_SMALLER[1:], risen[1:], pairwise(risen), strict=True):
        yield Comparison(f"sqrt(s) e^{{s/8}} w rises, s={s:g}", after, before, "at_least", 1e-12)
        yield Comparison(f"D(s), s={s:g}", divergence.gaussian(s), 2 * math.sqrt(s) * value, "at_most", 1e-12)
    s = 800.0
    scaled = math.exp(s / 8) * divergence.gaussian.gradient_weight(s)
    if total is not None:
        # the next term of the expansion is the second moment of g over 2 s
        yield Comparison("sqrt(2 pi s) e^{s/8} w", scaled * math.sqrt(2 * math.pi * s), total, "equal", 0.02)
    pairs = terms(divergence)
    if len(pairs) == 1 and float(pairs[0][1]) == 0.5:
        yield Comparison("e^{s/8} w", scaled, divergence.gaussian.gradient_weight(0.0), "equal", 1e-12)


def _draw(path: Path) -> None:
    """e^{s/8} w(s)/w(1) of the bounded divergences: nothing falls below 1/sqrt(s)."""
    import fdiv
    from theory.pictures import figure

    s = np.geomspace(0.5, 64, 60)
    with figure(path, 1) as (axes,):
        for name in ("squared_hellinger", "jensen_shannon", "triangular", "total_variation", "alpha:a=0.3"):
            divergence = fdiv.divergence(name)
            values = np.array([weight(divergence, x) for x in s]) * np.exp(s / 8)
            axes.plot(s, values / values[-1], label=name)
        axes.plot(s, (s[-1] / s) ** 0.5, "k:", label="1/sqrt(s)")
        axes.set(xscale="log", yscale="log", ylim=(1e-1, 1e2), xlabel="s", ylabel="e^{s/8} w(s), 1 at s = 64")
        axes.set_title("The robustness limit")
        axes.legend(fontsize=8)


THEOREM = Theorem(
    number=8,
    name="robustness_limit",
    title="The robustness limit",
    statement=r"w(s) \ge m\, e^{-X^2/2s}\, \frac{e^{-s/8}}{\sqrt{2\pi s}}, \qquad"
    r" \liminf_{s \to \infty} \frac{\log w(s)}{s} \ge -\tfrac18, \qquad w_{H^2}(s) = w_{H^2}(0)\, e^{-s/8}, \qquad"
    r" \int g < \infty \Rightarrow \sqrt{2\pi s}\, e^{s/8} w(s) \to \int g, \qquad"
    r" D(s) \le 2 s\, e^{s/8} w(s)",
    hypotheses=(
        "P and Q are Gaussians of one covariance sigma^2 I",
        "f is convex and not affine, D is finite",
        "m is the mass of g(x) = e^{3x/2} f''(e^x)/2 on [-X, X]",
    ),
    reference="ours; the proof is in this file",
    applies=lambda divergence: divergence.gaussian.evaluable and _mass(divergence, _reach(divergence)) > 0,
    comparisons=_comparisons,
    corrections=(
        "Squared Hellinger is not the fastest to forget: total variation, triangular and Jensen-Shannon decay like"
        " e^{-s/8}/sqrt(s), faster by a factor sqrt(s); only the exponential rate e^{-s/8} is the limit",
    ),
    draw=_draw,
)
