r"""Pinsker's inequality and Gilardoni's: D_f >= 2 f''(1) TV^2, of which 2 f''(1) is the best constant.

Proof (Gilardoni 2010). Put h = f - f'(1)(u - 1) and m = f'''(1)/(3 f''(1)). The hypothesis h(u) (1 - m (u - 1)) >=
f''(1)/2 (u - 1)^2 with 1 - m (u - 1) > 0 gives |u - 1| <= sqrt(h(u)) sqrt(1 - m (u - 1)) sqrt(2/f''(1)). Take E_Q and
the Cauchy-Schwarz inequality: 2 TV = E_Q|u - 1| <= sqrt(2/f''(1)) sqrt(D_f) sqrt(E_Q[1 - m (u - 1)]), and the last mean
is 1. For the Kullback-Leibler divergence m = -1/3 and this is Pinsker's TV^2 <= KL/2, with TV in [0, 1] and nats. As P
tends to Q = (1/2, 1/2) the quotient tends to 2 f''(1), so no larger constant will do.

The hypothesis is looked at on a grid of u for every smooth divergence of the catalogue. Computed are sums of the raw
generator over two letters of every total variation x, for 400 places of the smaller letter.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import mpmath
import numpy as np
import sympy

from fdiv import Divergence
from fdiv.exact.symbols import u
from theory.theorem import Comparison, Theorem

_DISTANCES = (1e-3, 0.02, 0.1, 0.3, 0.6, 0.9, 0.99)


def on_two_letters(divergence: Divergence, distance: float) -> float:
    """The least D_f of (q + x, 1 - q - x) from (q, 1 - q) over q, where x is `distance` or -`distance`."""
    f = sympy.lambdify(u, divergence.generator, "numpy")
    share = np.linspace(0, 1, 402)[1:-1]
    q = distance + (1 - distance) * share
    p = q - distance
    with np.errstate(all="ignore"):
        values = [b * f(a / b) + (1 - b) * f((1 - a) / (1 - b)) for a, b in ((p, q), (1 - p, 1 - q))]
    return float(np.nanmin(values))


@cache
def qualifies(divergence: Divergence) -> bool:
    """Whether Gilardoni's hypothesis holds on a grid of u, for a smooth f with 0 < f''(1) < inf."""
    if len(divergence.pieces) > 1 or not divergence.reduces_to_mse:
        return False
    f = sympy.lambdify(u, divergence.generator, "mpmath")
    with mpmath.workdps(40):
        slopes = (sympy.diff(divergence.generator, u, n).subs(u, 1) for n in (1, 2, 3))
        first, second, third = (mpmath.mpf(sympy.N(slope, 40)) for slope in slopes)
        for exponent in np.linspace(-12, 12, 96):
            step = mpmath.exp(exponent) - 1
            factor = 1 - third / (3 * second) * step
            if factor <= 0 or (f(1 + step) - first * step) * factor < second / 2 * step**2 * (1 - 1e-12):
                return False
    return True


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    assert divergence.curvature is not None
    constant = 2 * float(divergence.curvature)
    for x in _DISTANCES:
        yield Comparison(f"TV={x:g}", on_two_letters(divergence, x), constant * x**2, "at_least", 1e-9)
    x = _DISTANCES[0]
    yield Comparison("the constant", on_two_letters(divergence, x) / x**2, constant, "equal", 1e-4)


THEOREM = Theorem(
    number=12,
    part="f",
    name="pinsker",
    title="Pinsker's inequality, with Gilardoni's constant",
    statement=r"D_f(P\|Q) \ge 2 f''(1)\, \mathrm{TV}(P, Q)^2; \qquad \mathrm{TV}^2 \le \tfrac12 \mathrm{KL}",
    hypotheses=(
        "f is smooth with 0 < f''(1) < inf",
        "h(u)(1 - m(u - 1)) >= f''(1)/2 (u - 1)^2 with m = f'''(1)/(3 f''(1)), the first factor positive",
    ),
    reference="Pinsker 1960, Csiszar 1967, Kullback 1967; Gilardoni 2010, arXiv:0808.0148",
    applies=lambda divergence: isinstance(divergence, Divergence) and qualifies(divergence),
    comparisons=_comparisons,
)
