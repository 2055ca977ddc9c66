"""D_f between two densities on the line, by adaptive quadrature with an estimate of its error.

The line is cut at quantiles of both, at the ends of both supports, and where p/q passes a kink of f; QUADPACK's
Gauss-Kronrod rule is adaptive on each part, and its estimates of the error are added up. All terms are those of f above
its tangent, so none is negative and none cancels. An estimate proves nothing: of a density with a spike that is beside
every quantile nobody would know.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fdiv.between.estimate import Estimate, around
from fdiv.between.gaussians import Normal
from fdiv.between.perspective import Perspective

_LEVELS = (1e-12, 1e-8, 1e-5, 1e-3, 0.02, 0.15, 0.5)
_DEVIATIONS = (0.0, 0.5, 1.0, 2.0, 4.0, 7.0)
_SHARES = np.linspace(0, 1, 11)[1:-1]  # of a part, at which log p/q is compared with the kinks


@dataclass(frozen=True)
class Density:
    """log p on the line, vectorised, with the ends of its support and places between which it is smooth.

    `rounding` is the relative error of p: a torch distribution with parameters in fp32 has no more than 7 digits.
    """

    log: Callable[[Any], Any]
    support: tuple[float, float]
    places: tuple[float, ...]
    rounding: float = 0.0

    def __call__(self, x: Any) -> Any:
        """Return log p at a vector, -inf outside the support."""
        inside = (x >= self.support[0]) & (x <= self.support[1])
        result = np.full(x.shape, -math.inf)
        result[inside] = self.log(x[inside])
        return result


def as_density(given: Any) -> Density | None:
    """Return the density of a frozen SciPy distribution, a torch one or a `Normal`; None for what has none.

    Raises ValueError for a distribution that is discrete, batched or of several coordinates.
    """
    if isinstance(given, Normal):
        return _of_normal(given)
    if hasattr(given, "dist") and hasattr(given, "support"):
        return _of_scipy(given)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.distributions.Distribution):
        return _of_torch(given)
    return None


def _of_normal(normal: Normal) -> Density:
    if normal.mean.shape != (1,):
        raise ValueError(f"quadrature takes one Gaussian on the line, got a mean of shape {tuple(normal.mean.shape)}")
    middle, width = float(normal.mean[0]), math.sqrt(float(normal.covariance[0, 0]))
    places = tuple(middle + sign * k * width for k in _DEVIATIONS for sign in (-1, 1))
    return Density(lambda x: normal.log_density(x[:, None]), (-math.inf, math.inf), places)


def _of_scipy(frozen: Any) -> Density:
    if not hasattr(frozen.dist, "pdf"):
        name = getattr(frozen.dist, "name", type(frozen.dist).__name__)
        raise ValueError(f"scipy's {name} is discrete: give the probabilities of its atoms as an array")
    low, high = (float(end) for end in frozen.support())
    places = (float(frozen.ppf(level)) for level in (*_LEVELS, *(1 - level for level in _LEVELS)))
    return Density(frozen.logpdf, (low, high), tuple(x for x in places if math.isfinite(x)))


def _of_torch(given: Any) -> Density:
    import torch

    name = type(given).__name__
    if given.batch_shape.numel() != 1 or given.event_shape.numel() != 1:
        raise ValueError(f"quadrature takes one distribution on the line, got a {name} of several")
    if given.support.is_discrete:
        raise ValueError(f"torch's {name} is discrete: give the probabilities of its atoms as a tensor")

    def log(x: Any) -> Any:
        shape = (-1, *given.batch_shape, *given.event_shape)
        with torch.no_grad():
            values = given.log_prob(torch.as_tensor(x).reshape(shape)).double()
        return values.reshape(-1).numpy()

    support = given.support
    low = float(getattr(support, "lower_bound", -math.inf))
    high = float(getattr(support, "upper_bound", math.inf))
    places = tuple(x for x in _spread(given) if low < x < high)
    dtype = given.mean.dtype
    return Density(log, (low, high), places, 64 * torch.finfo(dtype).eps if dtype != torch.float64 else 0.0)


def _spread(given: Any) -> list[float]:
    """Return places over which a torch distribution is spread: by its deviation, or by its scale where it has none."""
    middle, width = float(given.mean), float(given.stddev)
    if not (math.isfinite(middle) and math.isfinite(width)):
        middle, width = float(given.loc), float(given.scale)
    return [middle + sign * k * width for k in (*_DEVIATIONS, 20.0, 100.0) for sign in (-1, 1)]


UNDERFLOW = -300.0
"""A log density below which one weighs nothing in a sum, while the other may have become 0 by rounding."""


def between_densities(perspective: Perspective, p: Density, q: Density) -> Estimate:
    """Integrate q f(p/q) over the line; infinite where P has mass that Q has not and f'(inf) is infinite.

    The interval is QUADPACK's own estimate of its error, and no bound: at a pole of a density it can be too small.

    Raises:
        ValueError: quadrature settles nothing, as where the divergence is infinite for the tails' sake.
    """
    from scipy.integrate import quad

    total = error = 0.0
    failed, rounding = "", max(p.rounding, q.rounding)
    tolerances = {"epsabs": max(1e-14, rounding * 1e-3), "epsrel": max(1e-12, rounding), "limit": 200}
    for part in _parts(perspective, p, q):

        def term(share: Any, part: _Part = part) -> Any:
            x, rate = part.at(share)
            return perspective.log_terms(p(x), q(x)) * rate

        if _infinite(part.at(_SHARES)[0], term(_SHARES), p, q):
            return around(math.inf, 0.0, "quadrature", "the integrand is infinite inside the support of P")
        found = quad(lambda share: float(term(np.array([share]))[0]), 0, 1, **tolerances, full_output=1)
        value, missed, *more = found
        total, error = total + value, error + missed
        if len(more) > 1 and not missed <= 1e-9 * (1 + abs(total)):
            failed = f"; {' '.join(str(more[1]).split())}"
    if failed or not math.isfinite(total):
        raise ValueError(f"quadrature does not settle this divergence, which may be infinite, or have a pole{failed}")
    return around(total, error + rounding * total, "quadrature", "QUADPACK's estimate of its error")


def _infinite(x: Any, terms: Any, p: Density, q: Density) -> bool:
    """Whether an integrand is infinite for want of Q, and not at a pole of a density, which an integral may have."""
    with np.errstate(divide="ignore"):
        pole = np.isposinf(p(x)) | np.isposinf(q(x))
    lacks = np.isinf(terms) & ~pole
    tiny = (p(x) < UNDERFLOW) & (q(x) < UNDERFLOW)
    if lacks.any() and not (lacks & ~tiny).any():
        raise ValueError("quadrature does not settle this divergence: a density underflows where the other is tiny")
    return bool(lacks.any())


@dataclass(frozen=True)
class _Part:
    """A part of the line, as a map of (0, 1): linear, or x = a +- width share/(1 - share) where it is infinite."""

    left: float
    right: float
    width: float = 1.0

    def at(self, share: Any) -> tuple[Any, Any]:
        """Return x and dx/dshare."""
        if math.isfinite(self.left) and math.isfinite(self.right):
            return self.left + (self.right - self.left) * share, (self.right - self.left) * np.ones_like(share)
        start, sign = (self.left, 1) if math.isfinite(self.left) else (self.right, -1)
        return start + sign * self.width * share / (1 - share), self.width / (1 - share) ** 2


def _parts(perspective: Perspective, p: Density, q: Density) -> list[_Part]:
    """Cut the line from the first end of a support to the last, an infinite end in the scale of all that is inside."""
    low, high = min(p.support[0], q.support[0]), max(p.support[1], q.support[1])
    places = {low, high, *p.support, *q.support, *p.places, *q.places} - {-math.inf, math.inf}
    inner = sorted(places or {0.0})
    width = (inner[-1] - inner[0]) or 1.0
    cuts = [*([low] if math.isinf(low) else []), *inner, *([high] if math.isinf(high) else [])]
    kinks = [math.log(float(piece.lower)) for piece in perspective.generator.pieces[1:]]
    found = []
    for left, right in pairwise(cuts):
        crossings = _crossings(p, q, np.sort(_Part(left, right, width).at(_SHARES)[0]), kinks)
        found += [_Part(a, b, width) for a, b in pairwise([left, *sorted(crossings), right])]
    return found


def _crossings(p: Density, q: Density, x: Any, kinks: list[float]) -> set[float]:
    """Return where log p/q passes one of the kinks between two neighbours of x."""
    from scipy.optimize import brentq

    def log_ratio(z: Any) -> Any:
        with np.errstate(invalid="ignore"):  # where neither has a density
            return p(z) - q(z)

    ratio, found = log_ratio(x), set()
    for kink in kinks:
        passed = np.isfinite(ratio[1:]) & np.isfinite(ratio[:-1]) & ((ratio[1:] > kink) != (ratio[:-1] > kink))
        for i in np.flatnonzero(passed):
            excess = lambda z, kink=kink: float(log_ratio(np.array([z]))[0]) - kink  # noqa: E731
            found.add(float(brentq(excess, x[i], x[i + 1], xtol=1e-14)))
    return found
