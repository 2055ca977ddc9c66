"""The variance of the reverse step, which decides what a squared error is in units of s. No options, no I/O."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fdiv.losses import GaussianLoss
from harness.models.path import GaussianPath

SDE_NOISE = 0.7
"""a of Flow-GRPO's noise (2505.05470), as its authors train with it."""
FALLBACK_S = 8.0
"""Where the weight e^{-s/8}, the fastest exponential rate that any f-divergence has, has fallen by a factor e."""
NEAR_S = 0.2
"""Small enough that of rows ten times as far off e^{-s/8} still is .78: there total variation's weight, which is
e^{-s/8} / sqrt(8 pi s), falls as 1/sqrt(s) alone, and its loss is the norm of the error."""


@dataclass(frozen=True)
class Scale:
    """The variance of the reverse step, as the factor that turns a squared error of noise predictions into s."""

    kind: str
    """`auto`, `unit`, `posterior` or `sde`, as `--scale` names them."""
    path: GaussianPath
    constant: float = 1.0
    """The factor at every time step; `posterior` and `sde` have no use for it."""

    def precision(self, timesteps: Tensor) -> Tensor:
        """s per unit of squared noise-prediction error summed over channels and positions, (n,)."""
        if self.kind == "posterior":
            # s = (SNR_{t-1} - SNR_t) |dx_0|^2, and dx_0 is the noise predictions' difference over sqrt(SNR_t)
            before, now = self.path.signal_to_noise(timesteps - 1), self.path.signal_to_noise(timesteps)
            return (before / now - 1).float()
        if self.kind == "sde":
            # s = dt (1/sigma_t + sigma_t (1 - t)/(2 t))^2 |dv|^2 with sigma_t = a sqrt(t/(1 - t)), and the velocities'
            # difference is the noise predictions' over 1 - t
            left, time = self.path.signal[timesteps].double(), self.path.deviation[timesteps].double()
            sigma = SDE_NOISE * (time / left).sqrt()
            return ((1 / sigma + sigma * left / (2 * time)) ** 2 / (left**2 * self.path.timesteps)).float()
        return torch.full(timesteps.shape, self.constant, device=timesteps.device)

    def difference(self, noise_p: Tensor, noise_q: Tensor, timesteps: Tensor) -> Tensor:
        """(mu_Q - mu_P) / sigma of the two reverse steps, from noise predictions of the same shape (n, c, h, w)."""
        return self.precision(timesteps).sqrt().view(-1, 1, 1, 1) * (noise_p - noise_q)


def unit_constant(latents: Tensor) -> float:
    """The official recipe's scale: squared error summed over channels, averaged over positions, sigma = 1."""
    return 1 / (latents.shape[-1] * latents.shape[-2])


def reference_s(loss: GaussianLoss) -> float:
    """The s at which the weight is counted as 1: 0, `NEAR_S` where w(0) is infinite, `FALLBACK_S` where it is 0."""
    at_zero, nearly, near = loss.gradient_weight(torch.tensor([0.0, 1e-9, NEAR_S], dtype=torch.float64)).tolist()
    if 0 < at_zero < math.inf:
        return 0.0
    return NEAR_S if nearly > near else FALLBACK_S  # in numbers w(0) is 0 where it is infinite, as no gradient may be


def decisive_s(loss: GaussianLoss | None) -> float:
    """The smallest s at which w(s) differs from w(0) by a factor e: there the choice of divergence matters.

    Where there is no such s in [1e-2, 1e2], as for KL, or no w, it is `FALLBACK_S`; where w(0) is 0 or infinite, and
    differs from w at every s, `reference_s`: the median row then counts as with KL, whatever the model's errors are.
    """
    if loss is None:
        return FALLBACK_S
    if start := reference_s(loss):
        return start
    grid = torch.logspace(-2, 2, 801, dtype=torch.float64)
    folds = (loss.gradient_weight(grid) / loss.gradient_weight(0 * grid)).log().abs()
    reached = grid[folds >= 1]
    return reached[0].item() if len(reached) else FALLBACK_S
