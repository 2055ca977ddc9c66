"""Tiny pipelines whose denoiser is a transformer, with random weights for a fixed seed; 16x16 pictures, 8x8 latents."""

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection

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


def sd3(**options) -> StableDiffusion3Pipeline:
    """Of 3.0's kind; with `dual_attention_layers` and `qk_norm` of 3.5's."""
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=8, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=32, caption_projection_dim=16, pooled_projection_dim=28, pos_embed_max_size=8, **options,
    )  # fmt: skip
    _spread(transformer)
    clips = [
        CLIPTextModelWithProjection(tiny_parts.clip_config(num_hidden_layers=2, hidden_size=w, projection_dim=w)).eval()
        for w in (16, 12)
    ]
    return StableDiffusion3Pipeline(
        vae=tiny_parts.vae(scaling_factor=1.5305, shift_factor=0.0609), transformer=transformer,
        text_encoder=clips[0], tokenizer=tiny_parts.clip_tokenizer(),
        text_encoder_2=clips[1], tokenizer_2=tiny_parts.clip_tokenizer(),
        text_encoder_3=tiny_parts.t5_encoder(32), tokenizer_3=tiny_parts.t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )  # fmt: skip


def sd35() -> StableDiffusion3Pipeline:
    """Without T5, as those whose memory is short of it load it; the first block attends to the picture twice."""
    pipeline = sd3(dual_attention_layers=(0,), qk_norm="rms_norm")
    pipeline.register_modules(text_encoder_3=None, tokenizer_3=None)
    return pipeline


def flux(**options) -> FluxPipeline:
    """dev's kind, which is told of guidance and shifts time by the picture's size."""
    torch.manual_seed(0)
    small = {
        "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 8, "num_attention_heads": 2,
        "joint_attention_dim": 16, "pooled_projection_dim": 16, "axes_dims_rope": (2, 2, 4), "guidance_embeds": True,
    }  # fmt: skip
    transformer = FluxTransformer2DModel(**(small | options))
    _spread(transformer)
    return FluxPipeline(
        vae=tiny_parts.vae(scaling_factor=0.3611, shift_factor=0.1159), transformer=transformer,
        text_encoder=CLIPTextModel(tiny_parts.clip_config()).eval(), tokenizer=tiny_parts.clip_tokenizer(),
        text_encoder_2=tiny_parts.t5_encoder(), tokenizer_2=tiny_parts.t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    )  # fmt: skip


def schnell() -> FluxPipeline:
    """As dev but for guidance, of which it is told none, and time, which it does not shift."""
    pipeline = flux(guidance_embeds=False)
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    return pipeline


def flux2() -> Flux2Pipeline:
    """dev's kind, which is told of guidance."""
    torch.manual_seed(0)
    return Flux2Pipeline(
        vae=tiny_parts.patched_vae(), text_encoder=tiny_parts.mistral(), tokenizer=tiny_parts.pixtral_processor(),
        transformer=_flux2(guidance_embeds=True), scheduler=_shifted_by_steps(),
    )  # fmt: skip


def klein(**options) -> Flux2KleinPipeline:
    """The base model's kind."""
    torch.manual_seed(0)
    return Flux2KleinPipeline(
        vae=tiny_parts.patched_vae(), text_encoder=tiny_parts.qwen_of_language(), tokenizer=tiny_parts.qwen_tokenizer(),
        transformer=_flux2(guidance_embeds=False), scheduler=_shifted_by_steps(), **options,
    )  # fmt: skip


def klein_distilled() -> Flux2KleinPipeline:
    """As the base model but for its pipeline, which takes no notice of guidance."""
    return klein(is_distilled=True)


def _flux2(**options) -> Flux2Transformer2DModel:
    """Its layers have no biases to add to velocities, so the last one's weights are larger than others'."""
    transformer = Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=3 * 16, timestep_guidance_channels=16, axes_dims_rope=(2, 2, 2, 2), **options,
    )  # fmt: skip
    _spread(transformer)
    torch.nn.init.normal_(transformer.proj_out.weight, std=0.4)
    return transformer


def _shifted_by_steps() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)


def qwen_image(**options) -> QwenImagePipeline:
    """Of 256x256 pictures, as its pipeline's call makes 128 latents a side; tests ask for less."""
    torch.manual_seed(0)
    small = {
        "in_channels": 16, "out_channels": 4, "num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 2,
        "joint_attention_dim": 16, "axes_dims_rope": (2, 2, 4),
    }  # fmt: skip
    transformer = QwenImageTransformer2DModel(**(small | options))
    _spread(transformer)
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02
    )
    return QwenImagePipeline(
        vae=tiny_parts.video_vae(), text_encoder=tiny_parts.qwen_of_pictures(), tokenizer=tiny_parts.qwen_tokenizer(),
        transformer=transformer, scheduler=scheduler,
    )  # fmt: skip


def z_image() -> ZImagePipeline:
    """A block of each kind: of the picture, of the text, and of both."""
    torch.manual_seed(0)
    transformer = ZImageTransformer2DModel(
        in_channels=4, dim=16, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
        axes_dims=[2, 2, 4], axes_lens=[256, 64, 64],
    )  # fmt: skip
    _spread(transformer)
    return ZImagePipeline(
        vae=tiny_parts.vae(scaling_factor=0.3611, shift_factor=0.1159), text_encoder=tiny_parts.qwen(),
        tokenizer=tiny_parts.qwen_tokenizer(), transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
    )  # fmt: skip


def _spread(network: torch.nn.Module) -> None:
    """Some weights begin at 0, and would hide what they do."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)


PIPELINES = {
    "pixart": pixart,
    "pixart-sigma": pixart_sigma,
    "sana": sana,
    "sd3": sd3,
    "sd35": sd35,
    "flux": flux,
    "schnell": schnell,
    "flux2": flux2,
    "klein": klein,
    "klein-distilled": klein_distilled,
    "qwen-image": qwen_image,
    "z-image": z_image,
}
