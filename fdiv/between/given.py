"""D_f between what is given: the kind of P and Q decides how it is computed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Protocol

from fdiv.between.densities import as_density, between_densities
from fdiv.between.discrete import between_arrays
from fdiv.between.gaussians import Derived as HasGaussian
from fdiv.between.gaussians import Normal, between_normals, sampled
from fdiv.between.samples import Derived as HasActivation
from fdiv.between.samples import Samples, by_neighbours, lower_bound

_KINDS = (
    "two arrays of probabilities, two fdiv.Normal, two distributions of scipy.stats or torch.distributions, "
    "or two fdiv.Samples"
)


class Derived(HasGaussian, HasActivation, Protocol):
    """What is asked of a divergence, all of it derived from its generator."""


@dataclass(frozen=True)
class Effort:
    """What an estimate may cost: draws of Monte Carlo, neighbours of a point, and the seed of whatever is random."""

    draws: int | None = None
    neighbours: int | None = None
    seed: int = 0


def between(divergence: Derived, p: Any, q: Any, effort: Effort) -> Any:
    """Return D_f(P||Q) in nats.

    Args:
        divergence: D_f.
        p: P: an array or tensor of probabilities, whose last axis counts the atoms (also torch's Categorical); an
            `fdiv.Normal` (also torch's Normal and MultivariateNormal, SciPy's norm and multivariate_normal); or
            a frozen SciPy distribution or a torch one on the line; or `fdiv.Samples` of an unknown one.
        q: Q, of the same kind as P.
        effort: how many draws Monte Carlo may take between two Gaussians for which there is nothing else; how many
            neighbours of a point to look at in samples, where without them there is a lower bound; and the seed.

    Returns:
        An array or tensor in the dtype, on the device and with the gradient of what is given, for probabilities and
        for Gaussians with a closed form; else an `Estimate`, a value with its interval. `float` takes both.

    Raises:
        ValueError: P and Q are not of one of these kinds, or there is no way to compute D_f, and why.
    """
    p, q = _read(p), _read(q)
    if isinstance(p, Normal) and isinstance(q, Normal):
        return _between_normals(divergence, p, q, effort)
    if isinstance(p, Samples) and isinstance(q, Samples):
        if effort.neighbours is not None:
            return by_neighbours(divergence, p, q, effort.neighbours, effort.seed)
        return lower_bound(divergence, p, q, effort.seed)
    density_p, density_q = as_density(p), as_density(q)
    if density_p is not None and density_q is not None:
        return between_densities(divergence.perspective, density_p, density_q)
    if density_p is not None or density_q is not None or isinstance(p, Samples) or isinstance(q, Samples):
        raise ValueError(f"P and Q are {_KINDS}; got {type(p).__name__} and {type(q).__name__}")
    return between_arrays(divergence.perspective, p, q)


def _between_normals(divergence: Derived, p: Normal, q: Normal, effort: Effort) -> Any:
    closed = between_normals(divergence, p, q)
    if closed is not None:
        return closed
    if effort.draws is not None:
        return sampled(divergence, p, q, effort.draws, effort.seed)
    if p.dimension > 1:
        raise ValueError(
            f"{divergence.spec} has no closed form between Gaussians of different covariances in {p.dimension} "
            "dimensions; draws=100000 estimates it by Monte Carlo, with an interval"
        )
    return between_densities(divergence.perspective, *map(as_density, (p, q)))  # type: ignore[arg-type]


def _read(given: Any) -> Any:
    """Return a Gaussian as a `Normal`, and torch's discrete letters as their probabilities; anything else as it is."""
    if hasattr(given, "mean") and hasattr(given, "cov") and hasattr(given, "logpdf"):
        return Normal(given.mean, given.cov)  # scipy.stats.multivariate_normal
    if getattr(getattr(given, "dist", None), "name", None) == "norm":
        return Normal(float(given.mean()), float(given.var()))
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(given, torch.distributions.Distribution):
        return given
    laws = torch.distributions
    if isinstance(given, laws.Independent):
        given = given.expand(given.batch_shape)
        if isinstance(given.base_dist, laws.Normal) and given.reinterpreted_batch_ndims == 1:
            return Normal(given.base_dist.loc, torch.diag_embed(given.base_dist.variance))
    if isinstance(given, laws.Normal):
        return Normal(given.loc[..., None], given.variance[..., None, None])
    if isinstance(given, laws.MultivariateNormal):
        return Normal(given.loc, given.covariance_matrix)
    return given.probs if isinstance(given, laws.Categorical | laws.OneHotCategorical) else given
