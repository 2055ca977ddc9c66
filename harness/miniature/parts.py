"""What miniatures share whatever denoises in them: tokenizer, text encoder, autoencoder, and what those encode."""

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from harness.miniature import judge as judging
from harness.miniature import training, world
from harness.miniature.recipe import Build
from harness.runs.folder import written_whole

TOKENS = 32  # longest prompt
BATCH = 32  # pictures that a step of a denoiser sees
START, END = "<|startoftext|>", "<|endoftext|>"


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
        tokens = tokenize(tokenizer, prompts).to(options.device)
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


def tokenize(tokenizer: CLIPTokenizer, prompts: Sequence[str]) -> Tensor:
    """Prompts to token numbers (n, TOKENS)."""
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


@torch.no_grad()
def encode_captions(encode: Callable[[Sequence[str]], tuple[Tensor, ...]]) -> dict[str, tuple[Tensor, ...]]:
    """What a text encoder makes of every caption."""
    rows = [
        row
        for prompts in tqdm(_batches(all_captions(), 256), desc="captions")
        for row in zip(*encode(prompts), strict=True)
    ]
    return dict(zip(all_captions(), rows, strict=True))


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


def batch(
    attributes: Tensor, latents: Tensor, generator: torch.Generator, device: str
) -> tuple[list[str], Tensor, Tensor]:
    """Captions of `BATCH` random pictures, their latents and as much noise, both (BATCH, 4, 8, 8) on the device."""
    chosen = torch.randint(len(latents), (BATCH,), generator=generator)
    prompts = [world.random_caption(attributes[i], generator) for i in chosen]
    clean = latents[chosen]
    return prompts, clean.to(device), torch.randn(clean.shape, generator=generator).to(device)
