"""The latents that a training noises again and again: sampled once, by the model as it is before."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from harness.config import Config
from harness.data.latents import Sampled
from harness.data.once import finish_once, sample_once
from harness.models.family import Conditioning, Family
from harness.prompts.concepts import Concepts

COUNTERPART_FROM = 0.8
"""Of the schedule: how far a picture of the target is noised before it is finished with the anchor in its place. There
the miniature's stars all turned into what they were to be, and kept colour and style; at .6 one in eleven did not."""
OF_TARGET, OF_RETAINED = ("own", "general", "none", "general"), ("own", "own", "general", "none")
"""What the trained model is told of a picture, each as often as the others: its own prompt, that without the concept,
or nothing. The last kind of the target's is the adversary's to add to."""


class Drawn(NamedTuple):
    """One latent's prompts, those of its counterparts, and which of the concepts it is of."""

    target: str
    anchor: str
    counterparts: tuple[str, ...]
    concept: int


def sample_kept(
    model: Family,
    concepts: Concepts,
    embeddings: dict[str, Conditioning],
    options: Config,
    once: Callable[[str, Callable[[], Tensor]], Tensor] = lambda _, make: make(),
) -> Sampled:
    """Sample the model as it is on what a step noises, and on retained prompts, if there are any.

    `once(name, make)` gives the latents of that name; it may have them from a run that was interrupted.
    """
    generator = torch.Generator().manual_seed(4 * options.seed)
    drawn = _drawn(concepts, options.latents, generator)
    picked = _pick(len(concepts.retain_prompts), options.latents, generator)
    retained = [concepts.retain_prompts[i] for i in picked]
    of_target = options.origin == "target"
    erases_pictures = of_target and options.anchor_guidance >= 0

    def latents(name: str, prompts: list[str], seed: int) -> Tensor:
        desc = f"{name} latents"
        made = once(f"{name}_latents", lambda: sample_once(model, prompts, embeddings, options, seed, desc=desc))
        return made.to(model.device)

    def stack(prompts: Sequence[str]) -> Conditioning:
        return Conditioning.stack([embeddings[prompt] for prompt in prompts])

    def told(prompts: Sequence[str], kinds: Sequence[str]) -> Conditioning:
        """Of all prompts the first kind, then of all the second, and so on; without counterparts the prompts alone."""
        by_kind = {
            "own": prompts,
            "general": [concepts.general.get(prompt, "") for prompt in prompts],
            "none": [""] * len(prompts),
        }
        return stack([prompt for kind in (kinds if erases_pictures else kinds[:1]) for prompt in by_kind[kind]])

    # ESD leads away from the target, so it starts from what the model shows there: its anchor is the target.
    origin = [each.target if of_target else each.anchor for each in drawn]
    origin_latents = latents("target" if of_target else "anchor", origin, 4 * options.seed + 1)
    counterparts = None
    if erases_pictures:
        most = max(len(each.counterparts) for each in drawn)
        anchors = [each.counterparts[k % len(each.counterparts)] for each in drawn for k in range(most)]
        clean, seed = origin_latents.repeat_interleave(most, 0), 4 * options.seed + 2**61
        finished = once(
            "counterpart_latents",
            lambda: finish_once(model, clean, COUNTERPART_FROM, anchors, embeddings, options, seed),
        )
        counterparts = finished.to(model.device).unflatten(0, (len(drawn), most))
    retain_latents, retain, general = origin_latents[:0], stack([""])[:0], stack([""])[:0]
    if retained:
        retain_latents = latents("retained", retained, 4 * options.seed + 2)
        if counterparts is not None:  # they are pictures of what is retained too, the nearest to the target's
            turns = [each.counterparts.index(each.anchor) for each in drawn]
            retain_latents = torch.cat([retain_latents, counterparts[range(len(drawn)), turns]])
            retained += [each.anchor for each in drawn]
        retain, general = stack(retained), told(retained, OF_RETAINED)
    return Sampled(
        origin_latents=origin_latents,
        anchor=stack([each.anchor for each in drawn]),
        target=told([each.target for each in drawn], OF_TARGET),
        concept=torch.tensor([each.concept for each in drawn], device=origin_latents.device),
        retain_latents=retain_latents,
        retain=retain,
        general=general,
        unconditional=stack([""]),
        counterparts=counterparts,
    )


def _drawn(concepts: Concepts, count: int, generator: torch.Generator) -> list[Drawn]:
    """For each of `count` latents a target prompt, its anchor prompt, and which of the concepts they are of.

    Every concept has the same share, but for one latent, and uses each of its prompts before any a second time.
    """
    drawn = []
    for k, erased in enumerate(concepts.erased):
        share = len(range(k, count, len(concepts.erased)))
        for i in _pick(len(erased.anchor_prompts), share, generator):
            drawn.append(Drawn(erased.target_prompts[i], erased.anchor_prompts[i], erased.counterparts[i], k))
    return drawn


def _pick(choices: int, count: int, generator: torch.Generator) -> list[int]:
    """`count` indices below `choices`, every one used before any is used again; none where there is no choice."""
    if choices == 0:
        return []
    rounds = -(-count // choices)
    return [i for _ in range(rounds) for i in torch.randperm(choices, generator=generator).tolist()][:count]
