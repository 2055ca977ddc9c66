"""Stable Diffusion 3 and 3.5: joint attention of picture and text, two CLIPs and T5, trained by flow matching."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import Tensor

from harness.models.families.pixart import transformer_problem
from harness.models.families.stable_diffusion import token_limit
from harness.models.family import Conditioning, Family
from harness.models.path import GaussianPath, flow_path


@final
@dataclass(frozen=True)
class StableDiffusion3(Family):
    """Medium and large, with T5 or without. In 3.5 `attn2` is no cross-attention, but a second one of the picture."""

    pipeline: StableDiffusion3Pipeline

    pipeline_class: ClassVar[type] = StableDiffusion3Pipeline
    load_options: ClassVar = {}
    parameter_groups: ClassVar = {
        "cross-attention-kv": re.compile(r"attn\.add_[kv]_proj\."),
        "cross-attention": re.compile(r"attn\.(add_[qkv]_proj|to_add_out|norm_added_[qk])\."),
        "text-paths": re.compile(r"attn\.add_[kv]_proj\.|context_embedder\.|text_embedder\."),
        "attention": re.compile(r"\.attn2?\."),
        "full": re.compile(""),
        "lora": re.compile(r"\.attn2?\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)\.weight"),
    }
    component: ClassVar = "transformer"
    reads_embeddings: ClassVar = False  # but what each block makes of them and the time

    def problem(self) -> str | None:
        """Another transformer, one for other latents, or a CLIP missing."""
        return transformer_problem(self.pipeline, SD3Transformer2DModel, ("text_encoder", "text_encoder_2"))

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """All encoders' token states, T5's after those of the CLIPs and zero without it, and both pooled vectors."""
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            list(prompts), None, None, device=self.device, do_classifier_free_guidance=False,
            max_sequence_length=self.text_length,
        )  # fmt: skip
        return Conditioning(embeds, pooled)

    def token_limits(self) -> list[tuple[Any, int]]:
        """Of each tokenizer whose encoder is there."""
        pipe = self.pipeline
        pairs = ((pipe.tokenizer, pipe.text_encoder), (pipe.tokenizer_2, pipe.text_encoder_2))
        limits = [(tokenizer, token_limit(tokenizer, encoder)) for tokenizer, encoder in pairs]
        return limits if pipe.text_encoder_3 is None else [*limits, (pipe.tokenizer_3, self.text_length)]

    def predict(
        self, network: Callable[..., Any], noisy: Tensor, timesteps: Tensor, conditioning: Conditioning
    ) -> Tensor:
        """The predicted velocity."""
        return network(
            noisy, timestep=timesteps, encoder_hidden_states=conditioning.prompt_embeds,
            pooled_projections=conditioning.pooled,
        ).sample  # fmt: skip

    def path(self) -> GaussianPath:
        """The straight one; a position has `patch_size` latents a side."""
        _, side, _ = self.latent_shape(self.pixels)
        return flow_path(self.pipeline, self.device, (side // self.network.config.patch_size) ** 2)

    def sampling_arguments(self, conditioning: Conditioning, unconditional: Conditioning) -> dict[str, Any]:
        """Embeddings in the place of prompts."""
        return conditioning.as_arguments(unconditional)
