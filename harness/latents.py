"""Prompt embeddings and sampler latents, each made once and kept, and the batches drawn from them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from harness.concepts import Concepts
from harness.config import Config
from harness.models import Conditioning, Family, NoiseSchedule

BATCH = 16
"""Prompts encoded, or pictures sampled, at a time."""


@torch.no_grad()
def encode(model: Family, prompts: Iterable[str]) -> dict[str, Conditioning]:
    """Each distinct prompt's conditioning, without a leading n, on the model's device."""
    distinct = list(dict.fromkeys(prompts))
    parts = [distinct[start : start + BATCH] for start in range(0, len(distinct), BATCH)]
    rows = [row for part in tqdm(parts, desc="encode prompts") for row in model.encode(part)]
    return dict(zip(distinct, rows, strict=True))


@torch.no_grad()
def sample(
    model: Family,
    prompts: Sequence[str],
    embeddings: dict[str, Conditioning],
    config: Config,
    seed: int,
    output: str = "latent",
    desc: str = "sample",
) -> Tensor:
    """Guided samples, one a prompt: latents (n, 4, h, w), or with `output="pt"` pictures (n, 3, H, W) in [0, 1].

    Every picture has a seed of its own, drawn from `seed`, so it does not depend on the batch it is in.
    """
    seeds = torch.randint(2**62, (len(prompts),), generator=torch.Generator().manual_seed(seed)).tolist()
    results = []
    for start in tqdm(range(0, len(prompts), BATCH), desc=desc):
        part = prompts[start : start + BATCH]
        generators = [torch.Generator().manual_seed(each) for each in seeds[start : start + BATCH]]
        conditioning, unconditional = (
            Conditioning.stack([embeddings[prompt] for prompt in each]) for each in (part, [""] * len(part))
        )
        result = model.pipeline(
            **model.sampling_arguments(conditioning, unconditional),
            num_inference_steps=config.sampling_steps,
            guidance_scale=config.guidance_scale,
            generator=generators,
            output_type=output,
        )
        results.append(result.images.cpu() if output == "pt" else result.images)
    return torch.cat(results)


@dataclass(frozen=True)
class Sampled:
    """Latents kept for the whole training, (n, 4, h, w), each with its prompts' conditionings."""

    anchor_latents: Tensor
    anchor: Conditioning
    target: Conditioning
    retain_latents: Tensor
    retain: Conditioning


def sample_kept(
    model: Family,
    concepts: Concepts,
    embeddings: dict[str, Conditioning],
    config: Config,
    once: Callable[[str, Callable[[], Tensor]], Tensor] = lambda _, make: make(),
) -> Sampled:
    """Sample the original model on anchor prompts and, if they count, on retained prompts.

    `once(name, make)` gives the latents of that name; it may have them from a run that was interrupted.
    """
    generator = torch.Generator().manual_seed(4 * config.seed)
    pairs = _pick(len(concepts.anchor_prompts), config.latents, generator)
    anchors = [concepts.anchor_prompts[i] for i in pairs]
    retain_prompts = concepts.retain_prompts if config.retain_weight > 0 else ()
    kept = [retain_prompts[i] for i in _pick(len(retain_prompts), config.latents, generator)]

    def make(name: str, prompts: list[str], seed: int) -> Tensor:
        made = once(f"{name}_latents", lambda: sample(model, prompts, embeddings, config, seed, desc=f"{name} latents"))
        return made.to(model.pipeline.device)

    anchor_latents = make("anchor", anchors, 4 * config.seed + 1)
    return Sampled(
        anchor_latents=anchor_latents,
        anchor=Conditioning.stack([embeddings[prompt] for prompt in anchors]),
        target=Conditioning.stack([embeddings[concepts.target_prompts[i]] for i in pairs]),
        retain_latents=make("retained", kept, 4 * config.seed + 2) if kept else anchor_latents[:0],
        retain=Conditioning.stack([embeddings[prompt] for prompt in kept or [""]])[: len(kept)],
    )


def _pick(choices: int, count: int, generator: torch.Generator) -> list[int]:
    """`count` indices below `choices`, every one used before any is used again."""
    rounds = -(-count // choices) if choices else 0
    return [i for _ in range(rounds) for i in torch.randperm(choices, generator=generator).tolist()][:count]


class Context(NamedTuple):
    """What a critic knows of n predictions: x_t (n, 4, h, w), t (n,), and the embeddings (n, tokens, width)."""

    noisy: Tensor
    timesteps: Tensor
    prompt_embeds: Tensor


@dataclass(frozen=True)
class Batch:
    """One step's x_t, time steps and conditionings; the first `targets` rows erase, the others retain."""

    noisy: Tensor
    timesteps: Tensor
    trained: Conditioning
    frozen: Conditioning
    targets: int

    @property
    def erasing(self) -> "Batch":
        """The rows that erase, alone."""
        n = self.targets
        return Batch(self.noisy[:n], self.timesteps[:n], self.trained[:n], self.frozen[:n], n)

    @property
    def context(self) -> Context:
        """Of the rows that erase."""
        rows = self.erasing
        return Context(rows.noisy, rows.timesteps, rows.trained.prompt_embeds)


def batches(sampled: Sampled, schedule: NoiseSchedule, config: Config, generator: torch.Generator) -> Iterator[Batch]:
    """Endless batches; noise and time steps are drawn afresh on the CPU, so that every device sees the same."""
    device = sampled.anchor_latents.device
    n = config.batch_size
    while True:
        erased = torch.randint(len(sampled.anchor_latents), (n,), generator=generator)
        retained = torch.randint(max(len(sampled.retain_latents), 1), (n,), generator=generator)
        retained = retained[: n if len(sampled.retain_latents) else 0]
        clean = torch.cat([sampled.anchor_latents[erased], sampled.retain_latents[retained]])
        noise = torch.randn(clean.shape, generator=generator).to(device)
        # From t = 1 on: at t = 0 the reverse step has no variance, so no s.
        timesteps = torch.randint(1, schedule.timesteps, (len(clean),), generator=generator).to(device)
        kept = sampled.retain[retained]
        yield Batch(
            noisy=schedule.add_noise(clean, noise, timesteps),
            timesteps=timesteps,
            trained=Conditioning.cat([sampled.target[erased], kept]),
            frozen=Conditioning.cat([sampled.anchor[erased], kept]),
            targets=n,
        )
