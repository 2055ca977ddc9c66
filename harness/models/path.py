"""The path from a picture to noise that a model was trained on, and what its raw output says of the two."""

from dataclasses import dataclass
from typing import final

import torch
from diffusers import DDPMScheduler, DiffusionPipeline
from torch import Tensor

from harness.config import UsageError

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


@final
@dataclass(frozen=True)
class GaussianPath:
    """x_t = signal_t x_0 + deviation_t epsilon for t = 0, 1, ..., with standard normal epsilon.

    Between two models that take one step of its posterior from the same x_t,

        s = |mu_P - mu_Q|^2 / sigma^2 = (SNR_{t-1} - SNR_t) |x_0 of P - x_0 of Q|^2

    (theory's reverse step proves it), so a family of models need say no more of its noise than this.
    """

    signal: Tensor
    """(steps,)"""
    deviation: Tensor
    """(steps,)"""
    ratio: Tensor
    """The signal-to-noise ratio, signal^2 / deviation^2, (steps,) in fp64: neighbours differ in the fourth digit."""
    prediction_type: str
    """What the raw output is of: `epsilon`; `v_prediction`, signal epsilon - deviation x_0; or `sample`, x_0."""

    @property
    def timesteps(self) -> int:
        """How many time steps have any signal: without any, s is infinite unless the predictions agree."""
        return int((self.signal > 0).sum())

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.signal.device

    def signal_to_noise(self, timesteps: Tensor) -> Tensor:
        """The signal-to-noise ratio at time steps (n,), (n,) in fp64."""
        return self.ratio[timesteps]

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t, shaped like `clean`, (n, ...), from x_0, epsilon and t (n,)."""
        signal, deviation = self._at(timesteps, clean)
        return signal * clean + deviation * noise

    def noise_prediction(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """A raw output at x_t as a prediction of epsilon, (n, ...) (Salimans and Ho, 2202.00512)."""
        signal, deviation = self._at(timesteps, noisy)
        match self.prediction_type:
            case "v_prediction":
                return signal * output + deviation * noisy
            case "sample":
                return self.noise_between(output, noisy, timesteps)
        return output

    def noise_between(self, clean: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The epsilon (n, ...) that makes x_t of x_0, whatever x_t it was made of."""
        signal, deviation = self._at(timesteps, noisy)
        return (noisy - signal * clean) / deviation

    def clean_prediction(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """A raw output at x_t as a prediction of x_0, (n, ...)."""
        signal, deviation = self._at(timesteps, noisy)
        match self.prediction_type:
            case "v_prediction":
                return signal * noisy - deviation * output
            case "sample":
                return output
        return (noisy - deviation * output) / signal

    def posterior_mean(self, pictures: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The best prediction of x_0 (n, ...) at x_t (n, ...) and t (n,), if it is one of k pictures (n, k, ...).

        The mean of them, each weighed by how likely it is behind x_t (theory's `finite_pictures`).
        """
        signal, deviation = self._at(timesteps, noisy)
        distance = (noisy[:, None] - signal[:, None] * pictures).square().flatten(2).sum(2)
        weights = (-distance / (2 * deviation.flatten()[:, None] ** 2)).softmax(1)
        return (weights.view(*weights.shape, *(1,) * (noisy.ndim - 1)) * pictures).sum(1)

    def _at(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and deviation at time steps (n,), each (n, 1, ...) with as many axes as `like`."""
        shape = (-1, *(1,) * (like.ndim - 1))
        return self.signal[timesteps].view(shape), self.deviation[timesteps].view(shape)


def diffusion_path(pipeline: DiffusionPipeline, device: torch.device | str = "cpu") -> GaussianPath:
    """The variance-preserving path that a pipeline's scheduler is configured with, its tensors on a device.

    Raises:
        UsageError: a schedule without betas, or a prediction that is not of noise, velocity or image.
    """
    given = pipeline.scheduler.config
    if (kind := given.get("prediction_type", "epsilon")) not in PREDICTION_TYPES:
        raise UsageError(f"--model: prediction type {kind!r}; choices: {', '.join(PREDICTION_TYPES)}")
    if "beta_schedule" not in given:
        raise UsageError(f"--model: {given['_class_name']} has no beta_schedule, so no DDPM reverse step")
    scheduler = DDPMScheduler.from_config(given)
    alpha_bar = scheduler.alphas_cumprod.to(device)
    # The differences of neighbouring ratios are wanted, so the product of the alphas is taken in fp64 for them.
    exact = scheduler.alphas.double().cumprod(0).to(device)
    return GaussianPath(alpha_bar.sqrt(), (1 - alpha_bar).sqrt(), exact / (1 - exact), kind)
