"""PixArt alpha and sigma: a transformer with cross-attention to T5, which predicts noise and a variance beside it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

from diffusers import PixArtAlphaPipeline, PixArtSigmaPipeline, PixArtTransformer2DModel
from torch import Tensor

from harness.models.autoencoder import latent_channels
from harness.models.family import Conditioning, Family
from harness.models.path import GaussianPath, diffusion_path


@dataclass(frozen=True)
class PixArt(Family):
    """What both have in common. diffusers has no adapters for them, so there is no group `lora`."""

    pipeline: PixArtAlphaPipeline | PixArtSigmaPipeline

    load_options: ClassVar = {}
    parameter_groups: ClassVar = {
        "cross-attention-kv": re.compile(r"attn2\.to_[kv]\."),
        "cross-attention": re.compile(r"attn2\."),
        "text-paths": re.compile(r"attn2\.to_[kv]\.|caption_projection\."),
        "attention": re.compile(r"attn[12]\."),
        "full": re.compile(""),
    }
    component: ClassVar = "transformer"
    fewest_steps: ClassVar = 2  # in one, the call takes a scheduler's second result, which DPM-Solver has none of
    reads_embeddings: ClassVar = False  # but what `caption_projection` makes of them

    def problem(self) -> str | None:
        """Another transformer, one for other latents, or no text encoder."""
        return transformer_problem(self.pipeline, PixArtTransformer2DModel, ("text_encoder",))

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """T5's token states, and which of them are no padding."""
        embeds, mask, _, _ = self.pipeline.encode_prompt(
            list(prompts), False, device=self.device, max_sequence_length=self.text_length
        )
        return Conditioning(embeds, mask=mask.to(embeds.dtype))

    def token_limits(self) -> list[tuple[Any, int]]:
        """Of the one tokenizer; T5 itself reads any number."""
        return [(self.pipeline.tokenizer, self.text_length)]

    def predict(
        self, network: Callable[..., Any], noisy: Tensor, timesteps: Tensor, conditioning: Conditioning
    ) -> Tensor:
        """The predicted noise alone; a network for large pictures is told their size."""
        told: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if self.network.use_additional_conditions:
            told = {
                "resolution": noisy.new_full((len(noisy), 2), self.pixels),
                "aspect_ratio": noisy.new_ones(len(noisy), 1),
            }
        output = network(
            noisy, encoder_hidden_states=conditioning.prompt_embeds, encoder_attention_mask=conditioning.mask,
            timestep=timesteps, added_cond_kwargs=told,
        ).sample  # fmt: skip
        return output[:, : noisy.shape[1]]

    def path(self) -> GaussianPath:
        """The scheduler's, of betas."""
        return diffusion_path(self.pipeline, self.device)

    def sampling_arguments(self, conditioning: Conditioning, unconditional: Conditioning) -> dict[str, Any]:
        """Embeddings with their masks in the place of prompts, at the size asked for, whatever that is."""
        return {
            "prompt_embeds": conditioning.prompt_embeds,
            "prompt_attention_mask": conditioning.mask,
            "negative_prompt": None,
            "negative_prompt_embeds": unconditional.prompt_embeds,
            "negative_prompt_attention_mask": unconditional.mask,
            "use_resolution_binning": False,
        }


@final
@dataclass(frozen=True)
class PixArtAlpha(PixArt):
    """Of 120 tokens."""

    pipeline_class: ClassVar[type] = PixArtAlphaPipeline


@final
@dataclass(frozen=True)
class PixArtSigma(PixArt):
    """Of 300 tokens."""

    pipeline_class: ClassVar[type] = PixArtSigmaPipeline


def transformer_problem(
    pipeline: Any, kind: type[Any], encoders: Sequence[str], packed: int = 1, patch: int = 1
) -> str | None:
    """What a pipeline with a transformer lacks or takes that its family does not give; None if nothing.

    Args:
        pipeline: the loaded pipeline.
        kind: of transformer that the family calls.
        encoders: the text encoders that it cannot do without.
        packed: how many latents it has in a position's channels.
        patch: how many of them its configuration counts as one channel where it says what it gives.
    """
    network = pipeline.transformer
    if not isinstance(network, kind):
        return f"its denoiser is a {type(network).__name__}, not a {kind.__name__}"
    for name in encoders:
        if getattr(pipeline, name) is None:
            return f"it lacks its {name}; save the pipeline with all its parts"
    channels, latent = network.config.in_channels, packed * latent_channels(pipeline.vae)
    if channels != latent:
        return (
            f"its transformer takes {channels} channels where the VAE's latents have {latent}: an inpainting, editing "
            "or control model"
        )
    given = patch * (network.config.get("out_channels") or channels // patch)
    if given not in (latent, 2 * latent):
        return f"its transformer gives {given} channels where the VAE's latents have {latent}"
    return None
