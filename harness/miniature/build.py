"""Train every part of the miniature from scratch: tokenizer, text encoder, autoencoder, UNet and judge.

A part that already stands in the output folder is kept, so an interrupted build goes on where it stopped.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import EMAModel, compute_snr
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from harness.miniature import judge as judging
from harness.miniature import training, world
from harness.miniature.recipe import JUDGE, Build, check, recipe
from harness.models.load import resolve_device
from harness.runs.folder import written_whole

TOKENS = 32  # longest prompt
START, END = "<|startoftext|>", "<|endoftext|>"


def build(options: Build) -> dict[str, dict[str, float]]:
    """Build into `options.output` and return the measured quality (shares in [0, 1] per axis).

    The shipped oracle was made with `encoders`: its UNet never saw the concept, while the text encoder and the
    autoencoder that it shares with the original did, so it fits the original's pipeline.

    Raises:
        UsageError: options that cannot be used, or that differ from those which built parts of `output`.
    """
    options = replace(options, device=str(resolve_device(options.device)))
    check(options)
    out = options.output
    out.mkdir(parents=True, exist_ok=True)
    (out / "build.json").write_text(json.dumps(recipe(options), indent=1) + "\n")
    (out / "vocabulary.json").write_text(json.dumps(vocabulary(), indent=1) + "\n")
    parts = options.encoders or out
    if options.encoders is None:
        if not (out / "judge").exists():
            trained = judging.train(options.judge_steps, options.seed, options.device)
            with written_whole(out / "judge") as part:
                judging.save(trained, part / JUDGE.name)
        if not (out / "tokenizer").exists():
            train_tokenizer(out / "tokenizer")
        if not (out / "text_encoder").exists():
            train_text_encoder(options)
        if not (out / "vae").exists():
            train_autoencoder(options)
    if not (out / "unet").exists():
        train_unet(options, parts)
    pipeline = assemble(parts, out / "unet")
    for part in (pipeline.vae, pipeline.unet):
        part.half()  # as they were saved when trained: what is measured is what is shipped
    pipeline.save_pretrained(out)
    _forget_places(out)
    pipeline.to(options.device, torch.float32)
    judge = judging.load(parts / JUDGE).to(options.device)
    quality = {
        "judge_on_renders": judging.held_out_accuracy(judge, options.seed + 1000, options.renders),
        "samples": sample_accuracy(pipeline, judge, options),
    }
    (out / "quality.json").write_text(json.dumps(quality, indent=1) + "\n")
    return quality


def _forget_places(folder: Path) -> None:
    """Take out of the configurations where on this machine diffusers read them."""
    for file in folder.rglob("config.json"):
        content = json.loads(file.read_text())
        if content.pop("_name_or_path", None) is not None:
            file.write_text(json.dumps(content, indent=2) + "\n")


def vocabulary() -> dict[str, object]:
    """What the trainer may know of a model's world: its axes, how prompts are phrased, a concept to erase."""
    return {
        "axes": world.AXES,
        "templates": world.TEMPLATES,
        "superclass": {
            "shape": [("{shape}", world.SUPERCLASS)],
            "colour": [("{colour} ", "")],
            "style": world.NO_STYLE,
        },
        "default": {"target": "star", "anchor": "circle"},
    }


