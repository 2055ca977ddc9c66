r"""Between two Gaussians of one covariance, both Kullback-Leibler divergences are half a mean squared error.

Proof. With d = \|mu_P - mu_Q\| / sigma the log-ratio log p/q is linear in x, and it is N(s/2, s) under P and
N(-s/2, s) under Q, where s = d^2. Hence KL(P||Q) = E_P[log p/q] = s/2 and KL(Q||P) = -E_Q[log p/q] = s/2, and every
weighted sum a KL(P||Q) + b KL(Q||P) is (a + b) s/2; half of Jeffreys has a = b = 1/2. An affine term c (u - 1) of
the generator has no expectation. So a generator belongs here exactly if u^2 f''(u) = a u + b.

With mu_P and mu_Q the means of one reverse step for the frozen and the trained model, s is a multiple of the squared
error of the two noise predictions: the concept-ablation loss is a KL divergence, and the theorem `reverse_step` says
by which factor.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import sympy
from sympy import Expr

from fdiv import Divergence
from fdiv.exact.symbols import u
from theory.laws.expectations import in_doubles, value
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


def _of_two_pixels(divergence: Divergence, mean_p: tuple[float, float], sigma: float) -> float:
    """D for Q = N(0, sigma^2 I) and P = N(mean_p, sigma^2 I) in the plane, by the trapezoid rule on a square."""
    axis = np.linspace(-12 * sigma, 12 * sigma, 401)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    log_q = -(x**2 + y**2) / (2 * sigma**2)
    log_p = -((x - mean_p[0]) ** 2 + (y - mean_p[1]) ** 2) / (2 * sigma**2)
    density = np.exp(log_q)
    integrand = density * in_doubles(divergence.generator)(np.exp(log_p - log_q))
    return float(integrand.sum() / density.sum())


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    found = weights(divergence)
    assert found is not None
    for s in _POINTS:
        yield Comparison(s, float(value(divergence, s)), float(sum(found)) * s / 2, "equal", 1e-13)
    squared_error = 0.3**2 + 1.1**2
    pixels = _of_two_pixels(divergence, (0.3, -1.1), 0.7)
    yield Comparison("two pixels", pixels, float(sum(found)) * squared_error / 0.7**2 / 2, "equal", 1e-11)


_d, _y = sympy.Symbol("d", positive=True), sympy.Symbol("y", real=True)


@cache
def _moment(factor: Expr) -> Expr:
    """E_Q of a product of powers of u and log u, for log u = d y - d^2/2, y ~ N(0, 1), integrated by SymPy."""
    log_ratio = _d * _y - _d**2 / 2
    gaussian = sympy.exp(-(_y**2) / 2) / sympy.sqrt(2 * sympy.pi)
    integrand = factor.subs(sympy.log(u), log_ratio).subs(u, sympy.exp(log_ratio)) * gaussian
    terms = sympy.expand(integrand, power_exp=False).as_ordered_terms()
    return sum(sympy.integrate(sympy.powsimp(term), (_y, -sympy.oo, sympy.oo)) for term in terms)


def _identities(divergence: Divergence) -> Iterator[Expr]:
    """E_Q[f] - (a + b) s/2, with the moments 1, u, log u and u log u, which are the same for all."""
    found = weights(divergence)
    assert found is not None
    parts = (term.as_independent(u, as_Add=False) for term in sympy.expand(divergence.generator).as_ordered_terms())
    yield sum(number * _moment(factor) for number, factor in parts) - sum(found) * _d**2 / 2


THEOREM = Theorem(
    number=1,
    name="mse_is_kl",
    title="The Kullback-Leibler loss between Gaussians is a mean squared error",
    statement=r"D_{\mathrm{KL}}(P\|Q) = D_{\mathrm{KL}}(Q\|P) = \tfrac12 J(P, Q) = \tfrac{s}{2}, \qquad"
    r" D_{a u \log u - b \log u}(s) = \tfrac{a + b}{2}\, s, \qquad s = \|\mu_P - \mu_Q\|^2 / \sigma^2",
    hypotheses=("P and Q are Gaussians of one covariance sigma^2 I", "u^2 f''(u) = a u + b with a + b > 0"),
    reference="Kullback and Leibler 1951; as a loss of concept ablation, Kumari et al. arXiv:2303.13516",
    applies=_applies,
    comparisons=_comparisons,
    identities=_identities,
)
