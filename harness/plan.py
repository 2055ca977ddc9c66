"""What a run works on, as far as it can be known, and be wrong, before torch is imported and a model loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import Config, UsageError, check
from harness.data.inception import check_inception
from harness.judging.attack import Attack, chosen_attacks
from harness.judging.intervals.measure import Measure
from harness.judging.judge import Choice, choose
from harness.models.source import resolve, starting_file
from harness.prompts.concepts import Concepts
from harness.prompts.draft import Draft
from harness.prompts.vocabulary import Vocabulary, read_vocabulary
from harness.prompts.words import Words
from harness.runs import processes
from harness.runs.files import read_json, read_lines
from harness.runs.folder import PROMPTS, finished
from harness.runs.places import public_divergences, public_specs
from harness.show.tracking import check_trackers

if TYPE_CHECKING:
    from fdiv import Divergence
    from harness.judging.stopping import StopRule

MOST_SHOWN = 256
"""Prompts of the user's own."""


@dataclass(frozen=True)
class Plan:
    """A run whose options are found to be usable."""

    options: Config
    source: Path | str
    """The model's place, as `models.load` reads it."""
    vocabulary: Vocabulary | None
    earlier: list[dict[str, Any]]
    """The ledger of the run that this one continues."""
    draft: Draft
    judge: Choice | None
    rule: "StopRule | None"
    divergences: "tuple[Divergence, ...]"
    """Certified for the objective, one a concept."""
    attacks: tuple[Attack, ...]
    shown: tuple[str, ...]
    """The user's own prompts, which are looked at alone."""

    @classmethod
    def of(cls, options: Config, place: Path | str | None = None) -> "Plan":
        """Check the options, the model's place, the concepts and the divergences, what takes long last.

        Args:
            options: of the run.
            place: where a model that is loaded already came from; by default `--model` is looked up.

        Raises:
            UsageError: an option that cannot be used, or two that contradict each other.
            fdiv.Refused: a divergence without the certificate for its loss; fdiv has other errors for one that is none.
        """
        check(options)
        count = processes.launched()
        if options.batch_size % count:
            raise UsageError(f"--batch-size {options.batch_size}: must be a multiple of {count}, one share a process")
        source = resolve(options.model, options.variant) if place is None else place
        starting_file(options.start)
        folder = source if isinstance(source, Path) else None
        vocabulary = read_vocabulary(folder) if folder else None
        if vocabulary and not options.max_sequence_length:
            options = replace(options, max_sequence_length=vocabulary.max_sequence_length)
        earlier = _ledger_so_far(options)
        draft = Draft.of(options, vocabulary, _erased_before(options, earlier))
        _check_concepts(options, draft, earlier)
        judge = choose(options, folder, draft)
        check_inception(options.inception)
        rule, attacks = _stop_rule(options, judge), chosen_attacks(options.attacks)
        if attacks and judge is None:
            raise UsageError(
                f"--attacks: {options.model} holds no judge and no vocabulary.json to tell their success; --judge "
                "names a judge"
            )
        shown = _own_prompts(options.show)
        check_trackers(options.track)
        divergences = _certified([concept.divergence for concept in draft.erased], options.objective)
        return cls(options, source, vocabulary, earlier, draft, judge, rule, divergences, tuple(attacks), shown)

    @property
    def folder(self) -> Path | None:
        """The model's folder, which may hold a judge and oracles; None for a hub id."""
        return self.source if isinstance(self.source, Path) else None

    @property
    def words(self) -> Words | None:
        """What the judge is asked to tell apart; None without one."""
        return None if self.judge is None else self.judge.words

    @property
    def spec(self) -> str:
        """The names of the divergences, as others may read them."""
        return public_specs(self.divergences)

    @property
    def weights(self) -> list[float]:
        """Of the concepts."""
        return [concept.weight for concept in self.draft.erased]

    @property
    def certificates(self) -> dict[str, str]:
        """By divergence the fingerprint of what is known of it."""
        import fdiv

        return {divergence.spec: fdiv.certify(divergence).fingerprint for divergence in self.divergences}

    def ledger(self, chosen: Concepts, accuracies: Mapping[str, Measure]) -> list[dict[str, Any]]:
        """Every concept that the model has lost, each with its unlearning accuracy when it was erased, and now."""
        options = self.options
        earlier = [entry | _said("now", accuracies.get(entry["target"])) for entry in self.earlier]
        current = [
            {
                "target": concept.target,
                "anchor": concept.anchor,
                "anchor_guidance": options.guidance,
                "divergence": public_divergences(divergence.spec),
                "weight": concept.weight,
                "sampling": [options.sampling_steps, options.guidance_scale],
                **_said("when_erased", accuracies.get(concept.target)),
                **_said("now", accuracies.get(concept.target)),
            }
            for concept, divergence in zip(chosen.erased, self.divergences, strict=True)
        ]
        return earlier + current