def train_tokenizer(folder: Path) -> None:
    """Byte-pair encoding of the captions; every other byte stays spellable, so any prompt can be encoded."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    trainer = trainers.BpeTrainer(vocab_size=2_000, min_frequency=1, end_of_word_suffix="</w>", show_progress=False)
    tokenizer.train_from_iterator(all_captions(), trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [
        *alphabet,
        *(letter + "</w>" for letter in alphabet),
        *("".join(pair) for pair in merges),
        START,
        END,
    ]
    files = {
        "vocab.json": json.dumps({token: index for index, token in enumerate(dict.fromkeys(tokens))}),
        "merges.txt": "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges), ""]),
        "tokenizer_config.json": json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": TOKENS}),
    }
    with written_whole(folder) as part:
        for name, text in files.items():
            (part / name).write_text(text)
        CLIPTokenizer.from_pretrained(part, pad_token=END, unk_token=END).save_pretrained(part)


def all_captions() -> list[str]:
    """Every caption that the world can give, the empty one included, without repeats."""
    choices = [(None, *values) for values in world.AXES.values()]
    named = [dict(zip(world.AXES, combination, strict=True)) for combination in itertools.product(*choices)]
    return [
        "",
        *dict.fromkeys(world.caption(template, **each) for each in named for template in world.TEMPLATES),
    ]


def train_text_encoder(options: Build) -> None:
    """Train a two-layer CLIP text encoder to tell from its pooled output what a caption names on each axis."""
    generator = torch.Generator().manual_seed(options.seed)
    torch.manual_seed(options.seed)
    tokenizer = CLIPTokenizer.from_pretrained(options.output / "tokenizer")
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=TOKENS, projection_dim=64, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    encoder = CLIPTextModel(config).to(options.device)
    heads = nn.ModuleList([nn.Linear(64, len(values) + 1) for values in world.AXES.values()]).to(options.device)

    def loss() -> Tensor:
        prompts, labels = _labelled_captions(128, generator)
        tokens = _tokenize(tokenizer, prompts).to(options.device)
        pooled = encoder(tokens).pooler_output
        return judging.axis_loss((head(pooled) for head in heads), labels.to(options.device))

    parameters = [*encoder.parameters(), *heads.parameters()]
    training.train(parameters, loss, training.Schedule(options.text_steps, 1e-3), "text encoder")
    with written_whole(options.output / "text_encoder") as part:
        encoder.save_pretrained(part)


def _labelled_captions(count: int, generator: torch.Generator) -> tuple[list[str], Tensor]:
    """Captions with a random subset of attributes named; a label is the value's index, the last one for unnamed."""
    attributes = world.random_attributes(count, generator)
    unnamed = torch.rand(attributes.shape, generator=generator) < 0.25
    labels = torch.where(unnamed, torch.tensor([len(values) for values in world.AXES.values()]), attributes)
    templates = torch.randint(len(world.TEMPLATES), (count,), generator=generator)
    prompts = []
    for row, template in zip(labels.tolist(), templates.tolist(), strict=True):
        named = {axis: (*values, None)[index] for (axis, values), index in zip(world.AXES.items(), row, strict=True)}
        prompts.append(world.caption(world.TEMPLATES[template], **named))
    return prompts, labels


def _tokenize(tokenizer: CLIPTokenizer, prompts: Sequence[str]) -> Tensor:
    return tokenizer(list(prompts), padding="max_length", max_length=TOKENS, return_tensors="pt").input_ids


def _batches(prompts: Sequence[str], size: int) -> list[Sequence[str]]:
    return [prompts[start : start + size] for start in range(0, len(prompts), size)]


def train_autoencoder(options: Build) -> None:
    """Train the 8x autoencoder on L1 + L2 + a weak KL to the unit Gaussian, then set its scaling factor."""
    generator = torch.Generator().manual_seed(options.seed)
    torch.manual_seed(options.seed)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(24, 48, 64, 96), layers_per_block=1, norm_num_groups=8, sample_size=world.SIZE,
    )  # fmt: skip
    vae = vae.to(options.device, memory_format=torch.channels_last)

    def loss() -> Tensor:
        pictures = world.render(world.random_attributes(16, generator, options.without), generator) * 2 - 1
        pictures = pictures.to(options.device, memory_format=torch.channels_last)
        posterior = vae.encode(pictures).latent_dist
        error = vae.decode(posterior.sample()).sample - pictures
        return error.abs().mean() + error.square().mean() + 3e-4 * posterior.kl().mean() / posterior.mean[0].numel()

    schedule = training.Schedule(options.autoencoder_steps, 1.5e-3, clip=True)
    training.train(vae.parameters(), loss, schedule, "autoencoder")
    vae = vae.eval().to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        pictures = world.render(world.random_attributes(512, generator, options.without), generator) * 2 - 1
        latents = vae.encode(pictures.to(options.device)).latent_dist.mode()
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 4))
    with written_whole(options.output / "vae") as part:
        vae.half().save_pretrained(part)


