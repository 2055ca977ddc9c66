"""Stable Diffusion 1.x and 2.x: one text encoder, a UNet that attends to its token states."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor

from harness.models.family import Conditioning, Family
from harness.models.path import GaussianPath, diffusion_path

UNET_GROUPS = {
    "cross-attention-kv": re.compile(r"attn2\.to_[kv]\."),
    "cross-attention": re.compile(r"attn2\."),
    "text-paths": re.compile(r"attn2\.to_[kv]\.|add_embedding\."),
    "attention": re.compile(r"attn[12]\."),
    "full": re.compile(""),
    "lora": re.compile(r"attn[12]\.(to_[qkv]|to_out\.0)\.weight"),
}


@final
@dataclass(frozen=True)
class StableDiffusion(Family):
    """The SD 1.x and 2.x UNets, epsilon and v prediction alike."""

    pipeline: StableDiffusionPipeline

    pipeline_class: ClassVar[type] = StableDiffusionPipeline
    load_options: ClassVar = {"safety_checker": None, "requires_safety_checker": False}
    parameter_groups: ClassVar = UNET_GROUPS
    component: ClassVar = "unet"
    single_file_parts: ClassVar = "stable-diffusion-v1-5/stable-diffusion-v1-5"

    def problem(self) -> str | None:
        """A UNet for other inputs than latents, time and prompt."""
        return unet_problem(self.pipeline, None)

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """The text encoder's token states."""
        return Conditioning(self.pipeline.encode_prompt(list(prompts), self.device, 1, False)[0])

    def token_limits(self) -> list[tuple[Any, int]]:
        """Of the one tokenizer."""
        return [(self.pipeline.tokenizer, token_limit(self.pipeline.tokenizer, self.pipeline.text_encoder))]

    def predict(
        self, network: Callable[..., Any], noisy: Tensor, timesteps: Tensor, conditioning: Conditioning
    ) -> Tensor:
        """The UNet's output."""
        return network(noisy, timesteps, encoder_hidden_states=conditioning.prompt_embeds).sample

    def path(self) -> GaussianPath:
        """The scheduler's, of betas."""
        return diffusion_path(self.pipeline, self.device)

    def sampling_arguments(self, conditioning: Conditioning, unconditional: Conditioning) -> dict[str, Any]:
        """Embeddings in the place of prompts."""
        return conditioning.as_arguments(unconditional)


def unet_problem(pipeline: Any, addition_embed_type: str | None) -> str | None:
    """What a UNet takes that its family does not give; None if nothing."""
    unet = pipeline.unet
    if not isinstance(unet, UNet2DConditionModel):
        return f"its denoiser is a {type(unet).__name__}, not a UNet2DConditionModel"
    if unet.config.in_channels != pipeline.vae.config.latent_channels:
        return (
            f"its UNet takes {unet.config.in_channels} channels where the VAE's latents have "
            f"{pipeline.vae.config.latent_channels}: an inpainting or editing model"
        )
    if unet.config.addition_embed_type != addition_embed_type:
        return f"its UNet takes additional embeddings of type {unet.config.addition_embed_type!r}"
    if unet.config.time_cond_proj_dim is not None:
        return "its UNet takes the guidance scale as an input: a distilled model"
    return None


def token_limit(tokenizer: Any, text_encoder: Any) -> int:
    """The most tokens that both read."""
    return min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)
