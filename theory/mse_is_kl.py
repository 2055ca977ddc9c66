r"""Between two Gaussians of one covariance, both Kullback-Leibler divergences are half a mean squared error.

Proof. With d = \|mu_P - mu_Q\| / sigma the log-ratio log p/q is linear in x, and it is N(s/2, s) under P and
N(-s/2, s) under Q, where s = d^2. Hence KL(P||Q) = E_P[log p/q] = s/2 and KL(Q||P) = -E_Q[log p/q] = s/2, and every
weighted sum a KL(P||Q) + b KL(Q||P) is (a + b) s/2; half of Jeffreys has a = b = 1/2. An affine term c (u - 1) of
the generator has no expectation. So a generator belongs here exactly if u^2 f''(u) = a u + b.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy
from sympy import Expr

from fdiv import Divergence
from fdiv.calculus import u
from theory.oracle import value
from theory.theorem import Comparison, Theorem

_POINTS = (1e-3, 0.3, 4.0, 25.0)


def weights(divergence: Divergence) -> tuple[Expr, Expr] | None:
    """Return (a, b) if the divergence is a KL(P||Q) + b KL(Q||P) and not zero, else None."""
    if len(divergence.pieces) > 1:
        return None
    scaled = sympy.cancel(u**2 * divergence.pieces[0].second)
    if not scaled.is_polynomial(u) or sympy.degree(scaled, u) > 1 or scaled == 0:
        return None
    return scaled.coeff(u, 1), scaled.coeff(u, 0)


def _applies(divergence: Divergence) -> bool:
    return weights(divergence) is not None


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    found = weights(divergence)
    assert found is not None
    for s in _POINTS:
        yield Comparison(s, float(value(divergence, s)), float(sum(found)) * s / 2, "equal", 1e-13)


THEOREM = Theorem(
    name="mse_is_kl",
    title="The Kullback-Leibler loss between Gaussians is a mean squared error",
    statement=r"D_{\mathrm{KL}}(P\|Q) = D_{\mathrm{KL}}(Q\|P) = \tfrac12 J(P, Q) = \tfrac{s}{2}, \qquad"
    r" D_{a u \log u - b \log u}(s) = \tfrac{a + b}{2}\, s, \qquad s = \|\mu_P - \mu_Q\|^2 / \sigma^2",
    hypotheses=("P and Q are Gaussians of one covariance sigma^2 I", "u^2 f''(u) = a u + b with a + b > 0"),
    reference="Kullback and Leibler 1951; as a loss of concept ablation, Kumari et al. arXiv:2303.13516",
    applies=_applies,
    comparisons=_comparisons,
)
