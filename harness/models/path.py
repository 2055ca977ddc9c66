"""The path from a picture to noise that a model was trained on, and what its raw output says of the two."""

import torch
from diffusers import DDPMScheduler, DiffusionPipeline
from torch import Tensor

from harness.config import UsageError

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


class NoiseSchedule:
    """The training schedule of a pipeline: alphas, betas, and what its model predicts."""

    def __init__(self, pipeline: DiffusionPipeline, device: torch.device | str = "cpu") -> None:
        """Read it from the pipeline's scheduler configuration, with its tensors on a device.

        Raises:
            UsageError: a schedule without betas, or a prediction that is not of noise, velocity or image.
        """
        given = pipeline.scheduler.config
        if (kind := given.get("prediction_type", "epsilon")) not in PREDICTION_TYPES:
            raise UsageError(f"--model: prediction type {kind!r}; choices: {', '.join(PREDICTION_TYPES)}")
        if "beta_schedule" not in given:
            raise UsageError(f"--model: {given['_class_name']} has no beta_schedule, so no DDPM reverse step")
        self.noise_scheduler = DDPMScheduler.from_config(given)
        self.prediction_type: str = kind
        self.alpha_bar = self.noise_scheduler.alphas_cumprod.to(device)
        self.alpha = self.noise_scheduler.alphas.to(device)
        self.timesteps = int((self.alpha_bar > 0).sum())
        """Time steps with any signal: at a terminal signal of zero s is infinite unless the predictions agree."""

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The forward process x_t, (n, 4, h, w)."""
        return self.noise_scheduler.add_noise(clean, noise, timesteps)

    def noise_prediction(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """A raw model output as a noise prediction, for epsilon, v and x0 models (Salimans and Ho, 2202.00512)."""
        alpha_bar = self.alpha_bar[timesteps].view(-1, 1, 1, 1)
        match self.prediction_type:
            case "v_prediction":
                return alpha_bar.sqrt() * output + (1 - alpha_bar).sqrt() * noisy
            case "sample":
                return (noisy - alpha_bar.sqrt() * output) / (1 - alpha_bar).sqrt()
        return output
