r"""The alpha family between Gaussians: D_a(s) = expm1(a (a - 1) s/2) / (a (a - 1)), with limits and duality.

Proof. log u ~ N(-s/2, s) under Q, so E_Q[u^a] = exp(-a s/2 + a^2 s/2) = e^{a(a-1)s/2}. The generator
(u^a - 1 - a (u - 1)) / (a (a - 1)) has u^2 f'' = u^a and the expectation stated; a -> 0 and a -> 1 give s/2, reverse
KL and KL; the formula depends on a (a - 1) alone, hence D_a = D_{1-a}, which is also the exchange of P and Q. A
generator with u^2 f''(u) = sum of c_j u^{a_j} differs from sum of c_j phi_{a_j} by an affine function, which has no
expectation, so its D is the sum of the c_j D_{a_j}. Squared Hellinger is a = 1/2, Pearson a = 2, Neyman a = -1, all
with their factors. Renyi's log(1 + a(a-1) D_a)/(a - 1) is a s/2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import sympy
from sympy import Expr

from fdiv import Divergence
from fdiv.exact.symbols import u
from theory.laws.expectations import expectation, value
from theory.theorem import Comparison, Theorem

_POINTS = (1e-3, 0.3, 4.0)
_a, _s = sympy.Symbol("a", real=True), sympy.Symbol("s", positive=True)


@cache
def terms(divergence: Divergence) -> tuple[tuple[Expr, Expr], ...]:
    """Return the (c, a) of u^2 f''(u) = sum of c u^a, or nothing if f is not of that kind."""
    if len(divergence.pieces) > 1:
        return ()
    found = []
    for term in sympy.Add.make_args(sympy.expand(sympy.expand(u**2 * divergence.pieces[0].second))):
        coefficient, power = term.as_independent(u, as_Add=False)
        base, exponent = power.as_base_exp()
        if power != 1 and (base != u or exponent.has(u)):
            return ()
        found.append((coefficient, exponent if power != 1 else sympy.S.Zero))
    return tuple(found) if any(c != 0 for c, _ in found) else ()


def closed_form(pairs: tuple[tuple[Expr, Expr], ...], s: float) -> tuple[float, float]:
    """The sum of c expm1(a (a - 1) s/2) / (a (a - 1)), with its limit c s/2 at a = 0 and 1; and its rounding error."""
    parts = []
    for c, a in pairs:
        rate = float(a * (a - 1))
        parts.append(float(c) * (math.expm1(rate * s / 2) / rate if rate else s / 2))
    return math.fsum(parts), 1e-13 + 1e-15 * sum(map(abs, parts)) / abs(math.fsum(parts))


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    pairs = terms(divergence)
    for s in _POINTS:
        stated, rounding = closed_form(pairs, s)
        yield Comparison(s, float(value(divergence, s)), stated, "equal", rounding)
        exchanged = expectation(u * divergence.generator.subs(u, 1 / u), s)
        yield Comparison(f"P and Q exchanged, s={s:g}", float(exchanged), stated, "equal", rounding)
    if len(pairs) == 1 and pairs[0][1] not in (0, 1):
        (c, a), s = pairs[0], 1.5
        alpha = float(a)
        renyi = math.log1p(alpha * (alpha - 1) * float(value(divergence, s)) / float(c)) / (alpha - 1)
        yield Comparison("Renyi, s=1.5", renyi, alpha * s / 2, "equal", 1e-12)


@cache
def _family_identities() -> tuple[Expr, ...]:
    """The moment, the two limits and the duality, for a symbolic a."""
    x = sympy.Symbol("x", real=True)
    density = sympy.exp(-((x + _s / 2) ** 2) / (2 * _s)) / sympy.sqrt(2 * sympy.pi * _s)
    moment = sympy.integrate(sympy.exp(_a * x) * density, (x, -sympy.oo, sympy.oo))
    formula = (sympy.exp(_a * (_a - 1) * _s / 2) - 1) / (_a * (_a - 1))
    limits = [sympy.limit(formula, _a, end) - _s / 2 for end in (0, 1)]
    duality = sympy.simplify(formula.subs(_a, 1 - _a) - formula)
    return (sympy.simplify(moment - sympy.exp(_a * (_a - 1) * _s / 2)), *limits, duality)


def _identities(divergence: Divergence) -> Iterator[Expr]:
    yield from _family_identities()
    yield sympy.diff(divergence.generator, u, 2) - sum(c * u ** (a - 2) for c, a in terms(divergence))


THEOREM = Theorem(
    number=4,
    name="alpha_family",
    title="The alpha family in closed form",
    statement=r"D_a(s) = \frac{e^{a(a-1)s/2} - 1}{a(a-1)}, \quad D_0 = D_1 = \tfrac{s}{2}, \quad D_a = D_{1-a},"
    r" \qquad u^2 f'' = \sum_j c_j u^{a_j} \Rightarrow D_f = \sum_j c_j D_{a_j}",
    hypotheses=("P and Q are Gaussians of one covariance sigma^2 I", "u^2 f''(u) is a finite sum of powers of u"),
    reference="Novello et al. arXiv:2509.21167 for Hellinger and chi2; Liese and Vajda 1987 for Gaussian moments",
    applies=lambda divergence: bool(terms(divergence)),
    comparisons=_comparisons,
    identities=_identities,
)