def _said(name: str, measure: Measure | None) -> dict[str, Any]:
    """A figure of the ledger with its 95 % interval; None for what was not judged."""
    value, interval = (None, None) if measure is None else (measure.value, list(measure.interval))
    return {name: value, f"{name}_interval": interval}


def _ledger_so_far(options: Config) -> list[dict[str, Any]]:
    """The ledger of the run to continue; empty without one."""
    if options.continue_from is None:
        return []
    ledger = finished(options.continue_from)["ledger"]
    if ledger and options.parameter_group == "lora":
        raise UsageError("--parameter-group lora: adapters cannot continue a run; choose another group")
    return ledger


def _erased_before(options: Config, earlier: Sequence[dict[str, Any]]) -> dict[str, Sequence[str]]:
    """What the model has lost already: by target the prompts that it was erased by."""
    if options.continue_from is None:
        return {}
    kept = read_json(options.continue_from / PROMPTS, "erased", "earlier")
    prompts = kept["earlier"] | {concept["target"]: concept["target_prompts"] for concept in kept["erased"]}
    return {entry["target"]: prompts.get(entry["target"], [entry["target"]]) for entry in earlier}


def _check_concepts(options: Config, draft: Draft, earlier: Sequence[dict[str, Any]]) -> None:
    """UsageError for more concepts than latents, or one that an earlier run put in the place of another."""
    count = len(draft.erased)
    if options.latents < count:
        raise UsageError(f"--latents {options.latents}: fewer than the {count} concepts, each of which needs one")
    replaced = {entry["anchor"]: entry["target"] for entry in earlier}
    for concept in draft.erased:
        if concept.target in replaced:
            raise UsageError(
                f"--target {concept.target!r}: put in the place of {replaced[concept.target]!r} by a run that this one "
                "continues; erase both from the original at once, with --concepts"
            )


def _own_prompts(path: Path | None) -> tuple[str, ...]:
    """Those of `--show`; UsageError for a file without any, or with more than a sheet has room for."""
    if path is None:
        return ()
    prompts = read_lines("--show", path)
    if len(prompts) > MOST_SHOWN:
        raise UsageError(f"--show {path}: {len(prompts)} prompts, and a sheet has room for {MOST_SHOWN}")
    return tuple(prompts)


def _stop_rule(options: Config, judge: Choice | None) -> "StopRule | None":
    """What to measure while it trains and when to stop early, for a model with or without a judge."""
    if not options.stop_when and not options.watch:
        return None
    from harness.judging.stopping import StopRule

    return StopRule.of(options, 0 if judge is None else len(judge.words.axes))


def _certified(specs: Sequence[str], objective: str) -> "tuple[Divergence, ...]":
    """The divergences, each certified for the loss that the objective makes of it."""
    import fdiv

    distinct = {spec: fdiv.resolve(spec) for spec in specs}
    if objective == "variational" and len(distinct) > 1:
        raise UsageError(f"--objective variational: one critic has one divergence, not {', '.join(distinct)}")
    claims = ("activation",) if objective == "variational" else ("D(s)", "w(s) = dD/ds >= 0")
    for divergence in distinct.values():
        fdiv.require(divergence, *claims)
    return tuple(distinct[spec] for spec in specs)
