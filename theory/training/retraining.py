r"""What a model would predict that had been trained without the target, read off the model that was trained with it.

Proof. Let pictures of class c have density q_c and share w_c, and let x_t = a x_0 + d e. The best prediction of x_0 for
a prompt that names no class is the posterior mean, and by the law of total expectation

    m(x_t) = sum over c of p(c | x_t) m_c(x_t),   p(c | x_t) proportional to w_c p_t(x_t | c).

Training without class o leaves each q_c and m_c as they are and conditions the shares on "not o". By Bayes it does so
to the posterior too: p(r | x_t, not o) = p(r | x_t) / (1 - p(o | x_t)), and the retrained model predicts

    m'(x_t) = sum over r != o of p(r | x_t, not o) m_r(x_t)
            = m(x_t) + p(o | x_t) / (1 - p(o | x_t)) (m(x_t) - m_o(x_t)).

The last form is guidance away from the target, as ESD has it, with the posterior odds of the target as its weight: no
constant weight is that of retraining unless the odds are constant. Predictions of noise or velocity are affine in that
of x_0, with coefficients that t and x_t alone decide, and the weights of each form sum to 1, so they obey the same law.
With one variance, two reverse steps are equal exactly if these means are, so for a strict f the divergence from
retraining is 0 exactly at m'.

Computed: the posterior mean of the retained mixture, by quadrature over x_0. Stated: both forms, from the closed
posteriors of Gaussian classes, the target among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import sympy
from numpy.typing import NDArray
from sympy import Expr

from theory.theorem import Comparison, Theorem

_POINTS = (-3.0, -0.7, 0.2, 1.4, 4.0)
_SNR = (0.01, 0.3, 2.0, 30.0)
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Classes:
    """Gaussian classes of pictures of one pixel; the first is the target."""

    spec: str
    shares: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    @property
    def _columns(self) -> tuple[Numbers, Numbers, Numbers]:
        return np.array(self.shares), np.array(self.means), np.array(self.deviations)

    def density(self, x: Numbers) -> Numbers:
        """Of the retained pictures alone, up to a factor."""
        shares, means, deviations = (column[1:, None] for column in self._columns)
        return np.asarray((shares / deviations * np.exp(-(((x - means) / deviations) ** 2) / 2)).sum(0))

    def posteriors(self, noisy: float, signal: float, deviation: float) -> Numbers:
        """p(c | x_t), target first."""
        shares, means, deviations = self._columns
        spread = np.hypot(signal * deviations, deviation)
        logs = np.log(shares / spread) - ((noisy - signal * means) / spread) ** 2 / 2
        weights = np.exp(logs - logs.max())
        return np.asarray(weights / weights.sum())

    def predictions(self, noisy: float, signal: float, deviation: float) -> Numbers:
        """m_c(x_t), target first: of a Gaussian class the regression of x_0 on x_t."""
        _, means, deviations = self._columns
        gain = signal * deviations**2 / (signal**2 * deviations**2 + deviation**2)
        return np.asarray(means + gain * (noisy - signal * means))


WORLDS = (
    Classes("target_apart", (0.25, 0.35, 0.4), (4.0, -1.0, 1.0), (0.5, 0.7, 0.4)),
    Classes("target_between", (0.3, 0.35, 0.35), (0.0, -2.0, 2.0), (0.6, 0.6, 0.6)),
    Classes("target_wide", (0.2, 0.5, 0.3), (0.5, 0.0, 1.5), (3.0, 0.3, 0.5)),
    Classes("target_rare", (0.001, 0.5, 0.499), (1.0, -1.0, 2.0), (0.3, 0.8, 0.2)),
    Classes("one_retained", (0.5, 0.5), (-1.0, 1.0), (0.7, 0.9)),
    Classes("target_like_a_retained", (0.4, 0.3, 0.3), (1.0, 1.0, -2.0), (0.5, 0.5, 1.0)),
)


def retrained(world: Classes, noisy: float, signal: float, deviation: float) -> float:
    """E[x_0 | x_t] without the target, by the trapezoid rule, which is spectrally exact for what falls off so fast."""
    reach = max(abs(m) + 12 * s for m, s in zip(world.means, world.deviations, strict=True))
    x = np.linspace(-reach, reach, 40_001)
    logs = np.log(world.density(x) + 1e-300) - ((noisy - signal * x) / deviation) ** 2 / 2
    weights = np.exp(logs - logs.max())
    return float((x * weights).sum() / weights.sum())


def by_bayes(posterior: Numbers, predicted: Numbers) -> float:
    """m'(x_t) as the mean of what is retained, of p(c | x_t) and m_c(x_t) with the target first."""
    return float(posterior[1:] @ predicted[1:] / posterior[1:].sum())


def guided_away(posterior: Numbers, predicted: Numbers) -> float:
    """m'(x_t) as guidance away from the target, by its posterior odds."""
    odds, whole = posterior[0] / (1 - posterior[0]), posterior @ predicted
    return float(whole + odds * (whole - predicted[0]))


def _comparisons(world: Classes) -> Iterator[Comparison]:
    for snr in _SNR:
        signal, deviation = (snr / (1 + snr)) ** 0.5, (1 / (1 + snr)) ** 0.5
        for noisy in _POINTS:
            computed = retrained(world, noisy, signal, deviation)
            posterior = world.posteriors(noisy, signal, deviation)
            predicted = world.predictions(noisy, signal, deviation)
            where = f"SNR {snr:g}, x_t = {noisy:g}"
            stated = by_bayes(posterior, predicted)
            yield Comparison(f"{where}: Bayes", computed, stated, "equal", 1e-9, unit=1e-3)
            if posterior[0] < 0.999:  # beyond, the difference loses the digits that are compared
                stated = guided_away(posterior, predicted)
                yield Comparison(f"{where}: guidance away", computed, stated, "equal", 1e-9, unit=1e-3)


def _lemmas() -> tuple[Expr, ...]:
    """Both forms of m' with three classes of any shares, densities at x_t and predictions."""
    weights, means = sympy.symbols("w:3", positive=True), sympy.symbols("m:3", real=True)
    posterior = [weight / sum(weights) for weight in weights]
    whole = sum(p * m for p, m in zip(posterior, means, strict=True))
    without = sum(w * m for w, m in zip(weights[1:], means[1:], strict=True)) / sum(weights[1:])
    bayes = sum(p * m for p, m in zip(posterior[1:], means[1:], strict=True)) / (1 - posterior[0])
    away = whole + posterior[0] / (1 - posterior[0]) * (whole - means[0])
    return bayes - without, away - without


THEOREM = Theorem(
    number=14,
    part="a",
    name="retraining",
    title="What a model trained without the target predicts",
    statement=r"m'(x_t) = \sum_{r \ne o} \frac{p(r \mid x_t)}{1 - p(o \mid x_t)}\, m_r(x_t)"
    r" = m(x_t) + \frac{p(o \mid x_t)}{1 - p(o \mid x_t)} \bigl(m(x_t) - m_o(x_t)\bigr)",
    hypotheses=(
        "m_c are posterior means, the optimum of denoising; a network that was trained to it is near it only where its"
        " training put pictures",
        "training without the target leaves the other classes as they are, and their shares in proportion",
        "p(o | x_t) < 1",
    ),
    reference="total expectation and Bayes; with the odds as guidance Koulischer et al. arXiv:2410.14398; a constant"
    " weight is ESD's, Gandikota et al. arXiv:2303.07345",
    applies=lambda world: isinstance(world, Classes) and len(world.shares) > 1,
    comparisons=_comparisons,
    lemmas=_lemmas,
    universe=lambda: WORLDS,
)
