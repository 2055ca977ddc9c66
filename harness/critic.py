"""The variational route: a critic that tells samples of x_{t-1} under P from samples under Q, given x_t and t."""

import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor, nn
from torch.nn.functional import silu

from fdiv.losses import VariationalLoss
from harness.objective import variational_loss

UPDATES = 4
"""Critic updates for one of the model's, each on fresh samples of the same predictions."""
WARM_UP = 100
"""Critic updates before the model's first."""
SAMPLES = 16
"""Samples of x_{t-1} for each prediction; cheap, since the critic reads x_t and t once for all of them."""


class Critic(nn.Module):
    """An estimate of log p/q at x_{t-1}: linear in the sample, with weights and offset read off x_t and t.

    Between two Gaussians of one variance the true log-ratio has this form, so the family holds the optimum.
    """

    def __init__(self, channels: int, width: int = 64) -> None:
        """Build it for latents of so many channels; every critic value is zero before training."""
        super().__init__()
        self.time = nn.Sequential(Timesteps(width, True, 0.0), TimestepEmbedding(width, width))
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.middle = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.GroupNorm(8, width)
        self.weight = nn.Conv2d(width, channels, 3, padding=1)
        self.offset = nn.Linear(width, 1)
        for parameter in (*self.weight.parameters(), *self.offset.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, sample: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """Critic values (..., n).

        Args:
            sample: x_{t-1}, centred at the frozen model's mean and divided by sigma, (..., n, channels, h, w).
            noisy: x_t, (n, channels, h, w).
            timesteps: t, (n,).
        """
        hidden = self.norm(self.enter(noisy) + self.time(timesteps)[:, :, None, None])
        hidden = silu(hidden + self.middle(silu(hidden)))
        return (self.weight(hidden) * sample).sum((-1, -2, -3)) + self.offset(hidden.mean((2, 3)))[:, 0]


class CriticTrainer:
    """Raises the lower bound E_P[T(v)] - E_Q[f*(T(v))] in the critic's weights; the model lowers it in its own."""

    def __init__(self, loss: VariationalLoss, latents: Tensor, learning_rate: float = 1e-3) -> None:
        """Make a critic for latents like `latents`, (n, channels, h, w), with an optimiser of its own."""
        self.loss = loss
        self.critic = Critic(latents.shape[1]).to(latents.device)
        self.optimizer = torch.optim.AdamW(self.critic.parameters(), lr=learning_rate)

    def erasure_loss(self, difference: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """Update the critic, then return the model's loss at fresh samples of Q, a scalar.

        Args:
            difference: (mu_Q - mu_P) / sigma with the model's graph, (n, channels, h, w).
            noisy: x_t, of the same shape.
            timesteps: t, (n,).
        """
        self.update(difference.detach(), noisy, timesteps, UPDATES)
        return variational_loss(self.loss, self.critic(difference + _noise(difference), noisy, timesteps))

    def update(self, difference: Tensor, noisy: Tensor, timesteps: Tensor, times: int) -> None:
        """Take so many ascent steps, each on fresh samples around a difference without a graph.

        A step whose gradient is not finite, as an unbounded f*(T(v)) can make it, is left out.
        """
        parameters = list(self.critic.parameters())
        for _ in range(times):
            v_p = self.critic(_noise(difference), noisy, timesteps)
            v_q = self.critic(difference + _noise(difference), noisy, timesteps)
            bound = self.loss(v_p, v_q)
            # autograd.grad names whose gradients it takes: nothing of this step can stay behind in the model's.
            for parameter, gradient in zip(parameters, torch.autograd.grad(-bound, parameters), strict=True):
                parameter.grad = gradient
            if nn.utils.clip_grad_norm_(parameters, 1.0).isfinite():
                self.optimizer.step()


def _noise(difference: Tensor) -> Tensor:
    return torch.randn((SAMPLES, *difference.shape), dtype=difference.dtype, device=difference.device)
