"""The miniature as Stable Diffusion 3 is made: a transformer of picture and text that predicts a flow's velocity.

It shares the autoencoder and the text encoder of the UNet's, which takes the place of both CLIPs. There is no T5.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from diffusers.training_utils import compute_density_for_timestep_sampling
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from harness.miniature import training, world
from harness.miniature.parts import BATCH, batch, encode_captions, encode_pictures
from harness.miniature.recipe import Build

COMPONENT = "transformer"
STEPS = 16_000
CALL: dict[str, Any] = {"max_sequence_length": 1}
"""What the pipeline is called with, and a run is told: where T5 is missing it reads so many zeros, else 256."""


def train(options: Build, parts: Path) -> None:
    """Train it on precomputed latents and prompt embeddings: velocities at logit-normal times, an EMA."""
    torch.manual_seed(options.seed)
    transformer = _untrained()
    pipeline = _assemble(parts, transformer).to(options.device)
    told = {"prompt_2": None, "prompt_3": None, "do_classifier_free_guidance": False, **CALL}
    embeddings = encode_captions(lambda prompts: pipeline.encode_prompt(list(prompts), **told)[::2])
    generator = torch.Generator().manual_seed(options.seed)
    attributes, latents = encode_pictures(options, parts, generator)
    generator.manual_seed(options.seed)

    def loss() -> Tensor:
        prompts, clean, noise = batch(attributes, latents, generator, options.device)
        embeds, pooled = (torch.stack(each) for each in zip(*(embeddings[prompt] for prompt in prompts), strict=True))
        time = compute_density_for_timestep_sampling("logit_normal", BATCH, 0.0, 1.0, generator=generator)
        time = time.to(options.device)
        mixed = time.view(-1, 1, 1, 1)
        velocity = transformer(
            (1 - mixed) * clean + mixed * noise, encoder_hidden_states=embeds, pooled_projections=pooled,
            timestep=1000 * time,
        ).sample  # fmt: skip
        return (velocity - (noise - clean)).square().mean()

    schedule = training.Schedule(options.denoiser_steps or STEPS, 1e-3, rising=0.05, clip=True)
    training.train_denoiser(transformer, loss, schedule, generator, options.output / COMPONENT)


def _untrained() -> SD3Transformer2DModel:
    """Each block begins as the identity, and the whole at zero (Peebles and Xie, 2212.09748)."""
    transformer = SD3Transformer2DModel(
        sample_size=world.SIZE // 8, patch_size=2, in_channels=4, out_channels=4, num_layers=4, attention_head_dim=32,
        num_attention_heads=4, joint_attention_dim=128, caption_projection_dim=128, pooled_projection_dim=128,
        pos_embed_max_size=world.SIZE // 8,
    )  # fmt: skip
    gates = [block.norm1.linear for block in transformer.transformer_blocks]
    gates += [block.norm1_context.linear for block in transformer.transformer_blocks]
    for layer in (*gates, transformer.norm_out.linear, transformer.proj_out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return transformer


def assemble(parts: Path, transformer: Path) -> StableDiffusion3Pipeline:
    """The pipeline of `parts` around the transformer in a folder."""
    return _assemble(parts, SD3Transformer2DModel.from_pretrained(transformer))


def _assemble(parts: Path, transformer: SD3Transformer2DModel) -> StableDiffusion3Pipeline:
    encoder = CLIPTextModelWithProjection.from_pretrained(parts / "text_encoder")
    nn.init.eye_(encoder.text_projection.weight)  # the encoder was trained without one
    tokenizer = CLIPTokenizer.from_pretrained(parts / "tokenizer")
    vae = AutoencoderKL.from_pretrained(parts / "vae")
    vae.register_to_config(shift_factor=0.0)
    return StableDiffusion3Pipeline(
        vae=vae, transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(), text_encoder=encoder,
        tokenizer=tokenizer, text_encoder_2=encoder, tokenizer_2=tokenizer, text_encoder_3=None, tokenizer_3=None,
    )  # fmt: skip
