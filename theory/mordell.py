r"""Mordell's reflection: the weight of Jensen-Shannon at s is its weight at 4 pi^2/s.

Statement. M(s) = E[sech(sqrt(s) y/2)], y ~ N(0, 1), obeys M(s) = sqrt(2 pi/s) M(4 pi^2/s). Where the even part of
g(x) = e^{3x/2} f''(e^x)/2 is w(0) sech(x/2), as for Jensen-Shannon, its multiples and its one-sided parts, the weight
is w(s) = w(0) e^{-s/8} M(s); and dD/ds = w(0) (1 - D_triangular(s)/2).

Proof. sech is, up to scale, its own Fourier transform: the transform of sech(x/2) at y is 2 pi sech(pi y). By Parseval
the integral of sech(x/2) against the normal density of variance s is that of sech(pi y) against e^{-s y^2/2}, and with
x = 2 pi y this is sqrt(2 pi/s) M(4 pi^2/s). For the second claim (u - 1)^2/(u + 1) = u + 1 - 4u/(u + 1), and
E_Q[2 u/(u + 1)] = e^{-s/8} M(s).

Mordell's integral has no elementary value for general s: that is why Jensen-Shannon has no closed form.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

import fdiv
from fdiv import Divergence
from theory.gradient_order import GRID, half_line, weight_at_zero
from theory.oracle import value
from theory.theorem import Comparison, Theorem

_POINTS = (0.3, 2.0, 5.0, 40.0)


def _applies(divergence: Divergence) -> bool:
    """Whether G is 2 w(0) sech(x/2), to nine digits for x up to 30."""
    start = weight_at_zero(divergence)
    if start is None or len(divergence.pieces) > 1:
        return False
    near = GRID < 30
    return bool(np.allclose(half_line(divergence)[0][near] * np.cosh(GRID[near] / 2), 2 * start, rtol=1e-9))


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    triangular, start = fdiv.divergence("triangular"), weight_at_zero(divergence)
    assert start is not None

    def reduced(s: float) -> float:
        return math.exp(s / 8) * divergence.gaussian.gradient_weight(s) / start

    for s in _POINTS:
        image = 4 * math.pi**2 / s
        yield Comparison(s, reduced(s), math.sqrt(2 * math.pi / s) * reduced(image), "equal", 1e-10)
        derivative = start * (1 - float(value(triangular, s)) / 2)
        yield Comparison(f"triangular, s={s:g}", divergence.gaussian.gradient_weight(s), derivative, "equal", 1e-9)


THEOREM = Theorem(
    number=12,
    part="e",
    name="mordell",
    title="Mordell's reflection for Jensen-Shannon",
    statement=r"w_{JS}(s) = w_{JS}(0)\, e^{-s/8} M(s), \quad M(s) = \mathbb{E}\,\mathrm{sech}\tfrac{\sqrt{s}\, y}{2}"
    r" = \sqrt{\tfrac{2\pi}{s}}\; M\!\left(\tfrac{4\pi^2}{s}\right), \qquad"
    r" \frac{\mathrm{d} D_{JS}}{\mathrm{d}s} = w_{JS}(0) \left(1 - \tfrac12 D_{\triangle}(s)\right)",
    hypotheses=(
        "P and Q are Gaussians of one covariance",
        "the even part of e^{3x/2} f''(e^x) is a multiple of sech(x/2)",
    ),
    reference="Mordell 1933; for this weight: ours",
    applies=_applies,
    comparisons=_comparisons,
)
