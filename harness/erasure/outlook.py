"""What a run is going to do, for `--dry-run`: its prompts, what trains, the memory, pictures and time that it takes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from accelerate import init_empty_weights

from harness.config import Config
from harness.erasure.pace import pace_lines
from harness.judging.panel import panel
from harness.models.family import families
from harness.models.source import CONFIGURATION, INDEX
from harness.plan import Plan
from harness.prompts.concepts import Concepts
from harness.show.screen import caption

EXAMPLES = 3
ADAM, GRADIENT, FROZEN = 8, 4, 4
"""Bytes of each trained weight beside its own: two moments, its gradient, and the value that it had."""


def outlook(plan: Plan, folder: Path) -> str:
    """Some lines on a planned run, without reading a weight.

    Which names are nearest is for the text encoder to say, so here the first ones stand for them.

    Args:
        plan: of the run.
        folder: that it will be written to.
    """
    options = plan.options
    concepts = plan.draft.settle(lambda _, names: [*names])
    lines = [f"{caption(concepts.directions)} with {plan.spec}, {options.steps} steps."]
    lines += _prompt_lines(concepts, "away from" if options.leads_away else "to")
    lines += _weight_lines(plan)
    lines += [_picture_line(plan, concepts), *pace_lines(plan, folder)]
    lines.append("Nothing was loaded, trained or written: that was --dry-run.")
    return "\n".join(lines)


def _prompt_lines(concepts: Concepts, way: str) -> list[str]:
    """How many prompts of each kind, and the first of them, each with its anchor's behind the `way` there."""
    pairs = [
        repr(target) if target == anchor else f"{target!r} {way} {anchor!r}"
        for each in concepts.erased
        for target, anchor in zip(each.target_prompts, each.anchor_prompts, strict=True)
    ]
    kept = [repr(prompt) for prompt in concepts.retain_prompts]
    return [_counted("of the target", pairs), _counted("retained", kept) if kept else "Nothing is retained."]


def _counted(which: str, prompts: Sequence[str]) -> str:
    """How many prompts, and the first of them."""
    return f"{len(prompts)} prompts {which}: {'; '.join(prompts[:EXAMPLES])}{' ...' * (len(prompts) > EXAMPLES)}"


def _weight_lines(plan: Plan) -> list[str]:
    """The sizes of all groups, and what the one chosen takes of memory."""
    options, sizes = plan.options, group_sizes(plan)
    if sizes is None:
        return [f"{options.model}: its weights are not here as a folder, so their sizes are not known yet."]
    shown = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    trained, every = sizes[options.parameter_group], sizes["full"]
    stored = 2 if options.precision == "bf16" else 4
    still = every if options.parameter_group == "lora" else every - trained
    held = 0 if options.parameter_group == "lora" else FROZEN
    taken = still * stored + trained * (4 + GRADIENT + ADAM + held)
    return [
        f"{trained:,} of {every:,} weights train ({options.parameter_group}); the groups: {shown}.",
        f"The denoiser, gradients and moments take {taken / 2**30:.2f} GiB; activations and other parts add to it.",
    ]


def group_sizes(plan: Plan) -> dict[str, int] | None:
    """How many weights each group of the model's denoiser trains, by its configuration; None where that is not here."""
    source, index = plan.source, _index(plan)
    family = families().get(index["_class_name"]) if index else None
    if index is None or family is None or not isinstance(source, Path):
        return None
    kind = index[family.component][1]
    config = json.loads((source / family.component / CONFIGURATION).read_text())
    with init_empty_weights():
        network = getattr(diffusers, kind).from_config(config)
    return {
        group: sum(_trained(each, group, plan.options) for each in members.values())
        for group, members in family.grouped(network).items()
    }


def _index(plan: Plan) -> dict[str, Any] | None:
    """That of the model, where its folder is here."""
    source = plan.source
    return json.loads((source / INDEX).read_text()) if isinstance(source, Path) and source.is_dir() else None


def _trained(weight: torch.nn.Parameter, group: str, options: Config) -> int:
    """How many numbers train for a weight: itself, or the two factors of its adapter."""
    if group != "lora":
        return weight.numel()
    return options.rank * (weight.shape[0] + weight[0].numel())


def _picture_line(plan: Plan, concepts: Concepts) -> str:
    """How many pictures are sampled, and by how many passes."""
    options = plan.options
    judged = len(panel(concepts, plan.vocabulary, plan.words).rows)
    kept = options.latents * (2 if concepts.retain_prompts else 1)
    shown = 2 * len(plan.shown)
    count = 2 * judged + kept + shown
    index = _index(plan)
    family = families().get(index["_class_name"]) if index else None
    told = 1 if index and family and not family.guides(index) else 2  # with the empty prompt beside each
    passes = told * options.sampling_steps * count
    return (
        f"{count} pictures are sampled, {judged} before, as many after and {kept} to train on"
        f"{f', {shown} of --show' if shown else ''}, by {passes:,} forward "
        "passes of a sample; an oracle, counterparts and attacks add to them, what the cache holds is not made again."
    )
