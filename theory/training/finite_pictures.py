r"""The best denoiser of finitely many pictures: a mean of them, weighed by how likely each is behind x_t.

Proof. If x_0 is one of z_1, ..., z_n with shares w_i and x_t = a x_0 + d e, then p(i | x_t) is proportional to
w_i exp(-|x_t - a z_i|^2 / (2 d^2)), and the posterior mean, which no predictor of x_0 beats in mean square, is

    m(x_t) = sum over i of p(i | x_t) z_i.

It is defined at every x_t, also at those that none of the pictures makes likely, where a network that was trained on
them alone was never trained. As d -> 0 at fixed a, all weight goes to the picture nearest to x_t / a.

Computed: Tweedie's formula, (x_t + d^2 grad log p(x_t)) / a, with the gradient by central differences of the noisy
density in 60 digits. Stated: the weighted mean, in doubles.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import mpmath
import numpy as np
import sympy
from sympy import Expr

from theory.theorem import Comparison, Theorem

_SNR = (0.02, 0.5, 4.0, 50.0)
_DIGITS, _STEP = 60, 20


@dataclass(frozen=True)
class Pictures:
    """Pictures of two pixels with their shares."""

    spec: str
    pictures: tuple[tuple[float, float], ...]
    shares: tuple[float, ...]


WORLDS = (
    Pictures("one", ((0.5, -1.0),), (1.0,)),
    Pictures("two", ((1.0, 0.0), (-1.0, 0.5)), (0.5, 0.5)),
    Pictures("unequal_shares", ((1.0, 0.0), (-1.0, 0.5), (0.2, 2.0)), (0.7, 0.2, 0.1)),
    Pictures("twice_the_same", ((1.0, 1.0), (1.0, 1.0), (-1.0, -1.0)), (1 / 3, 1 / 3, 1 / 3)),
)
_POINTS = tuple(itertools.product((-1.5, 0.1), (-0.4, 1.2)))


def weighted_mean(world: Pictures, noisy: tuple[float, float], signal: float, deviation: float) -> np.ndarray:
    """The stated prediction, (2,)."""
    pictures = np.array(world.pictures)
    logs = np.log(world.shares) - ((np.array(noisy) - signal * pictures) ** 2).sum(1) / (2 * deviation**2)
    weights = np.exp(logs - logs.max())
    return np.asarray(weights @ pictures / weights.sum())


def tweedie(world: Pictures, noisy: tuple[float, float], signal: float, deviation: float) -> list[float]:
    """The computed prediction, pixel by pixel."""
    with mpmath.workdps(_DIGITS):
        a, d, step = mpmath.mpf(signal), mpmath.mpf(deviation), mpmath.mpf(10) ** -_STEP

        def log_density(x: list[mpmath.mpf]) -> mpmath.mpf:
            terms = (
                mpmath.mpf(share) * mpmath.exp(-sum((y - a * z) ** 2 for y, z in zip(x, z_i, strict=True)) / (2 * d**2))
                for share, z_i in zip(world.shares, world.pictures, strict=True)
            )
            return mpmath.log(mpmath.fsum(terms))

        result = []
        for pixel in range(2):
            ends = []
            for sign in (1, -1):
                moved = [mpmath.mpf(x) for x in noisy]
                moved[pixel] += sign * step
                ends.append(log_density(moved))
            gradient = (ends[0] - ends[1]) / (2 * step)
            result.append(float((noisy[pixel] + d**2 * gradient) / a))
        return result


def _comparisons(world: Pictures) -> Iterator[Comparison]:
    for snr, noisy in itertools.product(_SNR, _POINTS):
        signal, deviation = (snr / (1 + snr)) ** 0.5, (1 / (1 + snr)) ** 0.5
        stated, where = weighted_mean(world, noisy, signal, deviation), f"SNR {snr:g}, x_t = {noisy}"
        for pixel, computed in enumerate(tweedie(world, noisy, signal, deviation)):
            yield Comparison(f"{where}, pixel {pixel}", computed, float(stated[pixel]), "equal", 1e-10, unit=1e-3)
    for noisy in _POINTS:
        pictures = np.array(world.pictures)
        nearest = pictures[((np.array(noisy) - pictures) ** 2).sum(1).argmin()]
        for pixel, computed in enumerate(weighted_mean(world, noisy, 1.0, 0.02)):
            yield Comparison(f"d = .02, x_t = {noisy}, pixel {pixel}", computed, float(nearest[pixel]), "equal", 1e-9)


def _lemmas() -> tuple[Expr, ...]:
    """Tweedie's formula is the weighted mean, for three pictures of one pixel."""
    x = sympy.Symbol("x", real=True)
    a, d = sympy.symbols("a d", positive=True)
    pictures, shares = sympy.symbols("z:3", real=True), sympy.symbols("w:3", positive=True)
    parts = [w * sympy.exp(-((x - a * z) ** 2) / (2 * d**2)) for w, z in zip(shares, pictures, strict=True)]
    mean = sum(part * z for part, z in zip(parts, pictures, strict=True)) / sum(parts)
    return (sympy.simplify((x + d**2 * sympy.diff(sympy.log(sum(parts)), x)) / a - mean),)


THEOREM = Theorem(
    number=14,
    part="b",
    name="finite_pictures",
    title="The best denoiser of finitely many pictures",
    statement=r"m(x_t) = \frac{\sum_i p_i z_i}{\sum_i p_i}, \qquad p_i = w_i\, e^{-\|x_t - a z_i\|^2 / 2 d^2}",
    hypotheses=("x_0 is one of z_1, ..., z_n with shares w_i > 0", "x_t = a x_0 + d e, standard normal e, a and d > 0"),
    reference="Robbins 1956 (Tweedie's formula); Karras et al. arXiv:2206.00364, appendix B.3",
    applies=lambda world: isinstance(world, Pictures),
    comparisons=_comparisons,
    lemmas=_lemmas,
    universe=lambda: WORLDS,
)
