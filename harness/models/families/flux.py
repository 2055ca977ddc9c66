"""FLUX.1 dev and schnell: joint attention, then blocks of one sequence for text and picture; CLIP and T5."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

from diffusers import FluxPipeline, FluxTransformer2DModel
from torch import Tensor

from harness.models.autoencoder import PATCH
from harness.models.families.pixart import transformer_problem
from harness.models.families.stable_diffusion import token_limit
from harness.models.family import Conditioning, Family
from harness.models.path import GaussianPath, flow_path


@final
@dataclass(frozen=True)
class Flux(Family):
    """Neither is sampled with an empty prompt beside the given one; dev was distilled to be told of guidance."""

    pipeline: FluxPipeline

    pipeline_class: ClassVar[type] = FluxPipeline
    load_options: ClassVar = {}
    parameter_groups: ClassVar = {
        "cross-attention-kv": re.compile(r"attn\.add_[kv]_proj\.|single_transformer_blocks\.\d+\.attn\.to_[kv]\."),
        "cross-attention": re.compile(
            r"attn\.(add_[qkv]_proj|to_add_out|norm_added_[qk])\.|single_transformer_blocks\.\d+\.attn\."
        ),
        "text-paths": re.compile(
            r"attn\.add_[kv]_proj\.|single_transformer_blocks\.\d+\.attn\.to_[kv]\.|context_embedder\.|text_embedder\."
        ),
        "attention": re.compile(r"\.attn\."),
        "full": re.compile(""),
        "lora": re.compile(r"\.attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)\.weight"),
    }
    component: ClassVar = "transformer"
    reads_embeddings: ClassVar = False  # but what each block makes of them and the time
    classifier_free: ClassVar = False
    spaces_noise: ClassVar = True

    def problem(self) -> str | None:
        """Another transformer, one for other latents, or a text encoder missing."""
        return transformer_problem(self.pipeline, FluxTransformer2DModel, ("text_encoder", "text_encoder_2"), PATCH**2)

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """T5's token states, and CLIP's pooled vector."""
        embeds, pooled, _ = self.pipeline.encode_prompt(
            list(prompts), None, device=self.device, max_sequence_length=self.text_length
        )
        return Conditioning(embeds, pooled)

    def token_limits(self) -> list[tuple[Any, int]]:
        """Of both tokenizers."""
        pipe = self.pipeline
        return [(pipe.tokenizer, token_limit(pipe.tokenizer, pipe.text_encoder)), (pipe.tokenizer_2, self.text_length)]

    def predict(
        self, network: Callable[..., Any], noisy: Tensor, timesteps: Tensor, conditioning: Conditioning
    ) -> Tensor:
        """The predicted velocity, of latents that are packed on the way in and unpacked on the way out."""
        pipe, (n, channels, height, width) = self.pipeline, noisy.shape
        text = conditioning.prompt_embeds
        guided = noisy.new_full((n,), self.guidance_scale) if self.network.config.guidance_embeds else None
        output = network(
            pipe._pack_latents(noisy, n, channels, height, width), timestep=timesteps / 1000, guidance=guided,
            pooled_projections=conditioning.pooled, encoder_hidden_states=text,
            txt_ids=text.new_zeros(text.shape[1], 3),
            img_ids=pipe._prepare_latent_image_ids(n, height // PATCH, width // PATCH, noisy.device, noisy.dtype),
        ).sample  # fmt: skip
        return self.unpacked(output)

    def path(self) -> GaussianPath:
        """The straight one."""
        positions = math.prod(self.latent_shape(self.pixels)[1:]) // PATCH**2
        return flow_path(self.pipeline, self.device, positions)

    def sampling_arguments(self, conditioning: Conditioning, unconditional: Conditioning) -> dict[str, Any]:
        """Embeddings in the place of prompts; the empty one has no part."""
        return {
            "prompt_embeds": conditioning.prompt_embeds,
            "pooled_prompt_embeds": conditioning.pooled,
        }
