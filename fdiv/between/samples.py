"""D_f from samples of P and of Q: a lower bound by a critic, and for Kullback-Leibler's divergences nearest neighbours.

The bound E_P[T] - E_Q[f*(T)] <= D_f (Nguyen, Wainwright and Jordan 2010; Nowozin et al. arXiv:1606.00709) holds for
every critic. The one here is linear in 1, the coordinates and their products, which is the log-ratio of two Gaussians.
It is fitted on one half and the bound taken on the other, so that what was fitted to noise counts against it. As the
samples grow it tends to the best bound of such a critic: to D_f only where log dP/dQ is quadratic and f has no kink.
It is a bound of the expectation, and the bootstrap's end is none where f*(T) has heavy tails: with an unbounded f and
laws far apart, a few points decide E_Q[f*(T)], and samples that lack them give values far above D_f (for KL of 400
points two deviations apart in each of two coordinates, where D_f is 4, 3034 was seen). Trust it where f* is bounded on
the critic's range, as for Jensen-Shannon's divergence.

The estimate by nearest neighbours (Wang, Kulkarni and Verdu 2009, formula 5) tends to D_f for every P and Q with
densities whose logarithms have moments, but slowly where there are many coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np
import sympy
from numpy.typing import NDArray

from fdiv.between.estimate import Estimate, around
from fdiv.between.gaussians import power_terms
from fdiv.between.perspective import Perspective
from fdiv.derive.activation import Activation
from fdiv.exact.symbols import v
from fdiv.numeric.backends import Function, numpy_backend
from fdiv.numeric.lower import lower

Array = NDArray[np.float64]
_FEWEST = 20
_RIDGE = 1e-4
_RESAMPLES = 999
_PARTS, _SUBSAMPLES = 5, 40


class Derived(Protocol):
    """What is asked of a divergence here."""

    @property
    def perspective(self) -> Perspective:
        """(p, q) -> q f(p/q)."""

    @property
    def activation(self) -> Activation:
        """T and f* o T."""

    @property
    def spec(self) -> str:
        """Its name."""


@final
@dataclass(frozen=True, eq=False)
class Samples:
    """Independent points of one distribution: an array or tensor of shape (n,) or (n, d), at least 20 of them."""

    points: Any

    def __post_init__(self) -> None:
        """Keep them as an array of doubles of shape (n, d); raises ValueError for what is none."""
        given = self.points.detach().cpu() if hasattr(self.points, "detach") else self.points
        points = np.asarray(given, dtype=float)
        points = points[:, None] if points.ndim == 1 else points
        if points.ndim != 2 or len(points) < _FEWEST or not np.isfinite(points).all():
            raise ValueError(f"samples are {_FEWEST} or more finite points (n, d), got the shape {points.shape}")
        object.__setattr__(self, "points", points)


def lower_bound(divergence: Derived, p: Samples, q: Samples, seed: int) -> Estimate:
    """Return the variational bound of a critic that is linear in the coordinates and their products.

    `low` is the 2.5 % quantile of a bootstrap of the bound, so D_f is at least that with about 97.5 %; D_f may exceed
    the value by any amount, and `high` is infinite. Raises ValueError where the dimensions differ, and DerivationError
    where there is no activation.
    """
    _of_one_dimension(p, q)
    form = divergence.activation
    forms = (form.output, form.conjugate_term, form.output_slope, form.conjugate_slope)
    critic = _Critic(*(lower(expression, v, numpy_backend()) for expression in forms))
    rng = np.random.default_rng(seed)
    halves = [np.array_split(rng.permutation(one.points), 2) for one in (p, q)]
    won, paid = [], []
    with np.errstate(all="ignore"):
        for train in (0, 1):
            (fit_p, fit_q), (new_p, new_q) = ((half[k] for half in halves) for k in (train, 1 - train))
            score = critic.fitted(fit_p, fit_q)
            won.append(critic.output(score(new_p)))
            paid.append(critic.term(score(new_q)))
    gains, costs = np.concatenate(won), np.concatenate(paid)
    value = max(float(gains.mean() - costs.mean()), 0.0)  # the critic that says nothing has the bound 0
    means = [rng.choice(gains, len(gains)).mean() - rng.choice(costs, len(costs)).mean() for _ in range(_RESAMPLES)]
    low = min(max(float(np.quantile(means, 0.025)), 0.0), value)
    return Estimate(value, low, math.inf, "variational bound, quadratic critic", "a lower bound, by bootstrap 97.5 %")


@dataclass(frozen=True)
class _Critic:
    """T and f* o T on arrays of a critic's outputs, and their slopes."""

    output: Function
    term: Function
    output_slope: Function
    term_slope: Function

    def fitted(self, p: Array, q: Array) -> Callable[[Array], Array]:
        """Return the score whose bound on p and q is largest, less a small penalty of its coefficients."""
        from scipy.optimize import minimize

        both = np.concatenate([p, q])
        centre, width = both.mean(0), np.maximum(both.std(0), 1e-300)

        def features(x: Array) -> Array:
            z = (x - centre) / width
            i, j = np.triu_indices(z.shape[1])
            return np.concatenate([np.ones((len(z), 1)), z, z[:, i] * z[:, j]], axis=1)

        at_p, at_q = features(p), features(q)

        def loss(weights: Array) -> tuple[float, Array]:
            v_p, v_q = at_p @ weights, at_q @ weights
            value = self.term(v_q).mean() - self.output(v_p).mean() + _RIDGE * (weights @ weights)
            slope = self.term_slope(v_q) @ at_q / len(q) - self.output_slope(v_p) @ at_p / len(p)
            return (float(value), slope + 2 * _RIDGE * weights) if np.isfinite(value) else (1e300, 0 * weights)

        found = minimize(loss, np.zeros(at_p.shape[1]), jac=True, method="L-BFGS-B").x
        return lambda x: features(x) @ found