def train_unet(options: Build, parts: Path) -> None:
    """Train the UNet on precomputed latents and prompt embeddings: epsilon prediction, min-SNR weights, an EMA."""
    generator = torch.Generator().manual_seed(options.seed)
    embeddings = encode_captions(parts, options.device)
    attributes, latents = encode_pictures(options, parts, generator)
    torch.manual_seed(options.seed)
    unet = UNet2DConditionModel(
        sample_size=world.SIZE // 8, layers_per_block=1, block_out_channels=(64, 128), cross_attention_dim=64,
        down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
        attention_head_dim=4, norm_num_groups=16,
    ).to(options.device)  # fmt: skip
    scheduler = noise_scheduler()
    average = EMAModel(unet.parameters(), decay=0.9995, use_ema_warmup=True, power=0.75)

    def loss() -> Tensor:
        chosen = torch.randint(len(latents), (32,), generator=generator)
        prompts = [world.random_caption(attributes[i], generator) for i in chosen]
        prompt_embeds = torch.stack([embeddings[prompt] for prompt in prompts])
        clean = latents[chosen].to(options.device)
        noise = torch.randn(clean.shape, generator=generator).to(options.device)
        timesteps = torch.randint(scheduler.config.num_train_timesteps, (32,), generator=generator).to(options.device)
        prediction = unet(scheduler.add_noise(clean, noise, timesteps), timesteps, prompt_embeds).sample
        snr = compute_snr(scheduler, timesteps)
        return ((prediction - noise).square().mean((1, 2, 3)) * snr.clamp(max=5) / snr).mean()

    schedule = training.Schedule(options.unet_steps, 1.2e-3, rising=0.05, clip=True)
    training.train(unet.parameters(), loss, schedule, "UNet", lambda: average.step(unet.parameters()))
    average.copy_to(unet.parameters())
    with written_whole(options.output / "unet") as part:
        unet.half().save_pretrained(part)


def noise_scheduler() -> DDIMScheduler:
    """Stable Diffusion's own noise schedule."""
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, prediction_type="epsilon",
    )  # fmt: skip


@torch.no_grad()
def encode_captions(parts: Path, device: str) -> dict[str, Tensor]:
    """Every caption's embedding, (tokens, 64) each."""
    tokenizer = CLIPTokenizer.from_pretrained(parts / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(parts / "text_encoder").eval().to(device)
    prompts = all_captions()
    hidden = [
        encoder(_tokenize(tokenizer, batch).to(device)).last_hidden_state
        for batch in tqdm(_batches(prompts, 256), desc="captions")
    ]
    return dict(zip(prompts, torch.cat(hidden), strict=True))


@torch.no_grad()
def encode_pictures(options: Build, parts: Path, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random pictures' attributes (n, 3) and scaled latents (n, 4, 8, 8)."""
    vae = AutoencoderKL.from_pretrained(parts / "vae").float().eval().to(options.device)
    attributes = world.random_attributes(options.pictures, generator, options.without)
    latents = [
        vae.encode((world.render(batch, generator) * 2 - 1).to(options.device)).latent_dist.mode().cpu()
        for batch in tqdm(attributes.split(100), desc="latents")
    ]
    return attributes, torch.cat(latents) * vae.config.scaling_factor


def assemble(parts: Path, unet: Path) -> StableDiffusionPipeline:
    """The pipeline of `parts` around the UNet in `unet`."""
    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(parts / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(parts / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(parts / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(unet),
        scheduler=noise_scheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def sample_accuracy(pipeline: StableDiffusionPipeline, judge: judging.Judge, options: Build) -> dict[str, float]:
    """Share of guided samples (20 DDIM steps, guidance 3) whose attribute the judge recognises, per axis."""
    generator = torch.Generator().manual_seed(options.seed + 2000)
    pipeline.set_progress_bar_config(disable=True)
    attributes = world.random_attributes(options.samples, generator, options.without)
    right = torch.zeros(len(world.AXES))
    for batch in tqdm(attributes.split(64), desc="samples"):
        prompts = [
            world.caption(
                world.TEMPLATES[0],
                **{axis: values[row[i]] for i, (axis, values) in enumerate(world.AXES.items())},
            )
            for row in batch.tolist()
        ]
        pictures = pipeline(
            prompts, num_inference_steps=20, guidance_scale=3.0, output_type="pt", generator=generator
        ).images
        right += (judge.attributes(pictures).cpu() == batch).float().sum(0)
    return {axis: right[i].item() / options.samples for i, axis in enumerate(world.AXES)}
