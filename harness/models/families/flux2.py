"""FLUX.2 dev and klein: joint attention, then blocks of one sequence for text and picture; Mistral 3 or Qwen3.

Weights train whole, and a block of one sequence has its queries, keys and values and what its MLP reads in one matrix,
`to_qkv_mlp_proj`, for text and picture alike. A group that leaves out no keys and values of the text has to hold all of
that: so does `cross-attention-kv`, which is most of the transformer here. `lora` adapts the same matrices.
"""

import inspect
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

from diffusers import Flux2KleinPipeline, Flux2Pipeline, Flux2Transformer2DModel
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu, format_input
from torch import Tensor

from harness.models.autoencoder import PATCH, packed
from harness.models.families.pixart import transformer_problem
from harness.models.family import Conditioning, Family
from harness.models.path import GaussianPath, flow_path


@dataclass(frozen=True)
class Flux2(Family):
    """What both have in common. Of a prompt they read the states of all tokens, padding too, after three layers each.

    Latents are here as the autoencoder has them, but brought to the mean and deviation that its batch norm says for
    each channel of a patch of 2x2.
    """

    pipeline: Flux2Pipeline | Flux2KleinPipeline

    load_options: ClassVar = {}
    parameter_groups: ClassVar = {
        "cross-attention-kv": re.compile(r"attn\.(add_[kv]_proj|to_qkv_mlp_proj)\."),
        "cross-attention": re.compile(
            r"attn\.(add_[qkv]_proj|to_add_out|norm_added_[qk])\.|single_transformer_blocks\.\d+\.attn\."
        ),
        "text-paths": re.compile(r"attn\.(add_[kv]_proj|to_qkv_mlp_proj)\.|context_embedder\."),
        "attention": re.compile(r"\.attn\."),
        "full": re.compile(""),
        "lora": re.compile(r"\.attn\.(to_[qkv]|to_out|to_out\.0|add_[qkv]_proj|to_add_out|to_qkv_mlp_proj)\.weight"),
    }
    component: ClassVar = "transformer"
    spaces_noise: ClassVar = True
    reads_embeddings: ClassVar = False  # but what each block makes of them and the time

    def problem(self) -> str | None:
        """Another transformer, one for other latents or told of what its pipeline does not tell, or no text encoder."""
        if problem := transformer_problem(self.pipeline, Flux2Transformer2DModel, ("text_encoder",), PATCH**2):
            return problem
        if self.classifier_free and self.network.config.guidance_embeds:
            return "its transformer takes the guidance scale as an input, of which this pipeline tells it nothing"
        return None

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """The states of a prompt's tokens in its template, to one length."""
        embeds, _ = self.pipeline.encode_prompt(list(prompts), device=self.device, max_sequence_length=self.text_length)
        return Conditioning(embeds)

    def predict(
        self, network: Callable[..., Any], noisy: Tensor, timesteps: Tensor, conditioning: Conditioning
    ) -> Tensor:
        """The predicted velocity, of latents that are packed on the way in and unpacked on the way out."""
        pipe, patches, text = self.pipeline, packed(noisy), conditioning.prompt_embeds
        guided = noisy.new_full((len(noisy),), self.guidance_scale) if self.network.config.guidance_embeds else None
        output = network(
            pipe._pack_latents(patches), timestep=timesteps / 1000, guidance=guided, encoder_hidden_states=text,
            txt_ids=pipe._prepare_text_ids(text[:1])[0].to(noisy.device),
            img_ids=pipe._prepare_latent_ids(patches[:1])[0].to(noisy.device),
        ).sample  # fmt: skip
        return self.unpacked(output)

    def path(self) -> GaussianPath:
        """The straight one; the fewer steps its call makes, the more it shifts their times to noise.

        At 200 steps that is FLUX.1's shift. The times that are drawn most are those of a sampling of as many steps as
        this was told of.
        """
        positions = math.prod(self.latent_shape(self.pixels)[1:]) // PATCH**2
        own = inspect.signature(self.pipeline.__call__).parameters["num_inference_steps"].default
        mu = compute_empirical_mu(positions, self.sampling_steps or own)
        return flow_path(self.pipeline, self.device, positions, mu)


@final
@dataclass(frozen=True)
class Flux2Dev(Flux2):
    """Distilled to be told of guidance; it is never sampled with an empty prompt beside the given one."""

    pipeline: Flux2Pipeline

    pipeline_class: ClassVar[type] = Flux2Pipeline
    classifier_free: ClassVar = False

    def token_limits(self) -> list[tuple[Any, int]]:
        """Of the processor's tokenizer, without what the template and the system's message have around a prompt."""
        processor = self.pipeline.tokenizer
        nothing = format_input([""], self.pipeline.system_message)
        around = processor.apply_chat_template(nothing, tokenize=True, return_dict=True)["input_ids"][0]
        return [(processor.tokenizer, max(self.text_length - len(around), 0))]

    def sampling_arguments(self, conditioning: Conditioning, unconditional: Conditioning) -> dict[str, Any]:
        """Embeddings in the place of prompts; the empty one has no part."""
        return {"prompt_embeds": conditioning.prompt_embeds}


@final
@dataclass(frozen=True)
class Flux2Klein(Flux2):
    """The base models, and those distilled to a few steps, whose pipeline says so and guides by no empty prompt."""

    pipeline: Flux2KleinPipeline

    pipeline_class: ClassVar[type] = Flux2KleinPipeline

    def token_limits(self) -> list[tuple[Any, int]]:
        """Of the one tokenizer, without what a message has around a prompt."""
        tokenizer = self.pipeline.tokenizer
        message = tokenizer.apply_chat_template(
            [{"role": "user", "content": ""}], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return [(tokenizer, max(self.text_length - len(tokenizer(message).input_ids), 0))]

    def sampling_arguments(self, conditioning: Conditioning, unconditional: Conditioning) -> dict[str, Any]:
        """Embeddings in the place of prompts."""
        return conditioning.as_arguments(unconditional)
