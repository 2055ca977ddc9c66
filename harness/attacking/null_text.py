"""Pictures traced back to the noise that a model makes them from without a prompt, and made from it again."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from torch import Tensor

from harness.attacking.embeddings import movable, put
from harness.models.family import Conditioning, Family
from harness.models.path import FLOW, GaussianPath

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

    Predictions of any kind but a flow's are turned into those of noise, which both of diffusers' schedulers then work
    with.
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
        self.forth: Any
        self.back: Any
        if self.path.prediction_type == FLOW:
            self.forth, self.back = StraightSteps(self.path, back=False), StraightSteps(self.path, back=True)
        else:
            self.forth = DDIMScheduler.from_config(given, **ours, thresholding=False)
            self.back = DDIMInverseScheduler.from_config(given, **ours)
        for scheduler in (self.forth, self.back):
            scheduler.set_timesteps(steps, device=model.device)

    def invert(self, clean: Tensor, nothing: Conditioning, updates: int) -> Inverted:
        """Step pictures back to noise.

        After each step what is told of the empty prompt, for each picture by itself, is moved so that the step forth
        leads to where the step back came from (Mokady et al., 2211.09794, without guidance).

        Args:
            clean: latents, (n, c, h, w).
            nothing: the empty prompt's conditioning, of n.
            updates: of AdamW at each time step; 0 leaves it alone.
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
            noisier = self.back.step(self._prediction(noisier, timestep, nothing), timestep, latents).prev_sample
        return noisier

    def _learn(
        self, noisier: Tensor, wanted: Tensor, timestep: Tensor, nothing: Conditioning, updates: int
    ) -> Conditioning:
        """What to tell the model, so that the step forth from `noisier` leads nearer to what is wanted."""
        embeds = [each.detach().clone().requires_grad_(True) for each in movable(nothing)]
        moved = put(nothing, embeds)
        optimizer = torch.optim.AdamW(embeds, lr=LEARNING_RATE)
        for _ in range(updates):
            loss = (self._step_forth(noisier, timestep, moved) - wanted).square().flatten(1).mean(1).sum()
            for each, gradient in zip(embeds, torch.autograd.grad(loss, embeds), strict=True):
                each.grad = gradient
            optimizer.step()
        return moved.map(Tensor.detach)

    def _step_forth(self, latents: Tensor, timestep: Tensor, nothing: Conditioning) -> Tensor:
        return self.forth.step(self._prediction(latents, timestep, nothing), timestep, latents).prev_sample

    def _prediction(self, latents: Tensor, timestep: Tensor, nothing: Conditioning) -> Tensor:
        timesteps = timestep.expand(len(latents))
        with self.model.arithmetic(self.precision):
            output = self.model.predict(self.model.network, latents, timesteps, nothing).float()
        if self.path.prediction_type == FLOW:
            return output
        return self.path.noise_prediction(output, latents, timesteps)


class StraightSteps:
    """Euler's steps along a flow, which are DDIM's on its path; called as diffusers' schedulers are."""

    def __init__(self, path: GaussianPath, back: bool) -> None:
        """From noise to picture, or back."""
        self.path, self.back = path, back
        self.timesteps = torch.empty(0)

    def set_timesteps(self, steps: int, device: torch.device) -> None:
        """Equally far apart, the noisier end of each step; the last of them is noise alone."""
        ends = torch.linspace(0, self.path.timesteps, steps + 1, device=device).round().long()[1:]
        self.stride, self.timesteps = 1 / steps, ends if self.back else ends.flip(0)

    def step(self, output: Tensor, timestep: Tensor, latents: Tensor) -> SchedulerOutput:
        """Along the velocity at a time step, from that to the one before it or, back, from the one before it there."""
        stride = self.stride if self.back else -self.stride
        return SchedulerOutput(prev_sample=latents + stride * output)
