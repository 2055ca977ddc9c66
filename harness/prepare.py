"""A planned run's model, loaded and found able to do what is asked, with its prompts encoded."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from harness.config import Config, UsageError
from harness.data import latents
from harness.data.inception import load_inception
from harness.data.once import sample_once
from harness.judging.panel import Panel, panel
from harness.judging.references import References, load_oracle, sample_references
from harness.loss.objective import Losses
from harness.models import load as models
from harness.models.edits import Edit, starting_weights
from harness.models.family import Conditioning, Family
from harness.models.path import FLOW
from harness.models.weights import fingerprint
from harness.plan import Plan
from harness.prompts.concepts import Concepts
from harness.runs import processes
from harness.runs.command import quieten_libraries
from harness.runs.files import load_tensors
from harness.runs.folder import weights_file


@dataclass(frozen=True)
class Prepared:
    """What training and judging work with."""

    plan: Plan
    model: Family
    concepts: Concepts
    """As planned, and now with what the model's text encoder was asked."""
    losses: Losses
    panel: Panel
    embeddings: dict[str, Conditioning]

    @property
    def targets(self) -> list[str]:
        """Of the concepts that this run erases."""
        return [concept.target for concept in self.concepts.erased]

    @property
    def names(self) -> dict[str, str]:
        """What goes by its name into every file of a run."""
        return {"target": self.concepts.target, "anchor": self.concepts.anchor, "divergence": self.plan.spec}

    def draw(self, prompts: Sequence[str], seed: int, desc: str) -> Tensor:
        """Pictures of n prompts by the pipeline as it is now, (n, 3, H, W) in [0, 1]."""
        return latents.sample(self.model, prompts, self.embeddings, self.plan.options, seed, "pt", desc)

    def draw_once(self, prompts: Sequence[str], seed: int, desc: str) -> Tensor:
        """The same from the user's cache, if some run on this model as it is now has left them there."""
        return sample_once(self.model, prompts, self.embeddings, self.plan.options, seed, "pt", desc)

    def references(self, oracle: Edit | None = None) -> References:
        """Sample the original model on the panel's prompts, and the oracle: one given, or the model's own, if any."""
        inception = load_inception(self.plan.options.inception, self.model.device)  # refused before anything is sampled
        found = sample_references(self.plan.judge, self.model, self.panel, self.draw_once, oracle or self.oracle)
        return replace(found, inception=inception)

    @cached_property
    def oracle(self) -> Edit | None:
        """The model retrained without the one concept that is erased, if the model's folder holds it."""
        if len(self.concepts.erased) != 1 or self.concepts.earlier:
            return None
        network = load_oracle(self.model, self.plan.folder, self.concepts.target)
        return partial(self.model.replaced, network) if network is not None else None

    def fingerprints(self) -> dict[str, str]:
        """Digests of the networks and the schedule that a training starts from."""
        parts = self.model.pipeline.components
        states = {name: part.state_dict() for name, part in parts.items() if isinstance(part, torch.nn.Module)}
        if self.plan.options.continue_from:
            states["run continued"] = load_tensors(weights_file(self.plan.options.continue_from))[0]
        schedule = {name: str(value) for name, value in parts["scheduler"].config.items() if not name.startswith("_")}
        digests = {name: fingerprint(state) for name, state in states.items()}
        return digests | {"scheduler": json.dumps(schedule, sort_keys=True)}


def loaded(plan: Plan) -> Family:
    """The model at the place that was planned, on the device; the libraries' notes go off the screen.

    Raises:
        UsageError: no such device, or no such model.
    """
    quieten_libraries()
    options = plan.options
    device = models.resolve_device(options.device)
    processes.join(device)
    return models.load(plan.source, device, options.variant, options.revision, options.offline)


def prepare(plan: Plan, model: Family) -> Prepared:
    """Check that a model can do what is asked, and encode the prompts.

    Raises:
        UsageError: it cannot.
    """
    options = plan.options
    model = models.reading(model, options.max_sequence_length)
    models.check_sampling(model, options.sampling_steps)
    if options.scale == "sde" and model.path().prediction_type != FLOW:
        raise UsageError(f"--scale sde: of flow matching alone, which {options.model} is not; choose posterior or auto")
    model.parameters_of(options.parameter_group)  # refuses a group without weights
    starting_weights(model, options)  # refuses a file that does not fit
    if not model.reads_embeddings and (options.start == "closed-form" or options.closed_form_every):
        asked = "--start closed-form" if options.start == "closed-form" else "--closed-form-every"
        raise UsageError(
            f"{asked}: keys and values of a {type(model.network).__name__} read what other layers make of the "
            "embeddings, where no closed form is known; leave it out"
        )
    chosen = _choose(plan, model)
    shown = panel(chosen, plan.vocabulary, plan.words)
    prompts = [*chosen.prompts, *shown.prompts, ""]
    models.check_prompts(model, prompts)
    embeddings = latents.encode(model, prompts)
    _check_anchors(options, chosen, embeddings)
    losses = Losses.of(plan.divergences, plan.weights, options.objective)
    return Prepared(plan, model, chosen, losses, shown, embeddings)


def _choose(plan: Plan, model: Family) -> Concepts:
    """The concepts, now that there is a text encoder to ask which are near."""
    chosen = plan.draft.settle(partial(latents.nearest, model))
    if plan.options.retain:
        return chosen
    # what nobody asked for by name need not fit
    return replace(chosen, retain_prompts=tuple(models.short_enough(model, chosen.retain_prompts)))


def _check_anchors(options: Config, chosen: Concepts, embeddings: dict[str, Conditioning]) -> None:
    """UsageError where the text encoder makes no difference between a target and its anchor."""
    if options.guidance < 0:  # then the target is its own anchor
        return
    for concept in chosen.erased:
        target, anchor = (
            Conditioning.stack([embeddings[prompt] for prompt in prompts]).prompt_embeds
            for prompts in (concept.target_prompts, concept.anchor_prompts)
        )
        if torch.equal(target, anchor):
            raise UsageError(f"--anchor {concept.anchor!r}: the text encoder reads it as it does {concept.target!r}")
