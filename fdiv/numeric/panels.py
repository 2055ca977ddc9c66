"""Composite Gauss-Legendre quadrature over x = log u for means over x ~ N(-s/2, s)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_FARTHEST = 36.0  # standard deviations; the normal density is 1e-281 there
_AT_CUTS, _AT_BENDS, _AT_ONE = 44, 10, 3  # how often panels halve towards a place


@dataclass(frozen=True)
class Panels:
    """f above its tangent at 1 at Gauss-Legendre nodes in x = log u, for means over x ~ N(-s/2, s)."""

    log_ratios: Array
    lengths: Array  # the weights of a plain integral over x
    heights: Array

    def densities(self, s: float) -> Array:
        """The weights of a mean over x ~ N(-s/2, s)."""
        return self.lengths * np.exp(-((self.log_ratios + s / 2) ** 2) / (2 * s)) / math.sqrt(2 * math.pi * s)


def panels(above: Callable[[float], float], s: float, places: tuple[list[float], list[float]], fine: int) -> Panels:
    """Lay panels between -s/2 - reach sqrt(s) and -s/2 + reach sqrt(s), cut at every kink, and evaluate there.

    Args:
        above: f above its tangent at 1, as a function of x.
        s: the variance of x.
        places: the x of the kinks, where f' may be singular, and of steep bends.
        fine: how much smaller than usual the panels are.
    """
    root = math.sqrt(s)
    cuts, bends = places
    steps = {x: 0.5 ** np.arange(_halvings(x, cuts, bends)) for x in {0.0, *cuts, *bends}}
    graded = [x + sign * steps[x] for x in steps for sign in (-1, 0, 1)]
    ends = (np.concatenate(graded) + s / 2) / root
    reach = 10 + 2 * root
    reach = max(reach, *(min(abs(end) + 10, _FARTHEST) for end in ends))
    even = np.linspace(-reach, reach, 2 * fine * math.ceil(1.15 * reach) + 1)
    breaks = root * np.unique(np.concatenate([even, ends[np.abs(ends) < reach]])) - s / 2
    points, weights = np.polynomial.legendre.leggauss(16)
    half, middle = np.diff(breaks)[:, None] / 2, (breaks[1:] + breaks[:-1])[:, None] / 2
    log_ratios = (middle + half * points).ravel()
    heights = np.array([above(x) for x in log_ratios.tolist()])
    return Panels(log_ratios, (half * weights).ravel(), heights)


def _halvings(x: float, cuts: list[float], bends: list[float]) -> int:
    return _AT_CUTS if x in cuts else _AT_BENDS if x in bends else _AT_ONE
