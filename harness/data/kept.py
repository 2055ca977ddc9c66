"""The latents that a training noises again and again: sampled once, by the model as it is before."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
OF_TARGET, OF_RETAINED = ("own", "general", "none", "general"), ("own", "replaced", "general", "none")
"""What the trained model is told of a picture, each as often as the others: its own prompt, that without the concept,
or nothing. The last kind of the target's is the adversary's to add to. A counterpart is told the prompt of the target
that it takes the place of, too: a picture that is asked for by the target's name ends up there. Of what is retained the
frozen model is told the same, but its own prompt in place of that."""


class Drawn(NamedTuple):
    """One latent's prompts, those of its counterparts, and which of the concepts it is of."""

    target: str
    anchor: str
    counterparts: tuple[str, ...]
    concept: int


@dataclass(frozen=True)
class _Sampler:
    """The model as it is, what it is told, and where its latents are kept."""

    model: Family
    general: Mapping[str, str]
    """By prompt the same without the concept."""
    embeddings: dict[str, Conditioning]
    options: Config
    once: Callable[[str, Callable[[], Tensor]], Tensor]

    @property
    def erases_pictures(self) -> bool:
        """Whether the target's pictures have counterparts; ESD, which leads away from the target, needs none."""
        return self.options.origin == "target" and not self.options.leads_away

    def latents(self, name: str, prompts: Sequence[str], seed: int) -> Tensor:
        """Those of prompts, (n, c, h, w)."""
        desc = f"{name} latents"
        made = self.once(
            f"{name}_latents",
            lambda: sample_once(self.model, prompts, self.embeddings, self.options, seed, desc=desc),
        )
        return made.to(self.model.device)

    def counterparts(self, drawn: Sequence[Drawn], latents: Tensor) -> Tensor:
        """Of pictures of the target the same with each anchor in its place, (n, k, c, h, w)."""
        most = max(len(each.counterparts) for each in drawn)
        anchors = [each.counterparts[k % len(each.counterparts)] for each in drawn for k in range(most)]
        clean, seed = latents.repeat_interleave(most, 0), 4 * self.options.seed + 2**61
        made = self.once(
            "counterpart_latents",
            lambda: finish_once(self.model, clean, COUNTERPART_FROM, anchors, self.embeddings, self.options, seed),
        )
        return made.to(self.model.device).unflatten(0, (len(drawn), most))

    def stack(self, prompts: Sequence[str]) -> Conditioning:
        """The conditioning of n prompts, which may be none."""
        return Conditioning.stack([self.embeddings[prompt] for prompt in [*prompts, ""]])[: len(prompts)]

    def told(self, prompts: Sequence[str], kinds: Sequence[str], replaced: Sequence[str] = ()) -> Conditioning:
        """Of all prompts the first kind, then of all the second, and so on; without counterparts the first alone."""
        kinds = kinds if self.erases_pictures else kinds[:1]
        by_kind = {
            "own": prompts,
            "replaced": replaced or prompts,
            "general": [self.general.get(prompt, "") for prompt in prompts],
            "none": [""] * len(prompts),
        }
        return self.stack([prompt for kind in kinds for prompt in by_kind[kind]])


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
    sampler = _Sampler(model, concepts.general, embeddings, options, once)
    drawn = _drawn(concepts, options.latents, generator)
    picked = _pick(len(concepts.retain_prompts), options.latents, generator)
    origin = [each.target if options.origin == "target" else each.anchor for each in drawn]
    origin_latents = sampler.latents(options.origin, origin, 4 * options.seed + 1)
    counterparts = sampler.counterparts(drawn, origin_latents) if sampler.erases_pictures else None
    retained = [concepts.retain_prompts[i] for i in picked]
    replaced = retained[:]
    retain_latents = origin_latents[:0]
    if retained:
        retain_latents = sampler.latents("retained", retained, 4 * options.seed + 2)
        if counterparts is not None:  # they are pictures of what is retained too, the nearest to the target's
            turns = [each.counterparts.index(each.anchor) for each in drawn]
            retain_latents = torch.cat([retain_latents, counterparts[range(len(drawn)), turns]])
            retained += [each.anchor for each in drawn]
            replaced += [each.target for each in drawn]
    return Sampled(
        origin_latents=origin_latents,
        anchor=sampler.stack([each.anchor for each in drawn]),
        target=sampler.told([each.target for each in drawn], OF_TARGET),
        concept=torch.tensor([each.concept for each in drawn], device=origin_latents.device),
        retain_latents=retain_latents,
        retain=sampler.told(retained, OF_RETAINED, replaced),
        unconditional=sampler.stack([""]),
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
