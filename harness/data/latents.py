"""Prompt embeddings and sampler latents, each made once and kept."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config import Config
from harness.models.family import Conditioning, Family
from harness.models.layouts.narrow import aside
from harness.models.sampler import few_steps
from harness.runs import processes
from harness.runs.progress import bar

ENCODED = 16
"""Prompts encoded at a time."""


@torch.no_grad()
def encode(model: Family, prompts: Iterable[str]) -> dict[str, Conditioning]:
    """Each distinct prompt's conditioning, without a leading n, on the model's device."""
    distinct = list(dict.fromkeys(prompts))
    parts = [distinct[start : start + ENCODED] for start in range(0, len(distinct), ENCODED)]
    with aside(model.network), model.encoding():  # encoders can be as large as the denoiser
        rows = [row for part in bar(parts, "encode prompts") for row in model.encode(part)]
    return dict(zip(distinct, rows, strict=True))


@torch.no_grad()
def sample(
    model: Family,
    prompts: Sequence[str],
    embeddings: dict[str, Conditioning],
    options: Config,
    seed: int,
    output: str = "latent",
    desc: str = "sample",
) -> Tensor:
    """Guided samples, one a prompt: latents (n, c, h, w), or with `output="pt"` pictures (n, 3, H, W) in [0, 1].

    Every picture has a seed of its own, drawn from `seed`, so it does not depend on the batch it is in.
    """
    ours = processes.share(list(zip(prompts, seeds(len(prompts), seed), strict=True)), padded=True)
    size = 2 * options.batch_size
    results = []
    with model.drawing(), few_steps(model.pipeline), model.arithmetic(options.precision):
        for start in bar(range(0, len(ours), size), desc):
            words, own_seeds = zip(*ours[start : start + size], strict=True)
            conditioning = Conditioning.stack([embeddings[prompt] for prompt in words])
            unconditional = Conditioning.stack([embeddings[""]] * len(words))
            result = model.pipeline(
                **model.sampling_arguments(conditioning, unconditional),
                height=model.pixels,
                width=model.pixels,
                num_inference_steps=options.sampling_steps,
                **{model.guidance_argument: options.guidance_scale - model.guidance_offset},
                generator=[torch.Generator().manual_seed(each) for each in own_seeds],
                output_type=output,
            )
            images = result.images.float()
            results.append(images.cpu() if output == "pt" else model.unpacked(images))
    # Laid out as a cache gives them back: a convolution of the same numbers laid out otherwise rounds otherwise.
    return processes.gather(torch.cat(results).contiguous(), len(prompts))


def seeds(count: int, seed: int) -> list[int]:
    """The seeds of so many pictures, a generator's each."""
    return torch.randint(2**62, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def nearest(model: Family, concept: str, names: Sequence[str]) -> list[str]:
    """The names in the order of their embeddings' cosine to the concept's, without what all have in common."""
    embeds = torch.stack([row.average.float() for row in encode(model, [concept, *names]).values()])
    embeds = torch.nn.functional.normalize(embeds - embeds.mean(0), dim=1)
    order = (embeds[1:] @ embeds[0]).argsort(descending=True, stable=True)
    return [names[i] for i in processes.on_main(order.tolist)]


@dataclass(frozen=True)
class Sampled:
    """Latents kept for the whole training, with conditionings."""

    origin_latents: Tensor
    """What rows that erase noise, (n, c, h, w)."""
    anchor: Conditioning
    """Of each one's anchor prompt, (n, ...)."""
    target: Conditioning
    """What the trained model is told: (kinds n, ...), of all n the first kind, then of all the second, and so on. The
    first kind names the target; where there are others, the second does not, and the last is the adversary's."""
    concept: Tensor
    """(n,): which of the concepts each is for."""
    retain_latents: Tensor
    """(m, c, h, w)"""
    retain: Conditioning
    """What is told of them, (kinds m, ...); the second kind to the trained model alone, and the first to the frozen."""
    unconditional: Conditioning
    counterparts: Tensor | None = None
    """Where the origin is the target: each of the pictures with k anchors in its place, (n, k, c, h, w)."""

    @property
    def kinds(self) -> int:
        """In how many ways the trained model is told of each."""
        return len(self.target) // len(self.origin_latents)
