"""D_f between two Gaussians of different means and covariances.

All closed forms are one. For S_a = (1 - a) S_P + a S_Q, positive definite, and d = m_P - m_Q, Chernoff's integral is

    log E_Q[u^a] = a (a - 1)/2 d' S_a^-1 d - (log det S_a - (1 - a) log det S_P - a log det S_Q)/2 = K(a),

by completing the square; where S_a is not positive definite E_Q[u^a] is infinite (Liese and Vajda 1987; Gil, Alajaji
and Linder 2013). A derivative by a brings down log u, so each f that is a sum of c u^a and c u^a log u has a closed
D_f: the Kullback-Leibler divergence is K'(1), Pearson's is e^{K(2)} - 1. Any other f has one where the covariances are
equal, as D(s); else there is quadrature in one dimension, and Monte Carlo in more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np
import sympy

from fdiv.between.estimate import Estimate, around
from fdiv.between.perspective import Perspective
from fdiv.derive.closed_form import split
from fdiv.derive.gaussian import Gaussian
from fdiv.derive.generator import Generator
from fdiv.numeric.backends import Backend, backend_of, numpy_backend

_SYMMETRIC = 1e-6
_FAILURE = 0.05


class Derived(Protocol):
    """What is asked of a divergence here."""

    @property
    def perspective(self) -> Perspective:
        """(p, q) -> q f(p/q)."""

    @property
    def gaussian(self) -> Gaussian:
        """D(s)."""

    @property
    def spec(self) -> str:
        """Its name."""


@final
@dataclass(frozen=True, eq=False)
class Normal:
    """N(mean, covariance): numbers, or a mean of shape (..., d) and a covariance of shape (..., d, d).

    Arrays or tensors; a number is a mean with its variance (not the standard deviation) in one dimension. Raises
    ValueError unless the covariance is symmetric and positive definite.
    """

    mean: Any
    covariance: Any

    def __post_init__(self) -> None:
        """Bring numbers to one dimension, and check the shapes."""
        mean, covariance = (_as_array(given) for given in (self.mean, self.covariance))
        if covariance.ndim == 0 and mean.ndim == 0:
            mean, covariance = mean.reshape(1), covariance.reshape(1, 1)
        if covariance.ndim < 2 or mean.ndim < 1 or covariance.shape[-2:] != (mean.shape[-1],) * 2:
            shapes = f"{tuple(mean.shape)} and {tuple(covariance.shape)}"
            raise ValueError(f"a mean of shape (..., d) has a covariance of shape (..., d, d); got {shapes}")
        plain = backend_of(covariance).wide(_plain(covariance))
        size = float(abs(plain).max())
        if not float(abs(plain - plain.swapaxes(-1, -2)).max()) <= _SYMMETRIC * size:
            raise ValueError("a covariance is symmetric and finite")
        if not bool((_linalg(covariance).eigvalsh(plain) > 0).all()):
            raise ValueError("a covariance is positive definite, and this one has an eigenvalue that is not positive")
        if not float(abs(_plain(mean)).max()) < math.inf:
            raise ValueError(f"a mean is finite; got {self.mean}")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "covariance", covariance)

    @property
    def dimension(self) -> int:
        """The number of coordinates."""
        return int(self.mean.shape[-1])

    def log_density(self, x: Any) -> Any:
        """Return log p(x) for points of shape (n, d), without a batch of Gaussians and in NumPy alone."""
        mean, covariance = np.asarray(_plain(self.mean), float), np.asarray(_plain(self.covariance), float)
        root = np.linalg.cholesky(covariance)
        standard = np.linalg.solve(root, (x - mean).T)
        constant = self.dimension / 2 * math.log(2 * math.pi) + np.log(np.diag(root)).sum()
        return -(standard**2).sum(0) / 2 - constant


def _as_array(given: Any) -> Any:
    if backend_of(given) is not numpy_backend():
        return given
    array = np.asarray(given)
    return array if array.dtype.kind == "f" else array.astype(float)


def _plain(x: Any) -> Any:
    return x.detach() if hasattr(x, "detach") else x


def _linalg(x: Any) -> Any:
    if backend_of(x) is numpy_backend():
        return np.linalg
    import torch

    return torch.linalg


def power_terms(generator: Generator) -> dict[sympy.Expr, tuple[sympy.Expr, sympy.Expr]] | None:
    """Return {a: (c, k)} with f = sum of c u^a + k u^a log u, or None where f is no such sum."""
    if len(generator.pieces) > 1:
        return None
    inside, outside = split(generator.pieces[0].expression)
    if outside != 0 or any(logs > 1 for _, _, logs in inside):
        return None
    found: dict[sympy.Expr, tuple[sympy.Expr, sympy.Expr]] = {}
    for coefficient, power, logs in inside:
        c, k = found.get(power, (sympy.S.Zero, sympy.S.Zero))
        found[power] = (c, k + coefficient) if logs else (c + coefficient, k)
    return found


def between_normals(divergence: Derived, p: Normal, q: Normal) -> Any | None:
    """Return D_f(P||Q) in closed form, or as D(s) where the covariances are equal; None where it is neither.

    Returns:
        An array or tensor of the shape of the batch, in the dtype of the means, computed in fp64, with gradients.

    Raises:
        ValueError: the dimensions or the libraries differ, or D(s) is not known.
    """
    if p.dimension != q.dimension:
        raise ValueError(f"both Gaussians have one dimension, got {p.dimension} and {q.dimension}")
    kinds = {backend_of(x) for x in (p.mean, p.covariance, q.mean, q.covariance)}
    if len(kinds) > 1:
        raise ValueError("the means and covariances of both Gaussians are all tensors or all arrays")
    (backend,) = kinds
    pair = _Pair(*map(backend.wide, (p.mean, p.covariance, q.mean, q.covariance)))
    terms = power_terms(divergence.perspective.generator)
    like = (p.mean + q.mean)[..., 0]
    with np.errstate(all="ignore"):
        if terms is not None:
            return backend.narrow(_closed(terms, pair), like)
        return _of_one_covariance(divergence, pair, like)


@dataclass(frozen=True)
class _Pair:
    """Two Gaussians, as arrays of doubles."""

    mean_p: Any
    covariance_p: Any
    mean_q: Any
    covariance_q: Any

    @property
    def backend(self) -> Backend:
        """The array library."""
        return backend_of(self.mean_p)

    def cumulant(self, order: float) -> tuple[Any, Any, Any]:
        """Return K(a), K'(a) and where S_a is positive definite; elsewhere the values mean nothing.

        With B = S_Q - S_P and r = S_a^-1 d: K' = (2 a - 1)/2 d'r - a (a - 1)/2 r'B r - (tr S_a^-1 B - log det B')/2,
        where log det B' is log det S_Q - log det S_P.
        """
        linalg, half = _linalg(self.mean_p), order * (order - 1) / 2
        step, spread = (self.mean_p - self.mean_q)[..., None], self.covariance_q - self.covariance_p
        mixed = self.covariance_p + order * spread
        proper = (linalg.eigvalsh(_plain(mixed)) > 0).all(-1)
        mixed = self.backend.where(proper[..., None, None], mixed, self.covariance_p + 0 * mixed)
        log_p, log_q, log_mixed = (linalg.slogdet(x)[1] for x in (self.covariance_p, self.covariance_q, mixed))
        solved = linalg.solve(mixed, step)
        distance = (step * solved).sum((-1, -2))
        bent = (solved * (spread @ solved)).sum((-1, -2))
        trace = (linalg.solve(mixed, spread) * _identity(spread)).sum((-1, -2))
        value = half * distance - (log_mixed - (1 - order) * log_p - order * log_q) / 2
        slope = (2 * order - 1) / 2 * distance - half * bent - (trace + log_p - log_q) / 2
        return value, slope, proper


def _identity(like: Any) -> Any:
    return backend_of(like).array(np.eye(like.shape[-1]), like)


def _closed(terms: dict[sympy.Expr, tuple[sympy.Expr, sympy.Expr]], pair: _Pair) -> Any:
    """The sum of c (e^K(a) - 1) + k K'(a) e^K(a): the c add up to f(1) = 0."""
    exp = pair.backend.functions[sympy.exp]
    expm1 = pair.backend.functions[sympy.codegen.cfunctions.expm1]
    total: Any = 0.0
    for power, (c, k) in terms.items():
        value, slope, proper = pair.cumulant(float(power))
        term = float(c) * expm1(value) + (float(k) * slope * exp(value) if k != 0 else 0.0)
        total = total + pair.backend.where(proper, term, pair.backend.fill(term, math.inf))
    return pair.backend.clip(total, 0.0, None)  # rounding alone is below


