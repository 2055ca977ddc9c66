"""A planned run's model, loaded and found able to do what is asked, with its prompts encoded."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from harness.config import Config, UsageError
from harness.data import latents
from harness.data.inception import load_inception
from harness.data.once import sample_once
from harness.judging.panel import SEED, SHOWN, Gallery, Panel, Row, panel
from harness.judging.references import References, load_oracle, sample_references
from harness.loss.objective import Losses
from harness.models import load as models
from harness.models.edits import Edit, check_start
from harness.models.family import Conditioning, Family
from harness.models.layouts.narrow import Exact
from harness.models.path import FLOW
from harness.models.weights import fingerprint
from harness.plan import Plan
from harness.prompts.concepts import Concepts
from harness.runs import processes, progress
from harness.runs.command import quieten_libraries
from harness.runs.files import load_tensors
from harness.runs.folder import weights_file
from harness.runs.progress import Phase


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

    def draw_shown(self, subjects: Mapping[str, Edit]) -> Gallery | None:
        """Pictures of the user's own prompts by the original and the erased model; None without such prompts."""
        prompts = self.plan.shown
        if not prompts:
            return None
        progress.begin(Phase.ERASED, f"{len(prompts)} of the prompts of --show, beside the original's")
        pictures = {}
        for name, draw in (("original", self.draw_once), ("erased", self.draw)):
            with subjects[name]():
                pictures[name] = draw(prompts, SEED, f"--show, {name}")
        return Gallery(Panel(tuple(Row(prompt, SHOWN, {}) for prompt in prompts), targets=0), pictures, "show-")

    def draw_once(self, prompts: Sequence[str], seed: int, desc: str) -> Tensor:
        """The same from the user's cache, if some run on this model as it is now has left them there."""
        return sample_once(self.model, prompts, self.embeddings, self.plan.options, seed, "pt", desc)

    def references(self, oracle: Edit | None = None) -> References:
        """Sample the original model on the panel's prompts, and the oracle: one given, or the model's own, if any."""
        by_oracle = oracle or self.oracle
        again = ", and as many of the oracle" if by_oracle else ""
        progress.begin(Phase.ORIGINAL, f"{len(self.panel.prompts)}{again}, which all is measured against")
        inception = load_inception(self.plan.options.inception, self.model.device)  # refused before anything is sampled
        found = sample_references(self.plan.judge, self.model, self.panel, self.draw_once, by_oracle)
        return replace(found, inception=inception)

    def draw_erased(self) -> Tensor:
        """Pictures of the panel's prompts by the erased model, as whose the pipeline stands now."""
        prompts = self.panel.prompts
        what = "to measure what is forgotten, and what is kept" if self.plan.judge else "to look at: there is no judge"
        progress.begin(Phase.ERASED, f"{len(prompts)}, of the same prompts and seeds, {what}")
        return self.draw(prompts, SEED, "pictures after")

    @cached_property
    def oracle(self) -> Edit | None:
        """The model retrained without the one concept that is erased, if the model's folder holds it."""
        if len(self.concepts.erased) != 1 or self.concepts.earlier:
            return None
        network = load_oracle(self.model, self.plan.folder, self.concepts.target)
        return partial(self.model.replaced, network) if network is not None else None

    @cached_property
    def digests(self) -> dict[str, str]:
        """By the name of each of the model's networks a digest of its weights; to be asked for before any changes."""
        parts = self.model.pipeline.components
        states = {name: Exact.of(part) for name, part in parts.items() if isinstance(part, torch.nn.Module)}
        return {name: fingerprint(state) for name, state in states.items()}

    def fingerprints(self) -> dict[str, str]:
        """Digests of the networks and the schedule that a training starts from."""
        options, scheduler = self.plan.options, self.model.pipeline.scheduler
        schedule = {name: str(value) for name, value in scheduler.config.items() if not name.startswith("_")}
        found = self.digests | {"scheduler": json.dumps(schedule, sort_keys=True)}
        if options.continue_from:
            found["run continued"] = fingerprint(load_tensors(weights_file(options.continue_from))[0])
        return found


def loaded(plan: Plan) -> Family:
    """The model at the place that was planned, on the device in its precision; libraries' notes go off the screen.

    Raises:
        UsageError: no such device, or no such model.
    """
    quieten_libraries()
    options = plan.options
    device = models.resolve_device(options.device)
    processes.join(device)
    model = models.load(plan.source, torch.device("cpu"), options.variant, options.revision, options.offline)
    return models.ready(model, device, options.precision)


def prepare(plan: Plan, model: Family) -> Prepared:
    """Check that a model can do what is asked, and encode the prompts.

    Raises:
        UsageError: it cannot.
    """
    options = plan.options
    models.restrain_cudnn()
    if processes.is_main():
        for prompt in plan.draft.contradicted:
            print(f"note: --retain {prompt!r} names what is erased, and is held to what it shows now", file=sys.stderr)
    model = models.told(model, options)
    models.check_sampling(model, options.sampling_steps)
    if options.scale == "sde" and model.path().prediction_type != FLOW:
        raise UsageError(f"--scale sde: of flow matching alone, which {options.model} is not; choose posterior or auto")
    model.parameters_of(options.parameter_group)  # refuses a group without weights
    check_start(model, options)
    if not model.reads_embeddings and (options.start == "closed-form" or options.closed_form_every):
        asked = "--start closed-form" if options.start == "closed-form" else "--closed-form-every"
        raise UsageError(
            f"{asked}: keys and values of a {type(model.network).__name__} read what other layers make of the "
            "embeddings, where no closed form is known; leave it out"
        )
    chosen = _choose(plan, model)
    judged = panel(chosen, plan.vocabulary, plan.words)
    prompts = [*chosen.prompts, *judged.prompts, ""]
    models.check_prompts(model, prompts)
    models.check_prompts(model, plan.shown, f"--show {options.show}: ", "")
    # each part by itself: what a prompt is encoded beside can change its last digits
    embeddings = (latents.encode(model, plan.shown) if plan.shown else {}) | latents.encode(model, prompts)
    _check_anchors(options, chosen, embeddings)
    losses = Losses.of(plan.divergences, plan.weights, options.objective)
    if (trained := {*plan.shown} & {*chosen.prompts}) and processes.is_main():
        print(f"note: --show: {len(trained)} of its prompts are trained on or retained too", file=sys.stderr)
    return Prepared(plan, model, chosen, losses, judged, embeddings)


def _choose(plan: Plan, model: Family) -> Concepts:
    """The concepts, now that there is a text encoder to ask which are near."""
    chosen = plan.draft.settle(partial(latents.nearest, model))
    if plan.options.retain:
        return chosen
    # what nobody asked for by name need not fit
    return replace(chosen, retain_prompts=tuple(models.short_enough(model, chosen.retain_prompts)))


def _check_anchors(options: Config, chosen: Concepts, embeddings: dict[str, Conditioning]) -> None:
    """UsageError where the text encoder makes no difference between a target and its anchor."""
    if options.leads_away:  # then the target is its own anchor
        return
    for concept in chosen.erased:
        target, anchor = (
            Conditioning.stack([embeddings[prompt] for prompt in prompts]).prompt_embeds
            for prompts in (concept.target_prompts, concept.anchor_prompts)
        )
        if torch.equal(target, anchor):
            raise UsageError(f"--anchor {concept.anchor!r}: the text encoder reads it as it does {concept.target!r}")
