r"""Affine invariance, adjoint symmetry and the range, on finite alphabets with unequal P and Q.

Proof. sum of q (p/q - 1) = 0, so c (u - 1) adds nothing. With the adjoint f~(u) = u f(1/u), sum of p f~(q/p) = sum of
q f(p/q): P and Q change places. f(u) <= f(0) + f'(inf) u (f lies below the line from (0, f(0)) with its final slope),
so D_f <= f(0) + f'(inf); for P and Q of disjoint supports, with the convention for q = 0, this is an equality.
Between the Gaussians of this book the supremum is approached as s -> inf.

SymPy carries the first two for smooth f, atom by atom; the range has no computation.

All computed values are sums of the raw generator over atoms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import mpmath
import numpy as np
import sympy

from fdiv import Divergence
from fdiv.exact.symbols import u
from theory.laws.claims import claims
from theory.laws.expectations import Numbers
from theory.laws.general import divergence_of, exchange
from theory.laws.generators import Oracle
from theory.theorem import Comparison, Theorem


def random_pair(seed: int, atoms: int = 4) -> tuple[Numbers, Numbers]:
    """Two different positive distributions."""
    p, q = np.random.default_rng(seed).dirichlet(np.full(atoms, 1.5), size=2)
    return p, q


def nearly_disjoint(divergence: Divergence, digits: int) -> float:
    """D_f for P = (1 - e, e), Q = (e, 1 - e) with e = 10^-digits."""
    f = sympy.lambdify(u, divergence.generator, "mpmath")
    with mpmath.workdps(2 * digits + 30):
        e = mpmath.mpf(10) ** -digits
        return float(e * f((1 - e) / e) + (1 - e) * f(e / (1 - e)))


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    c = claims(divergence)
    shifted = c.but(oracle=Oracle(divergence.generator + sympy.Rational(7, 3) * (u - 1)))
    range_end = float(divergence.value_at_zero + divergence.slope_at_infinity)
    for seed in range(4):
        pair = tuple(one.tolist() for one in random_pair(seed))
        value = divergence_of(c, pair)
        yield Comparison(f"affine, pair {seed}", 1 + divergence_of(shifted, pair), 1 + value, "equal", 1e-12)
        yield from exchange.check(c, pair)
        yield Comparison(f"0 <= D, pair {seed}", 1 + value, 1.0, "at_least", 1e-14)
        if math.isfinite(range_end):
            yield Comparison(f"range, pair {seed}", value, range_end, "at_most", 1e-12)
    apart = nearly_disjoint(divergence, 200)
    if math.isfinite(range_end):
        yield Comparison("disjoint supports", apart, range_end, "equal", 1e-9)
    else:
        yield Comparison("disjoint supports", apart, 30.0, "at_least", 0.0)
    yield from exchange.everywhere(c)


def _identities(divergence: Divergence) -> Iterator[sympy.Expr]:
    """On an atom of probabilities p and q: the affine term, and p f~(q/p) = q f(p/q)."""
    if len(divergence.pieces) > 1:
        return
    p, q, c = sympy.symbols("p q c", positive=True)
    f, adjoint = divergence.generator, divergence.adjoint.generator
    yield q * (c * (u - 1)).subs(u, p / q) - c * (p - q)  # which sums to 0
    yield sympy.expand_log(p * adjoint.subs(u, q / p) - q * f.subs(u, p / q), force=True)


THEOREM = Theorem(
    number=12,
    part="b",
    name="finite_alphabets",
    title="Affine invariance, adjoint symmetry and the range",
    statement=r"D_{f + c(u-1)} = D_f, \qquad D_f(P\|Q) = D_{u f(1/u)}(Q\|P), \qquad"
    r" 0 \le D_f \le f(0) + f'(\infty), \text{ attained for } P \perp Q",
    hypotheses=("f is convex with f(1) = 0",),
    reference="Liese and Vajda 2006; Polyanskiy and Wu, chapter 7",
    applies=lambda divergence: True,
    comparisons=_comparisons,
    identities=_identities,
)
