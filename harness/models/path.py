"""The path from a picture to noise that a model was trained on, and what its raw output says of the two."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from diffusers import DDPMScheduler, DiffusionPipeline
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch import Tensor

from harness.config import UsageError

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
FLOW = "flow_prediction"
"""diffusers' word for the velocity epsilon - x_0 of the straight path."""
UNIFORM = 0.5
"""The share of a flow's time steps that are drawn with equal chances, so that no weight exceeds 2."""


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
    """What the raw output is of: `epsilon`; `v_prediction`, signal epsilon - deviation x_0; `sample`, x_0; or
    `flow_prediction`, epsilon - x_0 on a path whose signal and deviation add up to 1."""
    log_shift: float | None = None
    """Of a flow: the mean of log(t / (1 - t)) over the times t from 0 to 1 that its family trains at, normal with
    variance 1; None where all time steps are trained alike."""

    @cached_property  # as is `first`: asking a device waits for it
    def timesteps(self) -> int:
        """How many time steps have any signal: without any, s is infinite unless the predictions agree."""
        return int((self.signal > 0).sum())

    @cached_property
    def first(self) -> int:
        """The lowest time step whose reverse step has a variance: the one before it still has noise."""
        return 1 + int((self.deviation > 0).int().argmax())

    def draw(self, low: int, high: int, count: int, generator: torch.Generator) -> Tensor:
        """So many time steps from `low` to below `high`, (count,), on the CPU; `weight` says how often each is."""
        if self.log_shift is None:
            return torch.randint(low, high, (count,), generator=generator)
        return low + torch.multinomial(self._chances(low, high), count, replacement=True, generator=generator)

    def weight(self, timesteps: Tensor, low: int, high: int) -> Tensor | None:
        """What brings time steps (n,), so drawn, back to equal chances: 1 on the average, (n,); None for all 1."""
        if self.log_shift is None:
            return None
        return (1 / ((high - low) * self._chances(low, high)))[timesteps - low].float()

    def _chances(self, low: int, high: int) -> Tensor:
        """Of each time step: half those that the family trains with, half equal ones, (high - low,) in fp64."""
        assert self.log_shift is not None
        time = torch.arange(low, high, dtype=torch.float64) / self.timesteps
        density = torch.exp(-((time.logit() - self.log_shift) ** 2) / 2) / (time * (1 - time))
        return UNIFORM / (high - low) + (1 - UNIFORM) * density / density.sum()

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
            case "flow_prediction":
                return noisy + signal * output
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
            case "flow_prediction":
                return noisy - deviation * output
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


def flow_path(
    pipeline: DiffusionPipeline, device: torch.device | str, positions: int, mu: float | None = None
) -> GaussianPath:
    """The straight path x_t = (1 - t) x_0 + t epsilon of flow matching, at the thousandths that its models count in.

    Its deterministic step has no variance, so s is that of the path's posterior (theory's reverse step).

    Args:
        pipeline: whose scheduler says how time is shifted.
        device: of the tensors.
        positions: of a picture of the default size, as the transformer sees it; resolution shifts time by them.
        mu: what the pipeline's call tells a scheduler that shifts dynamically; None where that is of the positions.

    Raises:
        UsageError: the scheduler is of no flow.
    """
    given = pipeline.scheduler.config
    if not is_flow(pipeline.scheduler):
        raise UsageError(f"--model: {type(pipeline.scheduler).__name__} is no schedule of flow matching; needed is one")
    time = torch.arange(given["num_train_timesteps"] + 1, dtype=torch.float64, device=device)
    time = time / given["num_train_timesteps"]
    ratio = ((1 - time) / time) ** 2
    return GaussianPath((1 - time).float(), time.float(), ratio, FLOW, math.log(time_shift(given, positions, mu)))


def is_flow(scheduler: Any) -> bool:
    """Whether a scheduler is of flow matching."""
    return bool(scheduler.config.get("use_flow_sigmas")) or type(scheduler).__name__.startswith("FlowMatch")


def time_shift(configuration: Mapping[str, Any], positions: int, mu: float | None = None) -> float:
    """The factor on the odds t / (1 - t) of a flow's times, for pictures of so many positions or by `mu`."""
    if not configuration.get("use_dynamic_shifting"):
        return configuration.get("shift") or configuration.get("flow_shift") or 1.0
    mu = dynamic_shift(configuration, positions) if mu is None else mu
    return math.exp(mu) if is_exponential(configuration) else mu


def is_exponential(configuration: Mapping[str, Any]) -> bool:
    """Whether `mu` is the logarithm of the factor on the odds of a flow's times, not the factor itself."""
    return configuration.get("time_shift_type", "exponential") == "exponential"


def dynamic_shift(configuration: Mapping[str, Any], positions: int) -> float:
    """The `mu` that diffusers tells a scheduler that shifts by the number of positions."""
    names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
    return calculate_shift(positions, *(configuration[name] for name in names))