def by_neighbours(divergence: Derived, p: Samples, q: Samples, neighbours: int, seed: int) -> Estimate:
    """Estimate D_f = a KL(P||Q) + b KL(Q||P) by distances to the k-th nearest neighbour.

    The interval is 1.96 standard errors, from subsamples of a fifth, and twice the shift of their mean from the value:
    the bias falls as the points grow, so the shift is a rough measure of it, and no bound.

    Raises:
        ValueError: f is no sum of u log u and -log u (no other is known to be consistent here), the dimensions differ,
            there are too few points for the neighbours, or points coincide.
    """
    _of_one_dimension(p, q)
    shares = _shares(divergence)
    least = min(len(p.points), len(q.points)) // _PARTS
    if isinstance(neighbours, bool) or neighbours != int(neighbours) or not 1 <= neighbours < least:
        raise ValueError(
            f"neighbours are a count between 1 and {least - 1}, below a fifth of the points; got {neighbours}"
        )
    value = _combined(shares, p.points, q.points, neighbours)
    rng = np.random.default_rng(seed)
    again = []
    for _ in range(_SUBSAMPLES):
        few_p, few_q = (rng.choice(one.points, len(one.points) // _PARTS, replace=False) for one in (p, q))
        again.append(_combined(shares, few_p, few_q, neighbours))
    error = 1.96 * float(np.std(again, ddof=1)) / math.sqrt(_PARTS) + 2 * abs(value - float(np.mean(again)))
    why = "1.96 standard errors and twice the shift from a fifth of the points"
    return around(value, error, f"{neighbours} nearest neighbours", why)


def _shares(divergence: Derived) -> tuple[float, float]:
    """Return a and b with D_f = a KL(P||Q) + b KL(Q||P)."""
    terms = power_terms(divergence.perspective.generator) or {sympy.S.NaN: (sympy.S.Zero, sympy.S.Zero)}
    if not terms.keys() <= {sympy.S.Zero, sympy.S.One}:
        raise ValueError(
            f"nearest neighbours estimate sums of KL(P||Q) and KL(Q||P) alone, and {divergence.spec} is none: "
            "without `neighbours` there is a lower bound"
        )
    nothing = (sympy.S.Zero, sympy.S.Zero)
    return float(terms.get(sympy.S.One, nothing)[1]), -float(terms.get(sympy.S.Zero, nothing)[1])


def _combined(shares: tuple[float, float], p: Array, q: Array, k: int) -> float:
    ways = ((shares[0], p, q), (shares[1], q, p))
    return sum(share * _kullback_leibler(one, other, k) for share, one, other in ways if share)


def _kullback_leibler(p: Array, q: Array, k: int) -> float:
    """d/n sum of log(nu_k/rho_k) + log(m/(n - 1)), nu_k and rho_k the distances to the k-th neighbour in q and in p."""
    from scipy.spatial import cKDTree

    own = cKDTree(p).query(p, [k + 1])[0][:, 0]  # the first is the point itself
    other = cKDTree(q).query(p, [k])[0][:, 0]
    if not (own > 0).all() or not (other > 0).all():
        raise ValueError("points coincide: nearest neighbours take samples of densities, without repetitions")
    return float(p.shape[1] * np.log(other / own).mean() + math.log(len(q) / (len(p) - 1)))


def _of_one_dimension(p: Samples, q: Samples) -> None:
    dimensions = p.points.shape[1], q.points.shape[1]
    if dimensions[0] != dimensions[1]:
        raise ValueError(f"both samples have one number of coordinates, got {dimensions[0]} and {dimensions[1]}")
