"""What a run works on: checked before a model is loaded, then the loaded model, its prompts and its references."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.config import Config, UsageError
from harness.data import latents
from harness.judging import panel as evaluate
from harness.judging.stopping import STRIDE, StopRule
from harness.loss.calibration import sampler
from harness.loss.objective import Losses
from harness.models import load as models
from harness.models.weights import fingerprint
from harness.prompts import concepts
from harness.prompts.vocabulary import Vocabulary, read_vocabulary
from harness.runs import folder as folders
from harness.runs import processes


@dataclass(frozen=True)
class Plan:
    """What can be known, and be wrong, before a model is loaded."""

    device: torch.device
    source: Path | str
    vocabulary: Vocabulary | None
    earlier: list[dict[str, Any]]
    """The ledger of the run that this one continues."""
    concepts: concepts.Concepts
    losses: Losses
    rule: StopRule | None

    @classmethod
    def of(cls, options: Config) -> "Plan":
        """Check the divergences, the device, the model's place and the concepts; an error says what is wrong."""
        device = models.resolve_device(options.device)
        if options.batch_size % (count := processes.launched()):
            raise UsageError(f"--batch-size {options.batch_size}: must be a multiple of {count}, one share a process")
        source = models.resolve(options.model)
        folder = source if isinstance(source, Path) else None
        vocabulary = read_vocabulary(folder) if folder else None
        earlier = folders.finished(options.continue_from)["ledger"] if options.continue_from else []
        if earlier and options.parameter_group == "lora":
            raise UsageError("--parameter-group lora: adapters cannot continue a run; choose another group")
        chosen = concepts.choose(options, vocabulary, _lost(options, earlier))
        if options.latents < (count := len(chosen.erased)):
            raise UsageError(f"--latents {options.latents}: fewer than the {count} concepts, each of which needs one")
        replaced = {entry["anchor"]: entry["target"] for entry in earlier}
        if taken := [concept.target for concept in chosen.erased if concept.target in replaced]:
            raise UsageError(
                f"--target {taken[0]!r}: put in the place of {replaced[taken[0]]!r} by a run that this one continues; "
                "erase both from the original at once, with --concepts"
            )
        specs, weights = zip(*((each.divergence, each.weight) for each in chosen.erased), strict=True)
        losses = Losses.of(specs, weights, options.objective)
        rule = StopRule.of(options, vocabulary is not None and evaluate.find_judge(folder) is not None)
        return cls(device, source, vocabulary, earlier, chosen, losses, rule)

    @property
    def folder(self) -> Path | None:
        """The model's folder, which may hold a judge and oracles; None for a hub id."""
        return self.source if isinstance(self.source, Path) else None


def _lost(options: Config, earlier: Sequence[dict[str, Any]]) -> dict[str, Sequence[str]]:
    """What the model has lost already: by target the prompts that it was erased by."""
    if options.continue_from is None:
        return {}
    kept = folders.read_json(options.continue_from / folders.PROMPTS, "erased", "earlier")
    prompts = kept["earlier"] | {concept["target"]: concept["target_prompts"] for concept in kept["erased"]}
    return {entry["target"]: prompts.get(entry["target"], [entry["target"]]) for entry in earlier}


@dataclass(frozen=True)
class Setting:
    """A loaded model with the prompts of an erasure, encoded."""

    model: models.Family
    folder: Path | None
    concepts: concepts.Concepts
    panel: evaluate.Panel
    embeddings: dict[str, models.Conditioning]

    def sample(self, options: Config, desc: str, panel: evaluate.Panel | None = None) -> Tensor:
        """Pictures of a panel's prompts by the pipeline as it is now, (prompts, 3, H, W) in [0, 1]."""
        prompts = (panel or self.panel).prompts
        return latents.sample(self.model, prompts, self.embeddings, options, evaluate.SEED, "pt", desc)

    def fingerprints(self, options: Config) -> dict[str, str]:
        """Digests of the networks and the schedule that a training starts from."""
        parts = self.model.pipeline.components
        states = {name: part.state_dict() for name, part in parts.items() if isinstance(part, torch.nn.Module)}
        if options.continue_from:
            states["run continued"] = folders.load_tensors(options.continue_from / folders.DELTA)[0]
        schedule = {name: str(value) for name, value in parts["scheduler"].config.items() if not name.startswith("_")}
        digests = {name: fingerprint(state) for name, state in states.items()}
        return digests | {"scheduler": json.dumps(schedule, sort_keys=True)}


