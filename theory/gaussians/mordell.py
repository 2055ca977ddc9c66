r"""Mordell's reflection: the weight of Jensen-Shannon at s is its weight at 4 pi^2/s.

Statement. M(s) = E[sech(sqrt(s) y/2)], y ~ N(0, 1), obeys M(s) = sqrt(2 pi/s) M(4 pi^2/s). Where the even part of
g(x) = e^{3x/2} f''(e^x)/2 is w(0) sech(x/2), as for Jensen-Shannon, its multiples and its one-sided parts, the weight
is w(s) = w(0) e^{-s/8} M(s); and dD/ds = w(0) (1 - D_triangular(s)/2).

Proof. F(y), the Fourier transform of sech(x/2), is 2 pi sech(pi y): moving the line of integration up by 2 pi turns
sech(x/2) e^{-ixy} into -e^{2 pi y} times itself, and between the lines lies the pole i pi, so (1 + e^{2 pi y}) F(y) is
2 pi i times the residue there. By Parseval the integral of sech(x/2) against the normal density of variance s is that
of sech(pi y) against e^{-s y^2/2}, and with x = 2 pi y this is sqrt(2 pi/s) M(4 pi^2/s). For the second claim
(u - 1)^2/(u + 1) = u + 1 - 4u/(u + 1), and E_Q[2 u/(u + 1)] = e^{-s/8} M(s). SymPy carries the even part of g for
each divergence, the residue, the change of variables and the last two identities.

Mordell's integral has no elementary value for general s: that is why Jensen-Shannon has no closed form.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
import sympy
from sympy import Expr

import fdiv
from fdiv import Divergence
from fdiv.exact.symbols import u
from theory.gaussians.gradient_order import GRID, half_line, weight_at_zero
from theory.laws.expectations import value
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


@cache
def _reflection() -> tuple[Expr, ...]:
    """The transform by its functional equation, the change of variables, and the two forms of 2u/(u + 1)."""
    x, y = sympy.symbols("x y", real=True)
    s, z = sympy.symbols("s z", positive=True)
    # step 1: F(y) by moving the line of integration over the pole
    pole = sympy.I * sympy.pi
    wave = sympy.exp(-sympy.I * x * y)
    # cosh(x/2) vanishes at the pole, simply
    residue = (wave / sympy.diff(sympy.cosh(x / 2), x)).subs(x, pole)
    # of the integrand on the upper line, for every x
    factor, line = -sympy.exp(2 * sympy.pi * y), wave / sympy.cosh(x / 2)
    shift = (line.subs(x, x + 2 * pole) / line - factor).rewrite(sympy.exp)
    transform = 2 * pole * residue / (1 - factor)
    # step 2, Parseval and a change of variables, for M(s) against M(image):
    image = 4 * sympy.pi**2 / s
    # sech(pi y) e^{-s y^2/2} dy = sech(x/2) e^{-x^2/(2 image)} dx/(2 pi) with x = 2 pi y
    exponent = (-s * y**2 / 2).subs(y, x / (2 * sympy.pi)) + x**2 / (2 * image)
    density = sympy.sqrt(2 * sympy.pi * image) / (2 * sympy.pi) - sympy.sqrt(2 * sympy.pi / s)
    # step 3, the second claim: E_Q[2u/(u + 1)] = E[2 e^{x/2}/(e^x + 1)] e^{-s/8} over the normal law of variance s, as
    # q times e^{x/2} is that
    tilt = -((x + s / 2) ** 2) / (2 * s) + x / 2 + x**2 / (2 * s) + s / 8
    kernel = sympy.sqrt(z) * 2 / (z + 1) - 2 / (sympy.sqrt(z) + 1 / sympy.sqrt(z))
    split = (u - 1) ** 2 / (u + 1) - (u + 1 - 4 * u / (u + 1))
    known = (transform - 2 * sympy.pi / sympy.cosh(sympy.pi * y)).rewrite(sympy.exp)
    return shift, known, exponent, density, tilt, kernel, split


def _identities(divergence: Divergence) -> Iterator[Expr]:
    """The even part of g against sech(x/2), in z = e^{x/2}; and the reflection."""
    z = sympy.Symbol("z", positive=True)
    g = u ** sympy.Rational(3, 2) * divergence.pieces[0].second / 2
    even = g.subs(u, z**2) + g.subs(u, 1 / z**2)
    yield sympy.cancel(sympy.together(even) - 2 * sympy.sympify(divergence.curvature) / (z + 1 / z))
    yield from _reflection()


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
    identities=_identities,
)
