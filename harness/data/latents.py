"""Prompt embeddings and sampler latents, each made once and kept, and the batches drawn from them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from harness.config import Config
from harness.data import augment
from harness.loss.timesteps import TimestepSampler
from harness.models.family import Conditioning, Family
from harness.models.path import NoiseSchedule
from harness.prompts.concepts import Concepts
from harness.runs import processes

ENCODED = 16
"""Prompts encoded at a time."""


@torch.no_grad()
def encode(model: Family, prompts: Iterable[str]) -> dict[str, Conditioning]:
    """Each distinct prompt's conditioning, without a leading n, on the model's device."""
    distinct = list(dict.fromkeys(prompts))
    parts = [distinct[start : start + ENCODED] for start in range(0, len(distinct), ENCODED)]
    with model.whole():
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
    ours = processes.share(list(zip(prompts, seeds, strict=True)), padded=True)
    parts = [ours[start : start + 2 * config.batch_size] for start in range(0, len(ours), 2 * config.batch_size)]
    results = []
    with model.whole(), model.arithmetic(config.precision):
        for part in tqdm(parts, desc=desc):
            words, own = zip(*part, strict=True)
            conditioning, unconditional = (
                Conditioning.stack([embeddings[prompt] for prompt in each]) for each in (words, [""] * len(words))
            )
            result = model.pipeline(
                **model.sampling_arguments(conditioning, unconditional),
                num_inference_steps=config.sampling_steps,
                guidance_scale=config.guidance_scale,
                generator=[torch.Generator().manual_seed(each) for each in own],
                output_type=output,
            )
            images = result.images.float()
            results.append(images.cpu() if output == "pt" else images)
    return processes.gather(torch.cat(results), len(prompts))


def nearest(model: Family, concept: str, names: Sequence[str]) -> list[str]:
    """The names in the order of their embeddings' cosine to the concept's, without what all have in common."""
    embeds = torch.stack([row.prompt_embeds.float().mean(0) for row in encode(model, [concept, *names]).values()])
    embeds = torch.nn.functional.normalize(embeds - embeds.mean(0), dim=1)
    order = (embeds[1:] @ embeds[0]).argsort(descending=True, stable=True)
    return [names[i] for i in processes.on_main(order.tolist)]


@dataclass(frozen=True)
class Sampled:
    """Latents kept for the whole training, (n, 4, h, w), each with its prompts' conditionings.

    With augmentation the conditionings of the erased are there once for each of `augment.SUFFIXES`, one after another.
    """

    anchor_latents: Tensor
    anchor: Conditioning
    target: Conditioning
    concept: Tensor
    """(n,): which of the concepts an anchor latent is for."""
    retain_latents: Tensor
    retain: Conditioning
    unconditional: Conditioning


def suffixes(config: Config) -> tuple[str, ...]:
    """What is added to the prompts that are erased and their anchors."""
    return augment.SUFFIXES if config.augment else ("",)


def sample_kept(
    model: Family,
    concepts: Concepts,
    embeddings: dict[str, Conditioning],
    config: Config,
    once: Callable[[str, Callable[[], Tensor]], Tensor] = lambda _, make: make(),
) -> Sampled:
    """Sample the model as it is on anchor prompts and on retained prompts, if there are any.

    `once(name, make)` gives the latents of that name; it may have them from a run that was interrupted.
    """
    generator = torch.Generator().manual_seed(4 * config.seed)
    pairs, concept = [], []
    for k, erased in enumerate(concepts.erased):
        share = len(range(k, config.latents, len(concepts.erased)))
        picked = _pick(len(erased.anchor_prompts), share, generator)
        pairs += [(erased.target_prompts[i], erased.anchor_prompts[i]) for i in picked]
        concept += [k] * share
    kept = [concepts.retain_prompts[i] for i in _pick(len(concepts.retain_prompts), config.latents, generator)]

    def make(name: str, prompts: list[str], seed: int) -> Tensor:
        made = once(f"{name}_latents", lambda: sample(model, prompts, embeddings, config, seed, desc=f"{name} latents"))
        return made.to(model.device)

    def stack(column: int) -> Conditioning:
        return Conditioning.stack([embeddings[pair[column] + suffix] for suffix in suffixes(config) for pair in pairs])

    # ESD leads away from the target, so it starts from what the model shows there: the anchor, which is the target.
    anchor_latents = make("anchor", [anchor for _, anchor in pairs], 4 * config.seed + 1)
    return Sampled(
        anchor_latents=anchor_latents,
        anchor=stack(1),
        target=stack(0),
        concept=torch.tensor(concept, device=anchor_latents.device),
        retain_latents=make("retained", kept, 4 * config.seed + 2) if kept else anchor_latents[:0],
        retain=Conditioning.stack([embeddings[prompt] for prompt in kept or [""]])[: len(kept)],
        unconditional=Conditioning.stack([embeddings[""]]),
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
    """One step's x_t, time steps and conditionings; the first n rows erase, the others retain."""

    noisy: Tensor
    timesteps: Tensor
    trained: Conditioning
    frozen: Conditioning
    concept: Tensor
    """(n,)"""
    unconditional: Conditioning
    mask: Tensor | None = None
    """(n, 1, h, w): how much places count of the rows that erase, with augmentation."""
    guidance: float = 1.0
    """On the anchor."""

    @property
    def targets(self) -> int:
        """How many rows erase."""
        return len(self.concept)

    @property
    def erasing(self) -> "Batch":
        """The rows that erase, alone."""
        n = self.targets
        return replace(
            self, noisy=self.noisy[:n], timesteps=self.timesteps[:n], trained=self.trained[:n], frozen=self.frozen[:n]
        )

    @property
    def context(self) -> Context:
        """Of the rows that erase."""
        rows = self.erasing
        return Context(rows.noisy, rows.timesteps, rows.trained.prompt_embeds)


