"""Qwen-Image: joint attention of picture and text in every block, told by Qwen2.5-VL, trained by flow matching."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

from diffusers import QwenImagePipeline, QwenImageTransformer2DModel
from torch import Tensor
from torch.nn.functional import pad

from harness.models.autoencoder import PATCH
from harness.models.families.pixart import transformer_problem
from harness.models.family import Conditioning, Family
from harness.models.path import GaussianPath, flow_path


@final
@dataclass(frozen=True)
class QwenImage(Family):
    """The text-to-image model; those that edit pictures or draw in layers have pipelines of their own."""

    pipeline: QwenImagePipeline

    pipeline_class: ClassVar[type] = QwenImagePipeline
    load_options: ClassVar = {}
    parameter_groups: ClassVar = {
        "cross-attention-kv": re.compile(r"attn\.add_[kv]_proj\."),
        "cross-attention": re.compile(r"attn\.(add_[qkv]_proj|to_add_out|norm_added_[qk])\."),
        "text-paths": re.compile(r"attn\.add_[kv]_proj\.|^txt_(in|norm)\."),
        "attention": re.compile(r"\.attn\."),
        "full": re.compile(""),
        "lora": re.compile(r"\.attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)\.weight"),
    }
    fewest_steps: ClassVar = 2  # with one, its times are stretched by 0/0
    component: ClassVar = "transformer"
    guidance_argument: ClassVar = "true_cfg_scale"
    rescaled_side: ClassVar = PATCH
    spaces_noise: ClassVar = True
    reads_embeddings: ClassVar = False  # but what each block makes of them and the time
    read_by_next: ClassVar = re.compile(r"transformer_blocks\.(\d+)\.(attn\.to_add_out|txt_mlp)\.")

    def problem(self) -> str | None:
        """Another transformer, one that is told of more than prompt and time, or no text encoder."""
        if problem := transformer_problem(
            self.pipeline, QwenImageTransformer2DModel, ("text_encoder",), packed=PATCH**2, patch=PATCH**2
        ):
            return problem
        if self.network.config.guidance_embeds:
            return "its transformer takes the guidance scale as an input: a distilled model"
        for name in ("zero_cond_t", "use_additional_t_cond", "use_layer3d_rope"):
            if self.network.config[name]:
                return f"its transformer has {name}, for pictures besides the prompt: an editing or layering model"
        return None

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """The states of a prompt's tokens, and of what the template has after it, all to one length, with their mask.

        What the template has before the prompt is dropped by the pipeline.
        """
        embeds, mask = self.pipeline.encode_prompt(
            list(prompts), device=self.device, max_sequence_length=self.text_length
        )
        mask = embeds.new_ones(embeds.shape[:2]) if mask is None else mask.to(embeds.dtype)
        lacking = self.text_length - embeds.shape[1]
        return Conditioning(pad(embeds, (0, 0, 0, lacking)), mask=pad(mask, (0, lacking)))

    def token_limits(self) -> list[tuple[Any, int]]:
        """Of the one tokenizer, without what the template has after a prompt."""
        pipe = self.pipeline
        after = len(pipe.tokenizer(pipe.prompt_template_encode.format("")).input_ids)
        after -= pipe.prompt_template_encode_start_idx
        return [(pipe.tokenizer, max(self.text_length - after, 0))]

    def predict(
        self, network: Callable[..., Any], noisy: Tensor, timesteps: Tensor, conditioning: Conditioning
    ) -> Tensor:
        """The predicted velocity, of latents that are packed on the way in and unpacked on the way out."""
        n, channels, height, width = noisy.shape
        embeds, mask = _read(conditioning)
        output = network(
            self.pipeline._pack_latents(noisy, n, channels, height, width), timestep=timesteps / 1000,
            encoder_hidden_states=embeds, encoder_hidden_states_mask=mask,
            img_shapes=[[(1, height // PATCH, width // PATCH)]] * n,
        ).sample  # fmt: skip
        return self.unpacked(output)

    def path(self) -> GaussianPath:
        """The straight one."""
        positions = math.prod(self.latent_shape(self.pixels)[1:]) // PATCH**2
        return flow_path(self.pipeline, self.device, positions)

    def sampling_arguments(self, conditioning: Conditioning, unconditional: Conditioning) -> dict[str, Any]:
        """Embeddings with their masks in the place of prompts."""
        (embeds, mask), (nothing, nothing_mask) = _read(conditioning), _read(unconditional)
        return {
            "prompt_embeds": embeds,
            "prompt_embeds_mask": mask,
            "negative_prompt_embeds": nothing,
            "negative_prompt_embeds_mask": nothing_mask,
        }


def _read(conditioning: Conditioning) -> tuple[Tensor, Tensor | None]:
    """The tokens of the longest of n prompts, and of which the others have fewer, as the pipeline's call has them."""
    assert conditioning.mask is not None
    longest = int(conditioning.mask.sum(1).max())
    mask = conditioning.mask[:, :longest]
    return conditioning.prompt_embeds[:, :longest], None if mask.all() else mask
