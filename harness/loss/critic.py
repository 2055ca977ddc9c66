"""The variational route: a critic that tells samples of x_{t-1} under P from those under Q, given x_t, t and prompt."""

from typing import NamedTuple

import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor, nn
from torch.nn.functional import silu
from torch.nn.utils.parametrizations import spectral_norm

from fdiv.losses import VariationalLoss
from harness.loss.objective import variational_values
from harness.runs import processes

UPDATES = 4
"""Critic updates for one of the model's, each on fresh samples of the same predictions."""
WARM_UP = 100
"""Critic updates before the model's first."""
SAMPLES = 16
"""Samples of x_{t-1} for each prediction; cheap, since the critic reads x_t and t once for all of them."""


class Context(NamedTuple):
    """What a critic knows of n predictions: x_t (n, c, h, w), t (n,), and the embeddings (n, tokens, width)."""

    noisy: Tensor
    timesteps: Tensor
    prompt_embeds: Tensor


class Critic(nn.Module):
    """An estimate of log p/q at x_{t-1}: linear in the sample, with weights and offset read off x_t, t and prompt.

    Between two Gaussians of one variance the true log-ratio has this form, so the family holds the optimum.
    """

    def __init__(self, channels: int, prompt_width: int, width: int = 64) -> None:
        """Build it for latents of so many channels and embeddings so wide; every value is zero before training."""
        super().__init__()
        self.time = nn.Sequential(Timesteps(width, True, 0.0), TimestepEmbedding(width, width))
        self.prompt = spectral_norm(nn.Linear(prompt_width, width))
        self.enter = spectral_norm(nn.Conv2d(channels, width, 3, padding=1))
        self.middle = spectral_norm(nn.Conv2d(width, width, 3, padding=1))
        self.norm = nn.GroupNorm(8, width)
        self.weight = nn.Conv2d(width, channels, 3, padding=1)
        self.offset = nn.Linear(width, 1)
        for parameter in (*self.weight.parameters(), *self.offset.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, sample: Tensor, context: Context) -> Tensor:
        """Critic values (..., n).

        Args:
            sample: x_{t-1}, centred at the frozen model's mean and divided by sigma, (..., n, channels, h, w).
            context: of the n predictions.
        """
        condition = self.time(context.timesteps) + self.prompt(context.prompt_embeds.mean(1))
        hidden = self.norm(self.enter(context.noisy) + condition[:, :, None, None])
        hidden = silu(hidden + self.middle(silu(hidden)))
        return (self.weight(hidden) * sample).sum((-1, -2, -3)) + self.offset(hidden.mean((2, 3)))[:, 0]


class CriticTrainer:
    """Raises the lower bound E_P[T(v)] - E_Q[f*(T(v))] in the critic's weights; the model lowers it in its own."""

    def __init__(self, loss: VariationalLoss, context: Context, learning_rate: float = 1e-3) -> None:
        """Make a critic for predictions of the context's shape, with an optimiser of its own."""
        self.loss = loss
        channels, width = context.noisy.shape[1], context.prompt_embeds.shape[-1]
        self.critic = Critic(channels, width).to(context.noisy.device)
        self.optimizer = torch.optim.AdamW(self.critic.parameters(), lr=learning_rate)

    def erasure_values(self, difference: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Update the critic; return the model's loss at fresh samples of Q, (n,), and the critic's estimate of D.

        Args:
            difference: (mu_Q - mu_P) / sigma with the model's graph, (n, channels, h, w).
            context: of the same n predictions.
        """
        estimate = self.update(difference.detach(), context, UPDATES)
        return variational_values(self.loss, self.critic(difference + _noise(difference), context)), estimate

    def update(self, difference: Tensor, context: Context, times: int) -> Tensor:
        """Take so many ascent steps, each on fresh samples around a difference without a graph.

        A step whose gradient is not finite, as an unbounded f*(T(v)) can make it, is left out. Returns the bound at
        the last samples as the critic saw them before learning from them, a scalar: no mean of it exceeds D.
        """
        parameters, bound = list(self.critic.parameters()), difference.new_zeros(())
        for _ in range(times):
            # The same noise for P and for Q: each has its own distribution all the same, and what the noise alone
            # says cancels, which otherwise drowns the difference once s is below one.
            noise = _noise(difference)
            v_p, v_q = self.critic(noise, context), self.critic(difference + noise, context)
            bound = self.loss(v_p, v_q)
            # autograd.grad names whose gradients it takes: nothing of this step can stay behind in the model's.
            gradients = processes.mean(torch.autograd.grad(-bound, parameters))
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            if nn.utils.clip_grad_norm_(parameters, 1.0).isfinite():
                self.optimizer.step()
        return bound.detach()


def _noise(difference: Tensor) -> Tensor:
    """Of the whole batch, as all processes draw it, this one's share: (samples, n, channels, h, w)."""
    n, *shape = difference.shape
    whole = torch.randn((SAMPLES, n * processes.count(), *shape), dtype=difference.dtype, device=difference.device)
    return processes.share(whole.transpose(0, 1)).transpose(0, 1)