def _of_one_covariance(divergence: Derived, pair: _Pair, like: Any) -> Any | None:
    one, other = pair.covariance_p, pair.covariance_q
    if one.shape != other.shape or not bool((one == other).all()):
        return None
    if any(getattr(x, "requires_grad", False) for x in (one, other)):
        raise ValueError(f"{divergence.spec} has no closed form to differentiate by a covariance: detach it")
    step = (pair.mean_p - pair.mean_q)[..., None]
    squared = (step * _linalg(step).solve(one, step)).sum((-1, -2))
    return pair.backend.narrow(divergence.gaussian(squared[..., None])[..., 0], like)


def sampled(divergence: Derived, p: Normal, q: Normal, draws: int, seed: int) -> Estimate:
    """Estimate D_f by Monte Carlo from the even mixture M of P and Q, where the density of the terms is bounded.

    D_f = E_M[2 h(u)/(1 + u)], and h(u) <= h(0) + u h'(inf) bounds the term by 2 max(h(0), h'(inf)). Where that is
    finite, the interval is the empirical Bernstein bound (Maurer and Pontil 2009) and holds with 95 % for every number
    of draws; else it is 1.96 standard errors, which heavy tails can make too short.

    Raises:
        ValueError: a batch, or fewer than 100 draws.
    """
    if p.mean.ndim > 1 or q.mean.ndim > 1 or draws < 100:
        raise ValueError(f"Monte Carlo takes two single Gaussians and draws >= 100, got draws={draws}")
    rng = np.random.default_rng(seed)
    from_p = rng.random(draws) < 0.5
    x = np.where(from_p[:, None], _draw(p, draws, rng), _draw(q, draws, rng))
    logs = np.stack([p.log_density(x), q.log_density(x)])
    values = 2 * divergence.perspective.log_terms(*(logs - np.logaddexp(*logs)))
    tangent = divergence.perspective.tangent
    most = 2 * max(tangent.at_zero[0], tangent.at_infinity[0])
    spread = float(np.var(values, ddof=1))
    mean, method = float(values.mean()), f"Monte Carlo, {draws} draws from the even mixture"
    if math.isinf(most):
        return around(mean, 1.96 * math.sqrt(spread / draws), method, "1.96 standard errors")
    chance = math.log(4 / _FAILURE)
    width = math.sqrt(2 * spread * chance / draws) + 7 * most * chance / (3 * (draws - 1))
    return around(mean, width, method, "95 % by empirical Bernstein")


def _draw(normal: Normal, count: int, rng: np.random.Generator) -> Any:
    root = np.linalg.cholesky(np.asarray(_plain(normal.covariance), float))
    return np.asarray(_plain(normal.mean), float) + rng.standard_normal((count, normal.dimension)) @ root.T
