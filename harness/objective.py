"""Tensors to losses: the reverse step, s, the erasure and the retention. No I/O, no options.

P is the frozen model on the anchor, Q the trained model on the target; both take one reverse step from the same
x_t with the same variance, so every f-divergence between them is a function of
s = |mu_P - mu_Q|^2 / sigma^2 alone (Novello et al., arXiv 2509.21167, section 4).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fdiv.losses import GaussianLoss, VariationalLoss
from harness.models import NoiseSchedule

FALLBACK_S = 8.0
"""Where the weight e^{-s/8}, the fastest exponential rate that any f-divergence has, has fallen by a factor e."""


@dataclass(frozen=True)
class Scale:
    """The variance of the reverse step, as the factor that turns a squared error of noise predictions into s."""

    kind: str
    schedule: NoiseSchedule
    constant: float = 1.0

    def precision(self, timesteps: Tensor) -> Tensor:
        """s per unit of squared noise-prediction error summed over channels and positions, (n,)."""
        if self.kind == "posterior":
            return mean_sensitivity(self.schedule, timesteps) ** 2 / posterior_variance(self.schedule, timesteps)
        return torch.full(timesteps.shape, self.constant, device=timesteps.device)

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


def closed_form_loss(loss: GaussianLoss, s: Tensor) -> Tensor:
    """The mean of D(s) over a batch, a scalar (Novello et al., section 4.1, for their squared Hellinger and chi2)."""
    return loss(s).mean()


def variational_loss(loss: VariationalLoss, critic_value: Tensor) -> Tensor:
    """What the model minimises of E_P[T(v)] - E_Q[f*(T(v))], a scalar: its second term, at samples of Q.

    With the best critic its gradient is that of D (envelope theorem; Nowozin et al., 1606.00709, section 2).
    """
    return -loss.conjugate_term(critic_value).mean()


def retain_loss(s: Tensor) -> Tensor:
    """The mean s of retained predictions, the KL case: here no large error may be forgotten. 0 for none retained."""
    return s.mean() if len(s) else s.sum()
