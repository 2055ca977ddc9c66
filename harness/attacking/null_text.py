"""Pictures traced back to the noise that a model makes them from without a prompt, and made from it again."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler
from torch import Tensor

from harness.models.family import Conditioning, Family

FIXED_POINT = 3
"""Times that a step back is taken again with the prediction at where it led."""
LEARNING_RATE = 0.01


@dataclass(frozen=True)
class Inverted:
    """Where pictures come from."""

    noise: Tensor
    """Latents at the last time step, (n, c, h, w)."""
    nothing: tuple[Conditioning, ...]
    """What the model is told instead of the empty prompt at each time step, from noise to picture, each of n."""

    @property
    def as_drawn(self) -> "Inverted":
        """The same with each noise brought to the length of what a sampler draws, a root mean square of 1."""
        length = self.noise.square().flatten(1).mean(1).sqrt()
        return replace(self, noise=self.noise / length.view(-1, *(1,) * (self.noise.ndim - 1)))


class NullText:
    """A model without a prompt, as a map between pictures and noise in a few deterministic steps (DDIM).

    Predictions of any kind are turned into those of noise, which both of diffusers' schedulers then work with.
    """

    def __init__(self, model: Family, steps: int, precision: str = "fp32") -> None:
        """Set up the schedule.

        Args:
            model: whose denoiser is followed.
            steps: from noise to picture.
            precision: of the forward passes.
        """
        given = model.pipeline.scheduler.config
        ours: dict[str, Any] = {"prediction_type": "epsilon", "clip_sample": False, "timestep_spacing": "leading"}
        self.model, self.path, self.precision = model, model.path(), precision
        self.forth = DDIMScheduler.from_config(given, **ours, thresholding=False)
        self.back = DDIMInverseScheduler.from_config(given, **ours)
        for scheduler in (self.forth, self.back):
            scheduler.set_timesteps(steps, device=model.device)

    def invert(self, clean: Tensor, nothing: Conditioning, updates: int) -> Inverted:
        """Step pictures back to noise.

        After each step the empty prompt's embedding, one a picture, is moved so that the step forth leads to where the
        step back came from (Mokady et al., 2211.09794, without guidance).

        Args:
            clean: latents, (n, c, h, w).
            nothing: the empty prompt's conditioning, of n.
            updates: of AdamW at each time step; 0 leaves the embedding alone.
        """
        latents, learnt = clean, []
        for timestep in self.back.timesteps:
            noisier = self._step_back(latents, timestep, nothing)
            nothing = self._learn(noisier, latents, timestep, nothing, updates)
            learnt.append(nothing)
            latents = noisier
        return Inverted(latents, tuple(reversed(learnt)))

    @torch.no_grad()
    def sample(self, inverted: Inverted) -> Tensor:
        """The latents (n, c, h, w) that come from some noise."""
        latents = inverted.noise
        for timestep, nothing in zip(self.forth.timesteps, inverted.nothing, strict=True):
            latents = self._step_forth(latents, timestep, nothing)
        return latents

    @torch.no_grad()
    def _step_back(self, latents: Tensor, timestep: Tensor, nothing: Conditioning) -> Tensor:
        """The noisier latents from which the sampler's step leads to these; solved as a fixed point (2309.04907)."""
        noisier = latents
        for _ in range(1 + FIXED_POINT):
            noisier = self.back.step(self._noise(noisier, timestep, nothing), timestep, latents).prev_sample
        return noisier

    def _learn(
        self, noisier: Tensor, wanted: Tensor, timestep: Tensor, nothing: Conditioning, updates: int
    ) -> Conditioning:
        """An embedding with which the step forth from `noisier` leads nearer to what is wanted."""
        embeds = nothing.prompt_embeds.detach().clone().requires_grad_(True)
        moved = replace(nothing, prompt_embeds=embeds)
        optimizer = torch.optim.AdamW([embeds], lr=LEARNING_RATE)
        for _ in range(updates):
            loss = (self._step_forth(noisier, timestep, moved) - wanted).square().flatten(1).mean(1).sum()
            (embeds.grad,) = torch.autograd.grad(loss, [embeds])
            optimizer.step()
        return moved.map(Tensor.detach)

    def _step_forth(self, latents: Tensor, timestep: Tensor, nothing: Conditioning) -> Tensor:
        return self.forth.step(self._noise(latents, timestep, nothing), timestep, latents).prev_sample

    def _noise(self, latents: Tensor, timestep: Tensor, nothing: Conditioning) -> Tensor:
        timesteps = timestep.expand(len(latents))
        with self.model.arithmetic(self.precision):
            output = self.model.predict(self.model.network, latents, timesteps, nothing).float()
        return self.path.noise_prediction(output, latents, timesteps)