def prepare(options: Config, plan: Plan) -> Setting:
    """Load the model, check that it can do what is asked, and encode the prompts."""
    processes.join(plan.device)
    model = models.load(plan.source, plan.device, options.variant, options.revision, options.offline)
    models.check_sampling(model, options.sampling_steps)
    models.select(model, options.parameter_group)
    sampler(model.noise_schedule(), options)
    # again, now that there is a text encoder to ask which concepts are near
    chosen = concepts.choose(options, plan.vocabulary, plan.concepts.earlier, partial(latents.nearest, model))
    if not options.retain:  # what nobody asked for by name need not fit
        chosen = replace(chosen, retain_prompts=tuple(models.short_enough(model, chosen.retain_prompts)))
    panel = evaluate.panel(chosen, plan.vocabulary)
    varied = [prompt + suffix for prompt in chosen.prompts for suffix in latents.suffixes(options)]
    prompts = [*varied, *panel.prompts, ""]
    models.check_prompts(model, prompts)
    embeddings = latents.encode(model, prompts)
    for concept in chosen.erased if options.anchor_guidance >= 0 else ():
        both = (concept.target_prompts, concept.anchor_prompts)
        read = (models.Conditioning.stack([embeddings[prompt] for prompt in each]).prompt_embeds for each in both)
        if torch.equal(*read):
            raise UsageError(f"--anchor {concept.anchor!r}: the text encoder reads it as it does {concept.target!r}")
    return Setting(model, plan.folder, chosen, panel, embeddings)


@dataclass(frozen=True)
class References:
    """The original model's pictures and, where there is one, the oracle's; the same for every run on one concept."""

    held: evaluate.Reference
    oracle: Tensor | None


def sample_references(setting: Setting, options: Config) -> References:
    """Sample the original model, then the one that never knew the target, on the panel's prompts."""
    held = evaluate.reference(setting.model, setting.folder, setting.panel, setting.embeddings, options)
    alone = not setting.concepts.earlier and len(setting.concepts.erased) == 1
    oracle = evaluate.oracle_unet(setting.folder, setting.concepts.target) if alone else None
    if oracle is None:
        return References(held, None)
    pipeline = setting.model.pipeline
    original, pipeline.unet = pipeline.unet, oracle.to(setting.model.device)
    try:
        return References(held, setting.sample(options, "pictures of the oracle"))
    finally:
        pipeline.unet = original


def watch(
    setting: Setting, references: References, rule: StopRule | None, options: Config
) -> Callable[[int], str] | None:
    """A function of the step that says why to stop there, or nothing; None without a rule."""
    judge = references.held.judge
    if rule is None or judge is None:
        return None
    rows, panel = setting.panel.every(STRIDE)

    def means(pictures: Tensor) -> dict[str, float]:
        return {name: each.mean().item() for name, each in evaluate.scores(pictures, panel, judge).items()}

    original = means(references.held.pictures[rows])

    def reason(step: int) -> str:
        if step % rule.every:
            return ""
        pictures = setting.sample(options, f"evaluate at step {step}", panel)
        why = processes.on_main(lambda: rule.reason(means(pictures), original))
        return why and f"{why}, on {len(rows)} of {len(setting.panel.prompts)} prompts"

    return reason


def ledger(plan: Plan, setting: Setting, options: Config, accuracies: dict[str, float]) -> list[dict[str, Any]]:
    """Every concept that the model has lost, each with its unlearning accuracy when it was erased, and now."""
    earlier = [entry | {"now": accuracies.get(entry["target"])} for entry in plan.earlier]
    current = [
        {
            "target": concept.target,
            "anchor": concept.anchor,
            "anchor_guidance": options.anchor_guidance,
            "divergence": divergence.spec,
            "weight": concept.weight,
            "sampling": [options.sampling_steps, options.guidance_scale],
            "when_erased": accuracies.get(concept.target),
            "now": accuracies.get(concept.target),
        }
        for concept, divergence in zip(setting.concepts.erased, plan.losses.divergences, strict=True)
    ]
    return earlier + current
