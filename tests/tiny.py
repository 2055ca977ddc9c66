"""Tiny models with random weights, one a family, written as pipeline folders: what tests load instead of downloads."""

import inspect
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    QwenImagePipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
)
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from harness.config import WEIGHTS
from harness.data.latents import Sampled
from harness.miniature import judge
from harness.miniature.recipe import JUDGE
from harness.models.family import Conditioning, Family, families
from tests import tiny_transformers
from tests.tiny_parts import clip_config as _text
from tests.tiny_parts import clip_tokenizer as _tokenizer
from tests.tiny_parts import vae as _vae

Renaming = list[tuple[str, str | Callable[[re.Match[str]], str]]]
UNOPPOSED = ("--adversary-every", "0", "--relearning-steps", "0")
"""Flags that leave the adversaries out, which take most of a short run's seconds, where a test is not about them."""
LONG, SHORT = 200, 48
"""Tokens of joint attention, which is quadratic in them, and those that are enough for it here."""
LARGEST, SMALL = 64, 16
"""Pixels along a side, and those that are asked for where there would be more."""
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
    """SD 2.x in small: v prediction, linear projections, heads of one width, and the text encoder of OpenCLIP."""
    result = pipeline("v_prediction")
    result.register_modules(
        unet=_unet(use_linear_projection=True, attention_head_dim=(2, 4)),
        text_encoder=CLIPTextModel(_text(hidden_act="gelu")),
    )
    return result


