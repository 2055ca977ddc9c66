"""SANA: a transformer with linear attention and cross-attention to Gemma, trained by flow matching."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

from diffusers import SanaPipeline, SanaTransformer2DModel
from torch import Tensor

from harness.models.families.pixart import transformer_problem
from harness.models.family import Conditioning, Family
from harness.models.path import GaussianPath, flow_path


@final
@dataclass(frozen=True)
class Sana(Family):
    """SANA and SANA 1.5; Sprint, which is distilled, has a pipeline of its own."""

    pipeline: SanaPipeline

    pipeline_class: ClassVar[type] = SanaPipeline
    load_options: ClassVar = {}
    parameter_groups: ClassVar = {
        "cross-attention-kv": re.compile(r"attn2\.to_[kv]\."),
        "cross-attention": re.compile(r"attn2\."),
        "text-paths": re.compile(r"attn2\.to_[kv]\.|caption_projection\.|caption_norm\."),
        "attention": re.compile(r"attn[12]\."),
        "full": re.compile(""),
        "lora": re.compile(r"attn[12]\.(to_[qkv]|to_out\.0)\.weight"),
    }
    component: ClassVar = "transformer"
    reads_embeddings: ClassVar = False  # but what `caption_projection` makes of them

    def problem(self) -> str | None:
        """Another transformer, a distilled one, one for other latents, or no text encoder."""
        if self.network.config.get("guidance_embeds"):
            return "its transformer takes the guidance scale as an input: a distilled model"
        return transformer_problem(self.pipeline, SanaTransformer2DModel, ("text_encoder",))

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Gemma's states of a prompt's tokens after the instructions that the pipeline's call puts before it.

        The empty prompt has none before it, as the call's negative prompt.
        """
        if all(prompts):
            return self._states(prompts, self.instructions)
        plain = self._states(prompts, None)
        if not any(prompts):
            return plain
        told = self._states(prompts, self.instructions)
        return Conditioning.stack([(told if prompt else plain)[row] for row, prompt in enumerate(prompts)])

    def _states(self, prompts: Sequence[str], instruction: list[str] | None) -> Conditioning:
        embeds, mask, _, _ = self.pipeline.encode_prompt(
            list(prompts), False, device=self.device, max_sequence_length=self.text_length,
            complex_human_instruction=instruction,
        )  # fmt: skip
        return Conditioning(embeds, mask=mask.to(embeds.dtype))

    def token_limits(self) -> list[tuple[Any, int]]:
        """Of the one tokenizer; the last of the instructions takes one of the tokens."""
        return [(self.pipeline.tokenizer, self.text_length - 1)]

    def predict(
        self, network: Callable[..., Any], noisy: Tensor, timesteps: Tensor, conditioning: Conditioning
    ) -> Tensor:
        """The predicted velocity, without a variance where there is one."""
        output = network(
            noisy, encoder_hidden_states=conditioning.prompt_embeds, encoder_attention_mask=conditioning.mask,
            timestep=timesteps * self.network.config.timestep_scale,
        ).sample  # fmt: skip
        return output[:, : noisy.shape[1]]

    def path(self) -> GaussianPath:
        """The straight one; each latent is a position."""
        _, side, _ = self.latent_shape(self.pixels)
        return flow_path(self.pipeline, self.device, (side // self.network.config.patch_size) ** 2)

    def sampling_arguments(self, conditioning: Conditioning, unconditional: Conditioning) -> dict[str, Any]:
        """Embeddings with their masks in the place of prompts."""
        return {
            "prompt_embeds": conditioning.prompt_embeds,
            "prompt_attention_mask": conditioning.mask,
            "negative_prompt": None,
            "negative_prompt_embeds": unconditional.prompt_embeds,
            "negative_prompt_attention_mask": unconditional.mask,
            "use_resolution_binning": False,
        }
