r"""The universal gradient law: dD/ds = E_Q[u^2 f''(u)] / 2 for every convex f, with D between Gaussians.

Proof, for every convex f, kinks included.
1. A hockey-stick. Q's law of the ratio u = p/q is lognormal with the density l_s(k). For h_k(u) = (u - k)_+ the
   expectation H_k(s) = Phi(d_1) - k Phi(d_2), d_1 = (s/2 - log k)/sqrt(s), d_2 = d_1 - sqrt(s), is differentiable, and
   dH_k/ds = k^2 l_s(k) / 2 (SymPy differentiates it below; in finance this is the vega of an option). (k - u)_+
   differs from it by an affine function and has the same derivative.
2. Mixture. f(u) = f'(1)(u - 1) + integral of h_k(u) f''(dk), where the curvature measure f'' has the density f'' and an
   atom of the jump of the slope at each kink. All terms are positive, so by Tonelli, twice,
   D(s) = integral of H_k(s) f''(dk) = integral over r from 0 to s of w(r) dr, where
   w(r) = integral of k^2 l_r(k) f''(dk) / 2 = E_Q[u^2 f''(u)] / 2.
3. If D(s') is finite for some s' > s, w is finite and continuous at s (the l_r are dominated near s by a multiple of
   those at r slightly larger), and w(s) = dD/ds.

For smooth f the same law is Stein's lemma: with u = exp(d y - d^2/2), dD/dd = E[(y - d) u f'(u)] = d E[u^2 f''(u)].
In particular dD/ds >= 0 for every convex f, and every f-divergence between such Gaussians is a deterministic function
of s whose gradient costs what a squared error costs: none needs a critic.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import sympy
from sympy import Expr

from fdiv import Divergence
from theory.laws.claims import claims
from theory.laws.gaussians import gradient_law
from theory.theorem import Comparison, Theorem


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    yield from gradient_law.everywhere(claims(divergence))


@cache
def _vega() -> tuple[Expr, ...]:
    """dH_k/ds - k^2 l_s(k) / 2 for symbolic k and s."""
    k, s = sympy.symbols("k s", positive=True)
    first = (s / 2 - sympy.log(k)) / sympy.sqrt(s)

    def normal(x: Expr) -> Expr:
        return (1 + sympy.erf(x / sympy.sqrt(2))) / 2

    price = normal(first) - k * normal(first - sympy.sqrt(s))
    lognormal = sympy.exp(-((sympy.log(k) + s / 2) ** 2) / (2 * s)) / (k * sympy.sqrt(2 * sympy.pi * s))
    difference = sympy.diff(price, s) - k**2 * lognormal / 2
    quotient = sympy.expand(difference / lognormal).subs(k, sympy.exp(sympy.Symbol("x", real=True)))
    return (sympy.simplify(quotient),)


THEOREM = Theorem(
    number=5,
    name="gradient_law",
    title="The universal gradient law",
    statement=r"\frac{\mathrm{d}D_f}{\mathrm{d}s} = \tfrac12\, \mathbb{E}_Q\!\left[u^2 f''(u)\right] \ge 0,"
    r" \qquad u = \mathrm{d}P/\mathrm{d}Q",
    hypotheses=(
        "P and Q are Gaussians of one covariance sigma^2 I",
        "f is convex on (0, inf); at a kink f'' has an atom, the jump of the slope",
        "D(s') is finite for some s' > s",
    ),
    reference="ours; the proof is in this file. Stein's lemma: Stein 1981",
    applies=lambda divergence: divergence.gaussian.evaluable,
    comparisons=_comparisons,
    corrections=(
        "The law dD/ds = E_Q[u^2 f'']/2 holds without convexity, its sign does not: (u - 1)^2 (3 - u) has w(.9) ="
        ' -32.3. So ">= 0" needs f convex',
    ),
    lemmas=_vega,
)
