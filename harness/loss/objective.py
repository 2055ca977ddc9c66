"""Tensors to losses: the reverse step, s, the erasure and the retention. No I/O, no options.

P is the frozen model on the anchor, Q the trained model on the target; both take one reverse step from the same
x_t with the same variance, so every f-divergence between them is a function of
s = |mu_P - mu_Q|^2 / sigma^2 alone (Novello et al., arXiv 2509.21167, section 4).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

import fdiv
from fdiv.losses import GaussianLoss, VariationalLoss
from harness.config import UsageError
from harness.loss.timesteps import bins
from harness.models.path import NoiseSchedule

Function = Callable[[Tensor], Tensor]
FALLBACK_S = 8.0
"""Where the weight e^{-s/8}, the fastest exponential rate that any f-divergence has, has fallen by a factor e."""


@dataclass(frozen=True)
class Scale:
    """The variance of the reverse step, as the factor that turns a squared error of noise predictions into s."""

    kind: str
    schedule: NoiseSchedule
    constants: tuple[float, ...] = (1.0,)
    """One, or for `binned` one for each of the bins of `timesteps.bins`; `posterior` has no use for them."""

    def precision(self, timesteps: Tensor) -> Tensor:
        """s per unit of squared noise-prediction error summed over channels and positions, (n,)."""
        if self.kind == "posterior":
            return mean_sensitivity(self.schedule, timesteps) ** 2 / posterior_variance(self.schedule, timesteps)
        if len(self.constants) == 1:
            return torch.full(timesteps.shape, self.constants[0], device=timesteps.device)
        return torch.tensor(self.constants, device=timesteps.device)[bins(timesteps, self.schedule.timesteps)]

    def difference(self, noise_p: Tensor, noise_q: Tensor, timesteps: Tensor) -> Tensor:
        """(mu_Q - mu_P) / sigma of the two reverse steps, from noise predictions of the same shape (n, c, h, w)."""
        return self.precision(timesteps).sqrt().view(-1, 1, 1, 1) * (noise_p - noise_q)


def squared_distance(difference: Tensor) -> Tensor:
    """The s of each sample, (n,), from differences (n, c, h, w) in units of sigma."""
    return difference.float().square().flatten(1).sum(1)


def unit_constant(latents: Tensor) -> float:
    """The official recipe's scale: squared error summed over channels, averaged over positions, sigma = 1."""
    return 1 / (latents.shape[-1] * latents.shape[-2])


def posterior_variance(schedule: NoiseSchedule, timesteps: Tensor) -> Tensor:
    """DDPM's beta_t (1 - abar_{t-1}) / (1 - abar_t), (n,), for t >= 1 (Ho et al., 2006.11239, equation 7)."""
    alpha_bar, before = schedule.alpha_bar[timesteps], schedule.alpha_bar[timesteps - 1]
    return (1 - schedule.alpha[timesteps]) * (1 - before) / (1 - alpha_bar)


def mean_sensitivity(schedule: NoiseSchedule, timesteps: Tensor) -> Tensor:
    """How far the mean of x_{t-1} moves for a unit of predicted noise, (n,): beta / sqrt(alpha (1 - abar)).

    From the mean x_t / sqrt(alpha) - beta / sqrt(alpha (1 - abar)) epsilon (Ho et al., 2006.11239, equation 11).
    """
    alpha, alpha_bar = schedule.alpha[timesteps], schedule.alpha_bar[timesteps]
    return (1 - alpha) / (alpha * (1 - alpha_bar)).sqrt()


def decisive_s(loss: GaussianLoss | None) -> float:
    """The smallest s at which w(s) differs from w(0) by a factor e: there the choice of divergence matters.

    Where there is no such s in [1e-2, 1e2], as for KL, no w, or a w(0) of 0 or infinity, it is `FALLBACK_S`.
    """
    if loss is None:
        return FALLBACK_S
    grid = torch.logspace(-2, 2, 801, dtype=torch.float64)
    reference = loss.gradient_weight(torch.zeros(1, dtype=torch.float64))
    if not 0 < reference.item() < math.inf:
        return FALLBACK_S
    folds = (loss.gradient_weight(grid) / reference).log().abs()
    reached = grid[folds >= 1]
    return reached[0].item() if len(reached) else FALLBACK_S


