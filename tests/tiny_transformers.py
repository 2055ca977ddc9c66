"""Tiny pipelines whose denoiser is a transformer, with random weights for a fixed seed; 16x16 pictures, 8x8 latents."""

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
)

from tests import tiny_parts


def pixart(kind: type = PixArtAlphaPipeline, **options) -> PixArtAlphaPipeline | PixArtSigmaPipeline:
    """A learned variance beside the noise; alpha is told the picture's size at 1024 pixels, sigma never."""
    torch.manual_seed(0)
    small = {
        "sample_size": 8, "num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 8,
        "cross_attention_dim": 16, "caption_channels": 16,
    }  # fmt: skip
    transformer = PixArtTransformer2DModel(**(small | options))
    for parameter in transformer.parameters():  # some begin at 0, and would hide what they do
        torch.nn.init.normal_(parameter, std=0.2)
    return kind(
        vae=tiny_parts.vae(), text_encoder=tiny_parts.t5_encoder(), tokenizer=tiny_parts.t5_tokenizer(),
        transformer=transformer, scheduler=DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02),
    )  # fmt: skip


def pixart_sigma() -> PixArtSigmaPipeline:
    """The VAE is Stable Diffusion XL's, of the same shape."""
    return pixart(PixArtSigmaPipeline)


PIPELINES = {"pixart": pixart, "pixart-sigma": pixart_sigma}
