"""Tiny pipelines whose denoiser is a transformer, with random weights for a fixed seed; 16x16 pictures, 8x8 latents."""

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
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
    _spread(transformer)
    return kind(
        vae=tiny_parts.vae(), text_encoder=tiny_parts.t5_encoder(), tokenizer=tiny_parts.t5_tokenizer(),
        transformer=transformer, scheduler=DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02),
    )  # fmt: skip


def pixart_sigma() -> PixArtSigmaPipeline:
    """The VAE is Stable Diffusion XL's, of the same shape."""
    return pixart(PixArtSigmaPipeline)


def sana() -> SanaPipeline:
    """A flow, sampled by DPM-Solver; pictures of 32x32, which is the least that its call takes."""
    torch.manual_seed(0)
    transformer = SanaTransformer2DModel(
        in_channels=4, out_channels=4, sample_size=8, num_layers=1, num_attention_heads=2, attention_head_dim=8,
        num_cross_attention_heads=2, cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=16,
    )  # fmt: skip
    _spread(transformer)
    scheduler = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    return SanaPipeline(
        vae=tiny_parts.deep_vae(), text_encoder=tiny_parts.gemma(), tokenizer=tiny_parts.gemma_tokenizer(),
        transformer=transformer, scheduler=scheduler,
    )  # fmt: skip


def _spread(network: torch.nn.Module) -> None:
    """Some weights begin at 0, and would hide what they do."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)


PIPELINES = {"pixart": pixart, "pixart-sigma": pixart_sigma, "sana": sana}