def reference_weight(loss: GaussianLoss | None) -> float:
    """w(0), the weight that MSE would have everywhere; w(1) where w(0) is 0 or infinite (total variation); else 1."""
    if loss is None:
        return 1.0
    weights = loss.gradient_weight(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    return next((weight for weight in weights if 0 < weight < math.inf), 1.0)


@dataclass(frozen=True)
class Losses:
    """The verified losses of an erasure, one a concept."""

    divergences: tuple[fdiv.Divergence, ...]
    weights: tuple[float, ...]
    gaussian: tuple[GaussianLoss | None, ...]
    """None where D(s) is infinite."""
    variational: VariationalLoss | None

    @classmethod
    def of(cls, specs: Sequence[str], weights: Sequence[float], kind: str) -> "Losses":
        """Look the divergences up and make their losses; fdiv's errors say what is wrong with one.

        Raises:
            UsageError: several divergences for the one critic of the `variational` objective.
        """
        divergences = {spec: fdiv.resolve(spec) for spec in specs}
        if kind == "variational" and len(divergences) > 1:
            raise UsageError(f"--objective variational: one critic has one divergence, not {', '.join(divergences)}")
        variational = VariationalLoss(divergences[specs[0]]) if kind == "variational" else None
        gaussian: dict[str, GaussianLoss | None] = {}
        for spec, divergence in divergences.items():
            try:
                gaussian[spec] = GaussianLoss(divergence)
            except fdiv.Refused:
                if variational is None:
                    raise
                gaussian[spec] = None  # it only accompanies the critic's bound
        return cls(
            tuple(divergences[spec] for spec in specs),
            tuple(weights),
            tuple(gaussian[spec] for spec in specs),
            variational,
        )

    @property
    def spec(self) -> str:
        """The names of the divergences."""
        return ", ".join(dict.fromkeys(divergence.spec for divergence in self.divergences))

    @cached_property
    def factors(self) -> tuple[float, ...]:
        """Each concept's weight over w(0): near the optimum all divergences then pull alike."""
        return tuple(w / reference_weight(loss) for w, loss in zip(self.weights, self.gaussian, strict=True))

    def divergence(self, s: Tensor, concept: Tensor) -> Tensor | None:
        """D(s) of each row by its own concept's divergence, (n,); None where one of them is infinite."""
        return self._by_concept(s, concept, lambda loss: loss)

    def relative_weight(self, s: Tensor, concept: Tensor) -> Tensor | None:
        """w(s)/w(0) of each row by its own concept's divergence, (n,); None where one has none."""
        return self._by_concept(s, concept, lambda loss: lambda x: loss.gradient_weight(x) / reference_weight(loss))

    def _by_concept(self, s: Tensor, concept: Tensor, of: Callable[[GaussianLoss], Function]) -> Tensor | None:
        distinct = [loss for loss in {id(loss): loss for loss in self.gaussian}.values() if loss is not None]
        if None in self.gaussian:
            return None
        if len(distinct) == 1:
            return of(distinct[0])(s)
        result = torch.zeros_like(s)
        for loss in distinct:
            ours = torch.tensor([each is loss for each in self.gaussian], device=s.device)[concept]
            result[ours] = of(loss)(s[ours])
        return result


def erasure_loss(values: Tensor, concept: Tensor, losses: Losses, weights: Tensor) -> Tensor:
    """The weighted mean of a batch's divergences, a scalar (Novello et al., section 4.1).

    Args:
        values: D(s) of each row, or what the critic makes of it, (n,).
        concept: which concept each row erases, (n,).
        losses: gives each concept's weight.
        weights: omega of each row's time step over the density it was drawn with, (n,).
    """
    factors = torch.tensor(losses.factors, dtype=values.dtype, device=values.device)
    return (weights * factors[concept] * values).mean()


def variational_values(loss: VariationalLoss, critic_value: Tensor) -> Tensor:
    """What the model minimises of E_P[T(v)] - E_Q[f*(T(v))]: its second term, at samples (samples, n) of Q, (n,).

    With the best critic its gradient is that of D (envelope theorem; Nowozin et al., 1606.00709, section 2).
    """
    return -loss.conjugate_term(critic_value).mean(0)


def retain_loss(s: Tensor) -> Tensor:
    """The mean s of retained predictions, the KL case: here no large error may be forgotten. 0 for none retained."""
    return s.mean() if len(s) else s.sum()
