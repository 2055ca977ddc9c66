"""Stable Diffusion XL: two text encoders, a pooled embedding and the picture's size as conditioning."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor

from harness.models.families.stable_diffusion import UNET_GROUPS, token_limit, unet_problem
from harness.models.family import Conditioning, Family
from harness.models.path import GaussianPath, diffusion_path


@final
@dataclass(frozen=True)
class StableDiffusionXL(Family):
    """The SDXL base UNet."""

    pipeline: StableDiffusionXLPipeline

    pipeline_class: ClassVar[type] = StableDiffusionXLPipeline
    load_options: ClassVar = {"add_watermarker": False}
    parameter_groups: ClassVar = UNET_GROUPS
    component: ClassVar = "unet"

    def problem(self) -> str | None:
        """A UNet for other inputs, or one of the two encoders missing (the refiner's pipeline)."""
        if self.pipeline.text_encoder is None or self.pipeline.text_encoder_2 is None:
            return "it lacks one of the two text encoders"
        return unet_problem(self.pipeline, "text_time")

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Both encoders' token states, the second one's pooled output, and the picture's size, uncropped.

        The empty prompt is all zeros where the pipeline says so (`force_zeros_for_empty_prompt`), as SDXL base does:
        that is the unconditional input which the model was trained with.
        """
        device = self.device
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            list(prompts), device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        if self.pipeline.config.force_zeros_for_empty_prompt:
            empty = torch.tensor([prompt == "" for prompt in prompts], device=device)
            embeds, pooled = embeds.masked_fill(empty[:, None, None], 0), pooled.masked_fill(empty[:, None], 0)
        size = self.pixels
        time_ids = torch.tensor([size, size, 0, 0, size, size], dtype=embeds.dtype, device=device)
        return Conditioning(embeds, pooled, time_ids.repeat(len(embeds), 1))

    def token_limits(self) -> list[tuple[Any, int]]:
        """Of both tokenizers."""
        pipe = self.pipeline
        pairs = ((pipe.tokenizer, pipe.text_encoder), (pipe.tokenizer_2, pipe.text_encoder_2))
        return [(tokenizer, token_limit(tokenizer, encoder)) for tokenizer, encoder in pairs]

    def predict(
        self, network: Callable[..., Any], noisy: Tensor, timesteps: Tensor, conditioning: Conditioning
    ) -> Tensor:
        """The UNet's output."""
        added = {"text_embeds": conditioning.pooled, "time_ids": conditioning.time_ids}
        return network(
            noisy, timesteps, encoder_hidden_states=conditioning.prompt_embeds, added_cond_kwargs=added
        ).sample

    def path(self) -> GaussianPath:
        """The scheduler's, of betas."""
        return diffusion_path(self.pipeline, self.device)

    def sampling_arguments(self, conditioning: Conditioning, unconditional: Conditioning) -> dict[str, Any]:
        """Embeddings in the place of prompts; the pipeline makes the same time ids itself."""
        return conditioning.as_arguments(unconditional)
