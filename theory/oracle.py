"""Expectations between two Gaussians straight from the definition: densities, the raw generator, a quadrature.

Nothing that `fdiv` derives enters a value: the generator is evaluated as it was written, and p and q are normal
densities with a mean and a variance, not the law of the log-ratio. 30 digits leave room for differences.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import mpmath
import sympy
from sympy import Expr

from fdiv import Divergence
from fdiv.calculus import u

_DIGITS = 30
_MEAN, _SIGMA = "0.4", "0.7"  # of Q; any choice must do, and 0 and 1 would hide a mistake


@cache
def expectation(expression: Expr, s: Any, kinks: tuple[Expr, ...] = ()) -> Any:
    """E_Q[g(p/q)] for g = `expression` in u, where (mu_P - mu_Q)^2 / sigma^2 = s > 0, as a 30-digit number.

    `kinks` are the u at which g is not smooth; leaving one out costs digits, no more. Right for g that grows no
    faster than u^4 or u^-4.
    """
    g = sympy.lambdify(u, expression, "mpmath")
    with mpmath.workdps(_DIGITS):
        mean, sigma, distance = mpmath.mpf(_MEAN), mpmath.mpf(_SIGMA), mpmath.sqrt(s)

        def integrand(x: Any) -> Any:
            q = mpmath.npdf(x, mean, sigma)
            return g(mpmath.npdf(x, mean + sigma * distance, sigma) / q) * q

        # u^k q is a normal density about k distances away: twelve sigma beyond k = -4 and k = 4
        reach = 12 + 4 * distance
        breaks = [mpmath.log(kink) / distance + distance / 2 for kink in map(mpmath.mpmathify, kinks)]
        ends = [-reach, *sorted(y for y in {0, *breaks} if abs(y) < reach), reach]
        return mpmath.quad(integrand, [mean + sigma * y for y in ends])


def value(divergence: Divergence, s: Any) -> Any:
    """D(s) = E_Q[f(p/q)] in nats, as a 30-digit number."""
    return expectation(divergence.generator, s, tuple(piece.upper for piece in divergence.pieces[:-1]))


def slope(divergence: Divergence, s: float) -> Any:
    """dD/ds by a central difference, whose error is (s/10^6)^2/6 times the third derivative."""
    with mpmath.workdps(_DIGITS):
        step = mpmath.mpf(s) / 10**6
        return (value(divergence, s + step) - value(divergence, s - step)) / (2 * step)