def pipeline_xl() -> StableDiffusionXLPipeline:
    """SDXL in small: two text encoders, a pooled embedding, time ids, attention in the lowest block alone."""
    torch.manual_seed(0)
    unet = _unet(
        cross_attention_dim=28, addition_embed_type="text_time", addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + 12, use_linear_projection=True,
        transformer_layers_per_block=(1, 2), down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    return StableDiffusionXLPipeline(
        vae=_vae(), text_encoder=CLIPTextModel(_text(num_hidden_layers=2)), tokenizer=_tokenizer(),
        text_encoder_2=CLIPTextModelWithProjection(_text(num_hidden_layers=2, hidden_size=12, projection_dim=12)),
        tokenizer_2=_tokenizer(), unet=unet, scheduler=EulerDiscreteScheduler(**BETAS), add_watermarker=False,
    )  # fmt: skip


def pipeline_full() -> StableDiffusionPipeline:
    """Not tiny: the UNet of SD 1.5 with random weights, 860 million of them, between tiny ends; 64x64 pictures."""
    result = pipeline()
    text_encoder = CLIPTextModel(_text(hidden_size=768, num_attention_heads=12))
    unet = UNet2DConditionModel(sample_size=8, cross_attention_dim=768)
    result.register_modules(unet=unet, text_encoder=text_encoder, vae=_vae(levels=4))
    result.vae_scale_factor = 8
    return result


UNETS = {"sd1": pipeline, "sd2": pipeline_2, "sdxl": pipeline_xl}
EVERY = UNETS | tiny_transformers.PIPELINES
SISTERS = ("pixart-sigma", "sd35", "schnell", "klein-distilled")
"""Which differ from another of their family by nothing that most tests see."""
PIPELINES = {kind: make for kind, make in EVERY.items() if kind not in SISTERS}
"""One of each family."""
JOINT = r"\.add_[kv]_proj$"
READS_TEXT = dict.fromkeys(EVERY, r"attn2\.to_[kv]$") | {
    "sd3": JOINT,
    "sd35": JOINT,
    "flux": JOINT + r"|^single_.*\.to_[kv]$",
    "flux2": JOINT + r"|^single_.*\.to_qkv_mlp_proj$",
    "klein": JOINT + r"|^single_.*\.to_qkv_mlp_proj$",
    "qwen-image": JOINT,
    "z-image": r"^(context_refiner|layers)\..*\.to_[kv]$",
}
"""Layers that make keys and values of text. In Stable Diffusion 3.5 `attn2` is the picture's own."""


def model(kind: str = "sd1") -> Family:
    """A tiny pipeline as the trainer sees it."""
    return family(EVERY[kind]())


def family(of: DiffusionPipeline) -> Family:
    """Any pipeline as the trainer sees it."""
    of.set_progress_bar_config(disable=True)
    found = families()[type(of).__name__](of)
    found = replace(found, resolution=SMALL) if found.pixels > LARGEST else found
    return replace(found, max_sequence_length=SHORT) if found.text_length > LONG else found


def call(of: Family, prompt: str, **options) -> Tensor:
    """The latents that the pipeline's own call gives, at its default size where that is not among its table's.

    `guidance_scale` is 1 for none, whatever the call names it.
    """
    if isinstance(of.pipeline, QwenImagePipeline):  # in which no negative prompt is no guidance
        options = {"true_cfg_scale": options.pop("guidance_scale", 3.0), "negative_prompt": ""} | options
    if isinstance(of.pipeline, ZImagePipeline):
        options["guidance_scale"] = options.get("guidance_scale", 3.0) - 1
    if "use_resolution_binning" in inspect.signature(of.pipeline.__call__).parameters:
        options["use_resolution_binning"] = False
    if of.max_sequence_length:
        options["max_sequence_length"] = of.max_sequence_length
    images = of.pipeline(prompt=prompt, output_type="latent", height=of.pixels, width=of.pixels, **options).images
    return of.unpacked(images)


def sampled(of: Family, count: int = 4) -> Sampled:
    """Random latents as a training noises them: of the target, told in four ways, with counterparts; and retained."""
    latents = torch.randn(4 * count, *of.latent_shape(16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        star, circle, moon, shape, nothing = (
            of.encode([prompt] * count) for prompt in ("a star", "a circle", "a moon", "a shape", "")
        )
    return Sampled(
        origin_latents=latents[:count], anchor=circle, target=Conditioning.cat([star, shape, nothing, shape]),
        concept=torch.zeros(count, dtype=torch.long), retain_latents=latents[count : 2 * count],
        retain=Conditioning.cat([moon, star, shape, nothing]), unconditional=nothing[:1],
        counterparts=latents[2 * count :].unflatten(0, (count, 2)),
    )  # fmt: skip


def folder(path: Path, kind: str = "sd1") -> Path:
    """Write a tiny pipeline into `path`."""
    EVERY[kind]().save_pretrained(path)
    return path


def judged_folder(path: Path, kind: str = "sd1") -> Path:
    """A tiny pipeline with the miniature's vocabulary cut down to few values an axis, and an untrained judge."""
    folder(path, kind)
    content = json.loads((WEIGHTS / "vocabulary.json").read_text())
    content["axes"] = {"shape": ["circle", "star", "moon"], "colour": ["red", "yellow"], "style": ["plain", "outline"]}
    (path / "vocabulary.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    judge.save(judge.Judge(), path / JUDGE)
    return path


def single_file(path: Path) -> Path:
    """Write the tiny SD 1.x weights as one checkpoint under the names that the original code base gave them."""
    parts = pipeline()
    names = {"model.diffusion_model.": (parts.unet, _UNET_NAMES), "first_stage_model.": (parts.vae, _VAE_NAMES)}
    names["cond_stage_model.transformer.text_model."] = (parts.text_encoder, [])
    result = {}
    for prefix, (part, renaming) in names.items():
        for name, tensor in part.state_dict().items():
            for pattern, new in renaming:
                name = re.sub(pattern, new, name)
            result[prefix + name] = tensor.contiguous()
    save_file(result, path)
    return path


_UNET_NAMES: Renaming = [  # for two blocks of one layer, attention in the outer one alone
    (r"^conv_in", "input_blocks.0.0"), (r"^time_embedding.linear_(.)", lambda m: f"time_embed.{2 * int(m[1]) - 2}"),
    (r"^conv_norm_out", "out.0"), (r"^conv_out", "out.2"),
    (r"^down_blocks.0.resnets.0", "input_blocks.1.0"), (r"^down_blocks.0.attentions.0", "input_blocks.1.1"),
    (r"^down_blocks.0.downsamplers.0.conv", "input_blocks.2.0.op"), (r"^down_blocks.1.resnets.0", "input_blocks.3.0"),
    (r"^mid_block.resnets.(.)", lambda m: f"middle_block.{2 * int(m[1])}"),
    (r"^mid_block.attentions.0", "middle_block.1"),
    (r"^up_blocks.(.).resnets.(.)", lambda m: f"output_blocks.{2 * int(m[1]) + int(m[2])}.0"),
    (r"^up_blocks.1.attentions.(.)", lambda m: f"output_blocks.{2 + int(m[1])}.1"),
    (r"^up_blocks.0.upsamplers.0.conv", "output_blocks.1.1.conv"),
    (r"\.norm1\.(?=\w+$)(?<!transformer_blocks.0.norm1.)", ".in_layers.0."), (r"\.conv1", ".in_layers.2"),
    (r"\.norm2\.(?=\w+$)(?<!transformer_blocks.0.norm2.)", ".out_layers.0."), (r"\.conv2", ".out_layers.3"),
    (r"time_emb_proj", "emb_layers.1"), (r"conv_shortcut", "skip_connection"),
]  # fmt: skip
_VAE_NAMES: Renaming = [
    (r"conv_norm_out", "norm_out"), (r"mid_block.resnets.(.)", lambda m: f"mid.block_{int(m[1]) + 1}"),
    (r"mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
    (r"mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"),
    (r"mid_block.attentions.0.to_(.)", r"mid.attn_1.\1"), (r"down_blocks.(.).resnets", r"down.\1.block"),
    (r"down_blocks.(.).downsamplers.0", r"down.\1.downsample"),
    (r"up_blocks.(.).resnets", lambda m: f"up.{1 - int(m[1])}.block"),
    (r"up_blocks.(.).upsamplers.0", lambda m: f"up.{1 - int(m[1])}.upsample"), (r"conv_shortcut", "nin_shortcut"),
]  # fmt: skip


def _unet(**options) -> UNet2DConditionModel:
    small = {
        "sample_size": 8, "layers_per_block": 1, "block_out_channels": (8, 16), "cross_attention_dim": 16,
        "norm_num_groups": 4, "attention_head_dim": 2, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }  # fmt: skip
    return UNet2DConditionModel(**(small | options))
