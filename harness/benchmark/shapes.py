"""Pipelines in the shapes of published models, with random weights, and what a step of each is measured at.

Values change no cost. Tokenizers are small, as prompts are filled up to the tokens that a model reads.
"""

import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from harness.config import MINIATURE, WEIGHTS, ParameterGroup
from harness.models import load as models
from harness.models.family import Family, families

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SHIFTED = FlowMatchEulerDiscreteScheduler(shift=3.0)
SHIFTED_BY_SIZE = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
"""Made here, as they read values of tensors, so that the rest can be made of tensors that have none."""
LARGE_CLIP = {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
    "projection_dim": 1280, "hidden_act": "gelu",
}  # fmt: skip


@final
@dataclass(frozen=True)
class Shape:
    """A model's, and the step that it is measured at where nothing else is asked for."""

    make: Callable[[torch.device], Family]
    resolution: int
    batch_size: int
    parameter_group: ParameterGroup = "cross-attention-kv"
    precision: Literal["fp32", "bf16"] = "bf16"
    gradient_checkpointing: bool = False


def miniature(device: torch.device) -> Family:
    """The embedded model itself."""
    return models.load(WEIGHTS, device)


def sd15(device: torch.device) -> Family:
    """Stable Diffusion 1.5: 860 million weights, 77 tokens."""
    unet = _on(device, UNet2DConditionModel, sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    scheduler = DDIMScheduler(**BETAS, clip_sample=False, steps_offset=1)
    pipeline = StableDiffusionPipeline(
        vae=_vae(sample_size=512), text_encoder=_encoder(device, CLIPTextModel, _clip()), tokenizer=_clip_tokenizer(),
        unet=unet, scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    return _family(pipeline)


def sdxl(device: torch.device) -> Family:
    """Stable Diffusion XL: 2.6 billion weights, 77 tokens of two encoders."""
    attending = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D")
    unet = _on(
        device, UNet2DConditionModel, sample_size=128, cross_attention_dim=2048, attention_head_dim=(5, 10, 20),
        block_out_channels=(320, 640, 1280), transformer_layers_per_block=(1, 2, 10), use_linear_projection=True,
        down_block_types=("DownBlock2D", attending[0], attending[0]), addition_embed_type="text_time",
        up_block_types=(attending[1], attending[1], "UpBlock2D"), addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )  # fmt: skip
    pipeline = StableDiffusionXLPipeline(
        vae=_vae(sample_size=1024), text_encoder=_encoder(device, CLIPTextModel, _clip()),
        text_encoder_2=_encoder(device, CLIPTextModelWithProjection, _clip(**LARGE_CLIP)),
        tokenizer=_clip_tokenizer(), tokenizer_2=_clip_tokenizer(),
        unet=unet, scheduler=DDIMScheduler(**BETAS, clip_sample=False), add_watermarker=False,
    )  # fmt: skip
    return _family(pipeline)


def sd3(device: torch.device) -> Family:
    """Stable Diffusion 3 medium: 2 billion weights, 77 tokens of two CLIPs and 256 of T5."""
    encoders = {
        "text_encoder": _encoder(device, CLIPTextModelWithProjection, _clip(projection_dim=768)),
        "text_encoder_2": _encoder(device, CLIPTextModelWithProjection, _clip(**LARGE_CLIP)),
        "text_encoder_3": _t5(device),
    }
    transformer = _on(
        device, SD3Transformer2DModel, num_layers=24, num_attention_heads=24, caption_projection_dim=1536,
        pos_embed_max_size=192,
    )  # fmt: skip
    pipeline = StableDiffusion3Pipeline(
        **encoders, tokenizer=_clip_tokenizer(), tokenizer_2=_clip_tokenizer(), tokenizer_3=_t5_tokenizer(),
        vae=_deep_vae(scaling_factor=1.5305, shift_factor=0.0609), transformer=transformer,
        scheduler=SHIFTED,
    )  # fmt: skip
    return _family(pipeline)


def flux(device: torch.device) -> Family:
    """FLUX.1 dev: 11.9 billion weights, 512 tokens of T5."""
    encoders = {"text_encoder": _encoder(device, CLIPTextModel, _clip()), "text_encoder_2": _t5(device)}
    pipeline = FluxPipeline(
        **encoders, tokenizer=_clip_tokenizer(), tokenizer_2=_t5_tokenizer(),
        vae=_deep_vae(scaling_factor=0.3611, shift_factor=0.1159),
        transformer=_on(device, FluxTransformer2DModel, guidance_embeds=True),
        scheduler=SHIFTED_BY_SIZE,
    )  # fmt: skip
    return _family(pipeline)


SHAPES = {
    MINIATURE: Shape(miniature, 64, 8, precision="fp32"),
    "sd15": Shape(sd15, 512, 4),
    "sdxl": Shape(sdxl, 1024, 4),
    "sd3": Shape(sd3, 1024, 4, gradient_checkpointing=True),
    "flux": Shape(flux, 512, 4, "lora", gradient_checkpointing=True),
}


def _family(pipeline: Any) -> Family:
    pipeline.set_progress_bar_config(disable=True)
    return families()[type(pipeline).__name__](pipeline)


def _on(device: torch.device, kind: type[Any], *config: Any, **options: Any) -> Any:
    """A network made where numbers are drawn fast, which for billions of weights takes minutes on a CPU."""
    with device:
        return kind(*config, **options)


def _encoder(device: torch.device, kind: type[Any], config: Any) -> Any:
    """A text encoder, which waits on the CPU until it is asked."""
    return _on(device, kind, config).to("cpu")


def _vae(**options: Any) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, **options,
    )  # fmt: skip


def _deep_vae(**options: Any) -> AutoencoderKL:
    """Of 16 channels."""
    return _vae(latent_channels=16, sample_size=1024, use_quant_conv=False, use_post_quant_conv=False, **options)


def _clip(**options: Any) -> CLIPTextConfig:
    """That of Stable Diffusion 1.5, or a larger one."""
    tokenizer = _clip_tokenizer()
    small = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    return CLIPTextConfig(**(small | ends | options))


def _clip_tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer", model_max_length=77)


def _t5(device: torch.device) -> T5EncoderModel:
    """That of T5 XXL: 4.8 billion weights."""
    config = T5Config(
        vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return _encoder(device, T5EncoderModel, config)


def _t5_tokenizer() -> T5Tokenizer:
    """Which spells."""
    letters = [(letter, -6.0) for letter in ("▁", *string.ascii_letters)]
    return T5Tokenizer(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *letters], extra_ids=0)
