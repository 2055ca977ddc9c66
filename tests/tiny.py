"""Tiny models with random weights, one a family, written as pipeline folders: what tests load instead of downloads."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from harness.families import FAMILIES, Family
from harness.miniature import WEIGHTS

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def pipeline(prediction_type: str = "epsilon") -> StableDiffusionPipeline:
    """SD 1.x in small: random weights for a fixed seed, the miniature's tokenizer, 16x16 pictures, 8x8 latents."""
    torch.manual_seed(0)
    scheduler = DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, prediction_type=prediction_type)
    return StableDiffusionPipeline(
        vae=_vae(), text_encoder=CLIPTextModel(_text()), tokenizer=_tokenizer(), unet=_unet(), scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def pipeline_2() -> StableDiffusionPipeline:
    """SD 2.x in small: v prediction, linear projections, heads of one width."""
    result = pipeline("v_prediction")
    result.register_modules(unet=_unet(use_linear_projection=True, attention_head_dim=(2, 4)))
    return result


def pipeline_xl() -> StableDiffusionXLPipeline:
    """SDXL in small: two text encoders, a pooled embedding, time ids, two transformer layers in the lowest block."""
    torch.manual_seed(0)
    unet = _unet(
        cross_attention_dim=28, addition_embed_type="text_time", addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + 12, use_linear_projection=True,
        transformer_layers_per_block=(1, 2),
    )  # fmt: skip
    return StableDiffusionXLPipeline(
        vae=_vae(), text_encoder=CLIPTextModel(_text(num_hidden_layers=2)), tokenizer=_tokenizer(),
        text_encoder_2=CLIPTextModelWithProjection(_text(num_hidden_layers=2, hidden_size=12, projection_dim=12)),
        tokenizer_2=_tokenizer(), unet=unet, scheduler=EulerDiscreteScheduler(**BETAS), add_watermarker=False,
    )  # fmt: skip


PIPELINES = {"sd1": pipeline, "sd2": pipeline_2, "sdxl": pipeline_xl}


def model(kind: str = "sd1") -> Family:
    """A tiny pipeline as the trainer sees it."""
    return family(PIPELINES[kind]())


def family(of: StableDiffusionPipeline | StableDiffusionXLPipeline) -> Family:
    """Any pipeline as the trainer sees it."""
    of.set_progress_bar_config(disable=True)
    return FAMILIES[type(of).__name__](of)


def folder(path: Path, kind: str = "sd1") -> Path:
    """Write a tiny pipeline into `path`."""
    PIPELINES[kind]().save_pretrained(path)
    return path


def _tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer")


def _text(**options) -> CLIPTextConfig:
    tokenizer = _tokenizer()
    small = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "projection_dim": 16, "vocab_size": len(tokenizer), "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    return CLIPTextConfig(**(small | options))


def _unet(**options) -> UNet2DConditionModel:
    small = {
        "sample_size": 8, "layers_per_block": 1, "block_out_channels": (8, 16), "cross_attention_dim": 16,
        "norm_num_groups": 4, "attention_head_dim": 2, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }  # fmt: skip
    return UNet2DConditionModel(**(small | options))


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, sample_size=16,
    )  # fmt: skip
