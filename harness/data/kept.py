"""The latents that a training noises again and again: sampled once, by the model as it is before."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from harness.config import Config
from harness.data.latents import Sampled
from harness.data.once import sample_once
from harness.models.family import Conditioning, Family
from harness.prompts.concepts import Concepts


def sample_kept(
    model: Family,
    concepts: Concepts,
    embeddings: dict[str, Conditioning],
    options: Config,
    once: Callable[[str, Callable[[], Tensor]], Tensor] = lambda _, make: make(),
) -> Sampled:
    """Sample the model as it is on anchor prompts and on retained prompts, if there are any.

    `once(name, make)` gives the latents of that name; it may have them from a run that was interrupted.
    """
    generator = torch.Generator().manual_seed(4 * options.seed)
    target_prompts, anchor_prompts, concept = _pairs(concepts, options.latents, generator)
    picked = _pick(len(concepts.retain_prompts), options.latents, generator)
    retained = [concepts.retain_prompts[i] for i in picked]

    def latents(name: str, prompts: list[str], seed: int) -> Tensor:
        desc = f"{name} latents"
        made = once(f"{name}_latents", lambda: sample_once(model, prompts, embeddings, options, seed, desc=desc))
        return made.to(model.device)

    def stack(prompts: Sequence[str]) -> Conditioning:
        return Conditioning.stack([embeddings[prompt] for prompt in prompts])

    # ESD leads away from the target, so it starts from what the model shows there: the anchor, which is the target.
    anchor_latents = latents("anchor", anchor_prompts, 4 * options.seed + 1)
    retain_latents, retain = anchor_latents[:0], stack([""])[:0]
    if retained:
        retain_latents, retain = latents("retained", retained, 4 * options.seed + 2), stack(retained)
    return Sampled(
        anchor_latents=anchor_latents,
        anchor=stack(anchor_prompts),
        target=stack(target_prompts),
        concept=torch.tensor(concept, device=anchor_latents.device),
        retain_latents=retain_latents,
        retain=retain,
        unconditional=stack([""]),
    )


def _pairs(concepts: Concepts, count: int, generator: torch.Generator) -> tuple[list[str], list[str], list[int]]:
    """For each of `count` latents a target prompt, its anchor prompt, and which of the concepts they are of.

    Every concept has the same share, but for one latent, and uses each of its prompts before any a second time.
    """
    target_prompts: list[str] = []
    anchor_prompts: list[str] = []
    concept: list[int] = []
    for k, erased in enumerate(concepts.erased):
        share = len(range(k, count, len(concepts.erased)))
        for i in _pick(len(erased.anchor_prompts), share, generator):
            target_prompts.append(erased.target_prompts[i])
            anchor_prompts.append(erased.anchor_prompts[i])
            concept.append(k)
    return target_prompts, anchor_prompts, concept


def _pick(choices: int, count: int, generator: torch.Generator) -> list[int]:
    """`count` indices below `choices`, every one used before any is used again; none where there is no choice."""
    if choices == 0:
        return []
    rounds = -(-count // choices)
    return [i for _ in range(rounds) for i in torch.randperm(choices, generator=generator).tolist()][:count]