def batches(
    sampled: Sampled, schedule: NoiseSchedule, sampler: TimestepSampler, config: Config, generator: torch.Generator
) -> Iterator[Batch]:
    """Endless batches; noise and time steps are drawn afresh on the CPU, so that every device sees the same.

    Each of several processes draws the whole batch too, and gets its share of the rows that erase and that retain.
    Retained rows take their time steps from the whole schedule, whatever the sampler's window.
    """
    device = sampled.anchor_latents.device
    n, pool = config.batch_size, len(sampled.anchor_latents)
    everywhere = replace(sampler, window=(0.0, 1.0), masses=None)
    while True:
        erased = torch.randint(pool, (n,), generator=generator)
        retained = torch.randint(max(len(sampled.retain_latents), 1), (n,), generator=generator)
        retained = retained[: n if len(sampled.retain_latents) else 0]
        changed, row, mask = sampled.anchor_latents[erased], erased, None
        if config.augment:
            kinds = augment.draw_kinds(n, generator)
            changed, mask = augment.augment(changed, kinds, generator)
            mask = mask / mask.mean((1, 2, 3), keepdim=True).sqrt()  # the mean over what the mask leaves
            row = erased + pool * kinds
        drawn = torch.randn(n + len(retained), *changed.shape[1:], generator=generator)
        times = [sampler.draw(n, generator), everywhere.draw(len(retained), generator)]
        noise, timesteps = (
            torch.cat([processes.share(part) for part in parts]).to(device)
            for parts in (drawn.split([n, len(retained)]), times)
        )
        changed, erased, row, retained = (processes.share(each) for each in (changed, erased, row, retained))
        clean = torch.cat([changed, sampled.retain_latents[retained]])
        kept = sampled.retain[retained]
        yield Batch(
            noisy=schedule.add_noise(clean, noise, timesteps),
            timesteps=timesteps,
            trained=Conditioning.cat([sampled.target[row], kept]),
            frozen=Conditioning.cat([sampled.anchor[row], kept]),
            concept=sampled.concept[erased.to(device)],
            unconditional=sampled.unconditional,
            mask=None if mask is None else processes.share(mask),
            guidance=config.anchor_guidance,
        )
