"""Z-Image: blocks of one sequence for picture and text, told by Qwen3, trained by flow matching."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from diffusers import ZImagePipeline, ZImageTransformer2DModel
from torch import Tensor
from torch.nn.functional import pad

from harness.models.families.pixart import transformer_problem
from harness.models.family import Conditioning, Family
from harness.models.path import GaussianPath, flow_path

SIDE = 2
"""Latents along a side of a position."""
STEPS = 1000
"""Of time, as its transformer counts it: from 0, noise, to 1, a picture."""


@final
@dataclass(frozen=True)
class ZImage(Family):
    """The base model; Turbo, distilled to a few steps, has the same pipeline, and is sampled with a guidance of 1."""

    pipeline: ZImagePipeline

    pipeline_class: ClassVar[type] = ZImagePipeline
    load_options: ClassVar = {}
    parameter_groups: ClassVar = {
        "cross-attention-kv": re.compile(r"^(context_refiner|layers)\.\d+\.attention\.to_[kv]\."),
        "cross-attention": re.compile(r"^(context_refiner|layers)\.\d+\.attention\."),
        "text-paths": re.compile(r"^(context_refiner|layers)\.\d+\.attention\.to_[kv]\.|^cap_embedder\."),
        "attention": re.compile(r"\.attention\."),
        "full": re.compile(""),
        "lora": re.compile(r"\.attention\.(to_[qkv]|to_out\.0)\.weight"),
    }
    component: ClassVar = "transformer"
    guidance_offset: ClassVar = 1.0  # it counts what is added to the prompt's own prediction
    spaces_noise: ClassVar = True
    reads_embeddings: ClassVar = False  # but what each block makes of them and the time

    def problem(self) -> str | None:
        """Another transformer, one that is told of pictures, or no text encoder."""
        if problem := transformer_problem(self.pipeline, ZImageTransformer2DModel, ("text_encoder",)):
            return problem
        if self.network.config.siglip_feat_dim is not None:
            return "its transformer takes pictures besides the prompt: an editing model"
        return None

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """The states of all tokens of a prompt as a user's message, to one length, with their mask."""
        read, _ = self.pipeline.encode_prompt(
            list(prompts), device=self.device, do_classifier_free_guidance=False, max_sequence_length=self.text_length
        )
        lacking = [self.text_length - len(each) for each in read]
        embeds = torch.stack([pad(each, (0, 0, 0, left)) for each, left in zip(read, lacking, strict=True)])
        mask = [pad(each.new_ones(len(each)), (0, left)) for each, left in zip(read, lacking, strict=True)]
        return Conditioning(embeds, mask=torch.stack(mask))

    def token_limits(self) -> list[tuple[Any, int]]:
        """Of the one tokenizer, without what a message has around a prompt."""
        tokenizer = self.pipeline.tokenizer
        message = tokenizer.apply_chat_template(
            [{"role": "user", "content": ""}], tokenize=False, add_generation_prompt=True, enable_thinking=True
        )
        return [(tokenizer, max(self.text_length - len(tokenizer(message).input_ids), 0))]

    def predict(
        self, network: Callable[..., Any], noisy: Tensor, timesteps: Tensor, conditioning: Conditioning
    ) -> Tensor:
        """The predicted velocity, from noise to picture as the network gives it, turned round."""
        outputs = network(
            list(noisy[:, :, None].unbind()), (STEPS - timesteps) / STEPS, _read(conditioning)
        ).sample  # fmt: skip
        return -torch.stack(outputs)[:, :, 0]

    def path(self) -> GaussianPath:
        """The straight one."""
        positions = math.prod(self.latent_shape(self.pixels)[1:]) // SIDE**2
        return flow_path(self.pipeline, self.device, positions)

    def sampling_arguments(self, conditioning: Conditioning, unconditional: Conditioning) -> dict[str, Any]:
        """Embeddings in the place of prompts, each of its own length."""
        return {"prompt_embeds": _read(conditioning), "negative_prompt_embeds": _read(unconditional)}


def _read(conditioning: Conditioning) -> list[Tensor]:
    """The tokens of each of n prompts, (tokens, width)."""
    assert conditioning.mask is not None
    lengths = conditioning.mask.sum(1).int().tolist()
    return [each[:length] for each, length in zip(conditioning.prompt_embeds, lengths, strict=True)]
