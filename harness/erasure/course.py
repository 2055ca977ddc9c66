"""The course of an erasure: from a model that is loaded, by way of its training, to what is found of it."""

import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.config import to_dict
from harness.data.kept import sample_kept
from harness.erasure.outcome import Outcome
from harness.examine import Asked, Examined, examine
from harness.judging.comparison import accuracy_by_target
from harness.judging.references import References
from harness.judging.stopping import watch
from harness.models.denoiser import forwards
from harness.models.edits import Edit
from harness.models.weights import changes, over, put_over, save_trained
from harness.prepare import Prepared
from harness.runs import processes, progress
from harness.runs.checkpoint import Store, Tell
from harness.runs.command import preset, presets_of
from harness.runs.folder import INPUTS, PROMPTS, RESUME, keep_same
from harness.runs.places import places, public, public_divergences
from harness.runs.progress import Phase
from harness.show.screen import command_of, environment
from harness.show.steps import regime_warning
from harness.train import Callback, OverflowedError, Trainer


@dataclass(frozen=True)
class Trained:
    """A training that is done; its weights stand in the model."""

    trainer: Trainer
    references: References
    """The model as it was: pictures to compare with."""
    base: dict[str, Tensor]
    """The original's values of what earlier runs changed, which training started from."""
    digests: dict[str, str]
    """Of the original's networks, by their names."""
    forwards: int
    seconds: float


def train(
    prepared: Prepared, out: Path | None = None, callback: Callback | None = None, tell: Tell = lambda step, row: None
) -> Trained:
    """Sample the model as it is, and train it.

    Args:
        prepared: the model and its prompts.
        out: an unfinished run's folder, which the rows, the checkpoints and the weights go to; None to write nothing.
        callback: is told of every step.
        tell: is told of every row of steps.jsonl, where there is `out`.

    Raises:
        OverflowedError: no loss is finite any more; with `out`, the last good weights are there.
        UsageError: nothing can be learnt, or a run is gone on with that began with something else.
    """
    model, options = prepared.model, prepared.plan.options
    digests = prepared.digests
    store = _begin(prepared, out, tell) if out else None
    references = prepared.references()
    base = put_over(model, options.continue_from) if options.continue_from else {}
    once = {"once": store.once} if store else {}
    retained = ", and as many of what is retained" if prepared.concepts.retain_prompts else ""
    progress.begin(Phase.KEPT, f"{options.latents} of the {options.origin}{retained}")
    sampled = sample_kept(model, prepared.concepts, prepared.embeddings, options, **once)

    progress.begin(Phase.TRAINING, _what_training_shows(prepared))
    started = time.perf_counter()
    with forwards(model.network) as passes:
        trainer = Trainer(model, sampled, prepared.losses, options, store.load() if store else None)
        try:
            trainer.train(store, watch(prepared.plan.rule, prepared.panel, references, prepared.draw), callback)
        except OverflowedError:
            _save(trainer, out, prepared, base)
            raise
    seconds = time.perf_counter() - started
    _save(trainer, out, prepared, base)
    return Trained(trainer, references, base, digests, passes["forwards"], seconds)


def _what_training_shows(prepared: Prepared) -> str:
    """How long it goes on, and what its bar shows."""
    plan = prepared.plan
    said = f"{plan.options.steps} steps; s: how far the target is from where it is led"
    if prepared.concepts.retain_prompts and plan.options.retain_weight:
        said += "; retain: drift of what is kept"
    if plan.rule is not None:
        return f"{said}; accuracies every {plan.rule.every} steps"
    return said if plan.judge is None else f"{said}; --watch would show accuracies"


def _begin(prepared: Prepared, out: Path, tell: Tell) -> Store:
    """Keep what a run begins with; where it is gone on with, ask that it be the same."""
    store = Store(out, prepared.plan.options, tell)
    if processes.is_main():
        keep_same(out / PROMPTS, asdict(prepared.concepts))
        keep_same(out / RESUME / INPUTS, prepared.fingerprints() | prepared.plan.certificates)
    return store


def _save(trainer: Trainer, out: Path | None, prepared: Prepared, base: dict[str, Tensor]) -> None:
    if out:
        save_trained(trainer.denoiser, out, prepared.names, base)


def conclude(prepared: Prepared, trained: Trained, started: float) -> Outcome:
    """Measure what was trained, attack it if asked to, and sum up; the original's weights then stand in the model.

    Args:
        prepared: as it was trained on.
        trained: the training, which goes on no more.
        started: when the work began, on `time.perf_counter`.

    Raises:
        OverflowedError: the trained model's pictures are not finite.
    """
    denoiser = trained.trainer.denoiser
    pictures = prepared.draw_erased()
    if not pictures.isfinite().all():
        raise OverflowedError("the trained model's pictures are not finite: no weights to use")
    factors = denoiser.weights() if denoiser.adapted else {}
    changed = changes(denoiser, trained.base)
    subjects: dict[str, Edit] = {"original": nullcontext, "erased": partial(over, prepared.model, changed)}
    if prepared.oracle is not None:
        subjects["oracle"] = prepared.oracle
    examined = examine(prepared, trained.references, subjects, pictures, Asked(prepared.plan.attacks))
    summary = _summary(prepared, trained, examined)
    summary["seconds"] = {"training": trained.seconds, "whole": time.perf_counter() - started}
    frozen, changed = ({name: each.cpu() for name, each in part.items()} for part in (denoiser.frozen, changed))
    weights = factors or {name: changed[name] for name in frozen}
    read = places(to_dict(prepared.plan.options))
    return Outcome(prepared.concepts, examined, trained.trainer.rows, summary, read, frozen, weights, changed)


def _summary(prepared: Prepared, trained: Trained, examined: Examined) -> dict[str, Any]:
    """The content of run.json, but for its seconds: all that others may read."""
    plan, chosen, trainer = prepared.plan, prepared.concepts, trained.trainer
    options = public(to_dict(plan.options))
    return prepared.names | {
        "directions": chosen.directions,
        "config": options,
        "command": command_of(options),
        "presets": {name: preset(name)["source"] for name in presets_of(plan.options)},
        "model": {"name": options["model"], "sha256": trained.digests},
        "ledger": plan.ledger(chosen, accuracy_by_target(examined.erased, examined.seen.panel, examined.references)),
        "prompts": {
            "target": sum(len(concept.target_prompts) for concept in chosen.erased),
            "retained": len(chosen.retain_prompts),
        },
        "certificates": {public_divergences(spec): digest for spec, digest in plan.certificates.items()},
        "component": prepared.model.component,
        "scale": {"kind": trainer.scale.kind, "constants": [trainer.scale.constant]},
        "stopped": {"step": trainer.step, "reason": trainer.stopped} if trainer.stopped else None,
        "trained_weights": sum(parameter.numel() for parameter in trainer.denoiser.trained.values()),
        "warning": regime_warning(trainer.rows, prepared.losses),
        "forwards": trained.forwards,
        **environment(prepared.model.device),
    }
