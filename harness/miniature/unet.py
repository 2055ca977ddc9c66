"""The miniature as Stable Diffusion is made: a UNet that predicts the noise of a diffusion."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import compute_snr
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from harness.miniature import training, world
from harness.miniature.parts import BATCH, batch, encode_captions, encode_pictures, tokenize
from harness.miniature.recipe import Build

COMPONENT = "unet"
STEPS = 10_000
CALL: dict[str, Any] = {}


def train(options: Build, parts: Path) -> None:
    """Train it on precomputed latents and prompt embeddings: epsilon prediction, min-SNR weights, an EMA."""
    generator = torch.Generator().manual_seed(options.seed)
    tokenizer = CLIPTokenizer.from_pretrained(parts / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(parts / "text_encoder").eval().to(options.device)
    embeddings = encode_captions(lambda prompts: (encoder(tokenize(tokenizer, prompts).to(options.device))[0],))
    attributes, latents = encode_pictures(options, parts, generator)
    torch.manual_seed(options.seed)
    unet = UNet2DConditionModel(
        sample_size=world.SIZE // 8, layers_per_block=1, block_out_channels=(64, 128), cross_attention_dim=64,
        down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
        attention_head_dim=4, norm_num_groups=16,
    ).to(options.device)  # fmt: skip
    scheduler = noise_scheduler()

    def loss() -> Tensor:
        prompts, clean, noise = batch(attributes, latents, generator, options.device)
        prompt_embeds = torch.stack([embeddings[prompt][0] for prompt in prompts])
        steps = torch.randint(scheduler.config.num_train_timesteps, (BATCH,), generator=generator).to(options.device)
        prediction = unet(scheduler.add_noise(clean, noise, steps), steps, prompt_embeds).sample
        snr = compute_snr(scheduler, steps)
        return ((prediction - noise).square().mean((1, 2, 3)) * snr.clamp(max=5) / snr).mean()

    schedule = training.Schedule(options.denoiser_steps or STEPS, 1.2e-3, rising=0.05, clip=True)
    training.train_denoiser(unet, loss, schedule, generator, options.output / COMPONENT)


def noise_scheduler() -> DDIMScheduler:
    """Stable Diffusion's own noise schedule."""
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, prediction_type="epsilon",
    )  # fmt: skip


def assemble(parts: Path, unet: Path) -> StableDiffusionPipeline:
    """The pipeline of `parts` around the UNet in `unet`."""
    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(parts / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(parts / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(parts / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(unet),
        scheduler=noise_scheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
