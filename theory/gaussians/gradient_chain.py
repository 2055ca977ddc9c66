r"""The chain of gradients: of five divergences with one f''(1), which forgets an error and which is seized by it.

Proof. By criterion 1 of `gradient_order` it is enough that G(x) = g(x) + g(-x), g(x) = e^{3x/2} f''(e^x)/2, increases
along the chain at every x. Divided by f''(1), G is

    sech^3(x/2),    sech(x/2),    1,    cosh(x/2),    cosh(3x/2)

for triangular, Jensen-Shannon, squared Hellinger, KL and chi2, and the differences of neighbours are products of
factors that are never negative:

    sech tanh^2(x/2),    2 sech(x/2) sinh^2(x/4),    2 sinh^2(x/4),    4 cosh(x/2) sinh^2(x/2).

SymPy derives the five G from the generators and reduces the differences. The alpha divergences have
w = e^{a(a-1)s/2}/2 with a(a-1) = (a - 1/2)^2 - 1/4, which increases in |a - 1/2|: squared Hellinger, KL and chi2 are
the members a = 1/2, 1, 2 of that family.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import sympy
from sympy import Expr

import fdiv
from fdiv import Divergence
from fdiv.exact.symbols import u
from theory.laws.expectations import weight
from theory.theorem import Comparison, Theorem

CHAIN = ("triangular", "jensen_shannon", "squared_hellinger", "kl", "pearson")
_POINTS = (0.01, 0.3, 2.0, 9.0, 40.0)
_ALPHAS = (0.5, 0.45, 0.3, 1.0, 1.2, -0.7, 2.0, 2.5)  # by |a - 1/2|
_x = sympy.Symbol("x", positive=True)
_EVEN = (1 / sympy.cosh(_x / 2) ** 3, 1 / sympy.cosh(_x / 2), sympy.S.One, sympy.cosh(_x / 2), sympy.cosh(3 * _x / 2))
_GAPS = (
    sympy.tanh(_x / 2) ** 2 / sympy.cosh(_x / 2),
    2 * sympy.sinh(_x / 4) ** 2 / sympy.cosh(_x / 2),
    2 * sympy.sinh(_x / 4) ** 2,
    4 * sympy.cosh(_x / 2) * sympy.sinh(_x / 2) ** 2,
)


def _members() -> tuple[Divergence, ...]:
    return tuple(fdiv.divergence(name) for name in CHAIN)


def even_part(divergence: Divergence) -> Expr:
    """G(x) of a smooth generator, symbolic."""
    g = u ** sympy.Rational(3, 2) * sympy.diff(divergence.generator, u, 2) / 2
    return g.subs(u, sympy.exp(_x)) + g.subs(u, sympy.exp(-_x))


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    """Compare with the neighbours, and the alpha divergences with each other, on the oracle and by fdiv."""
    for smaller, larger in pairwise(_members()):
        if divergence in (smaller, larger):
            yield from _ordered(smaller, larger)
    if divergence.name == "squared_hellinger":
        for smaller, larger in pairwise(fdiv.divergence("alpha", a=a) for a in _ALPHAS):
            yield from _ordered(smaller, larger)


def _ordered(smaller: Divergence, larger: Divergence) -> Iterator[Comparison]:
    for s in _POINTS:
        low, high = (weight(one, s) / float(one.curvature) for one in (smaller, larger))  # type: ignore[arg-type]
        yield Comparison(f"{smaller.spec} below {larger.spec}, s={s:g}", low, high, "at_most", 0.0)
        low, high = (one.gaussian.gradient_weight(s) / float(one.curvature) for one in (smaller, larger))  # type: ignore[arg-type]
        yield Comparison(f"{smaller.spec} below {larger.spec} by fdiv, s={s:g}", low, high, "at_most", 0.0)


def _identities(divergence: Divergence) -> Iterator[Expr]:
    """G as stated, and its distances to the neighbours', in exponentials."""
    place = CHAIN.index(divergence.name)
    differences = [even_part(divergence) / divergence.curvature - _EVEN[place]]
    differences += [_EVEN[i + 1] - _EVEN[i] - _GAPS[i] for i in (place - 1, place) if 0 <= i < len(_GAPS)]
    for difference in differences:
        # rational in e^{x/4}
        yield sympy.cancel(difference.rewrite(sympy.exp).subs(_x, 4 * sympy.log(sympy.Symbol("z", positive=True))))


THEOREM = Theorem(
    number=7,
    part="a",
    name="gradient_chain",
    title="The chain of gradients",
    statement=r"f''(1) = 1: \quad w_{\triangle} \le w_{JS} \le w_{H^2} \le w_{KL} \le w_{\chi^2}"
    r" \text{ for every } s > 0; \qquad w_\alpha \text{ increases in } |\alpha - \tfrac12|",
    hypotheses=("P and Q are Gaussians of one covariance sigma^2 I", "one f''(1) for all"),
    reference="the last three of the chain: Novello et al. arXiv:2509.21167; the rest: ours",
    applies=lambda divergence: divergence in _members(),
    comparisons=_comparisons,
    identities=_identities,
    universe=_members,
)
