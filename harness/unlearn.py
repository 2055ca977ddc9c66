"""Erase a concept from a Stable Diffusion UNet with a verified f-divergence.

    python -m harness.unlearn                                       # the embedded miniature forgets its stars
    python -m harness.unlearn --target mosaic --divergence pearson
    python -m harness.unlearn --model FOLDER --concept-type style --target "Van Gogh"
    python -m harness.unlearn --continue RUN_FOLDER --target heart  # what RUN_FOLDER erased stays erased

A run that was killed goes on from its last checkpoint, to the same result bit for bit, with --resume RUN_FOLDER.
Under `torchrun --nproc_per_node N -m` in place of `python -m`, N processes share the work.

Exit codes: 0 done, 1 refused by the divergence's certificate, 2 input that cannot be used, 3 stopped by overflow,
4 disk or memory full, 130 and 143 interrupted by SIGINT and SIGTERM.
"""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from tqdm import tqdm

import fdiv
from harness import config
from harness.config import Config, UsageError
from harness.data import latents
from harness.judging import panel as evaluate
from harness.loss import critic, retention
from harness.loss.calibration import Objective, calibrate, difference, make_critic
from harness.loss.objective import Losses, erasure_loss, retain_loss, squared_distance
from harness.models import weights
from harness.models.denoiser import Denoiser
from harness.plan import Plan, References, Setting, ledger, prepare, sample_references, watch
from harness.runs import checkpoint, command, processes
from harness.runs import folder as folders
from harness.show import figures
from harness.show import screen as report
from harness.show.card import model_card

LOG_EVERY = 10
MOST_SKIPPED = 5
DIVERGENCE_ERRORS = (fdiv.UnknownDivergence, fdiv.ParameterError, fdiv.ExpressionError, fdiv.DivergenceFileError)
Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    report.quieten_libraries()
    with processes.together():
        return _end(arguments)


def _end(arguments: Sequence[str] | None) -> int:
    try:
        with checkpoint.on_signals(checkpoint.interrupt):
            run(command.parse(arguments))
    except fdiv.Refused as error:
        return report.say("refused", error, 1)
    except (UsageError, *DIVERGENCE_ERRORS) as error:
        return report.say("error", error, 2)
    except OverflowedError as error:
        return report.say("stopped", error, 3)
    except processes.LostError as error:
        return report.say("stopped", error, 1)
    except checkpoint.Interrupted as error:
        return report.say("interrupted", error, 128 + error.number)
    except (torch.OutOfMemoryError, OSError, SafetensorError) as error:
        return report.say_shortage(error)
    return 0


def run(options: Config) -> Path:
    """Erase, evaluate, report; returns the run folder."""
    started = time.perf_counter()
    plan = Plan.of(options)
    output = folders.run_folder(options, plan.concepts.target, plan.losses.spec)
    setting = prepare(options, plan)
    certificates = {d.spec: fdiv.certify(d).fingerprint for d in plan.losses.divergences}
    names = {"target": setting.concepts.target, "anchor": setting.concepts.anchor, "divergence": plan.losses.spec}
    with folders.written_whole(output, options.overwrite, options.resume) as out:
        store = checkpoint.Store(out, options)
        if processes.is_main():
            folders.keep_same(out / folders.PROMPTS, asdict(setting.concepts))
            folders.keep_same(out / folders.RESUME / folders.INPUTS, setting.fingerprints(options) | certificates)
        references = sample_references(setting, options)
        base = weights.put_over(setting.model, options.continue_from) if options.continue_from else {}
        sampled = latents.sample_kept(setting.model, setting.concepts, setting.embeddings, options, store.once)
        trained_from = time.perf_counter()
        try:
            result = train(
                setting, sampled, plan.losses, options, store, watch(setting, references, plan.rule, options)
            )
        except OverflowedError as error:
            weights.save_delta(error.denoiser, out / folders.DELTA, names, base)
            raise
        training_seconds = time.perf_counter() - trained_from
        weights.save_delta(result.denoiser, out / folders.DELTA, names, base)
        pictures = setting.sample(options, "pictures after")
        if not pictures.isfinite().all():
            raise OverflowedError("the trained model's pictures are not finite: no weights to use", result.denoiser)
        if not processes.is_main():
            return output
        metrics = evaluate.compare(pictures, references.oracle, setting.panel, references.held)
        folders.write_json(out / "metrics.json", metrics)
        _draw(out, setting, references, pictures, result.rows, f"{options.objective}, scale {options.scale}", names)
        if options.save_pipeline:
            weights.save_trained_pipeline(result.denoiser, out / "pipeline", base)
            described = model_card(names | {"config": config.to_dict(options)}, metrics, "pipeline", 1.0)
            (out / "pipeline" / "README.md").write_text(described)
        accuracies = evaluate.accuracy_by_target(pictures, setting.panel, references.held)
        summary = names | {
            "config": config.to_dict(options),
            "ledger": ledger(plan, setting, options, accuracies),
            "prompts": {
                "target": sum(len(concept.target_prompts) for concept in setting.concepts.erased),
                "retained": len(setting.concepts.retain_prompts),
            },
            "certificates": certificates,
            "scale": {"kind": result.objective.scale.kind, "constants": result.objective.scale.constants},
            "stopped": result.stopped,
            "trained_weights": sum(p.numel() for p in result.denoiser.trained.values()),
            "seconds": {"training": training_seconds, "whole": time.perf_counter() - started},
            "warning": report.regime_warning(result.rows, plan.losses),
            **report.environment(setting.model.device),
        }
        folders.write_json(out / "run.json", summary)
    print(report.last_screen(output, summary, metrics))
    return output


def _draw(
    out: Path,
    setting: Setting,
    references: References,
    erased: Tensor,
    rows: list[Row],
    how: str,
    names: dict[str, str],
) -> None:
    models = {"original": references.held.pictures, "erased": erased, "oracle": references.oracle}
    figures.before_after(out / "before_after.png", setting.panel, models, setting.concepts)
    title = f"{report.led(names['target'], names['anchor'])}: {names['divergence']}, {how}"
    figures.curves(out / "curves.png", rows, title)


class OverflowedError(ArithmeticError):
    """No loss or gradient is finite any more; `denoiser` has the last good weights."""

    def __init__(self, message: str, denoiser: Denoiser) -> None:
        """Say why."""
        super().__init__(message)
        self.denoiser = denoiser


@dataclass(frozen=True)
class Result:
    """A trained denoiser, what it was trained for, the rows of steps.jsonl, and why it stopped early, if it did."""

    denoiser: Denoiser
    objective: Objective
    rows: list[Row]
    stopped: Row | None


def take_step(state: checkpoint.Training, batch: latents.Batch, objective: Objective) -> report.Seen:
    """Move the weights once, or skip the step where anything is not finite; returns what it saw."""
    n, losses = batch.targets, objective.losses
    gap = difference(state.denoiser, objective.scale, batch)
    s = squared_distance(gap)
    if state.critic is None:
        values, estimate = losses.divergence(s[:n], batch.concept), torch.tensor(math.nan)
        assert values is not None
    else:
        values, estimate = state.critic.erasure_values(gap[:n], batch.context)
    erase = erasure_loss(values, batch.concept, losses, objective.sampler.weights(batch.timesteps[:n]))
    retain = retain_loss(s[n:])
    parameters = list(state.denoiser.trained.values())
    gradients = retention.gradients(erase, retain, parameters, objective.retain_method, objective.retain_weight)
    norm = torch.nn.utils.get_total_norm(gradients)
    finite = s.isfinite().all() & erase.isfinite() & retain.isfinite() & norm.isfinite()
    with torch.no_grad():
        ours = report.Seen.of(s[:n], batch.timesteps[:n], batch.concept, erase, retain, estimate, norm, ~finite)
        seen = ours.of_all()
    if not seen.skipped:  # a gradient of zero would not do: the optimiser's momentum would still move the weights
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        state.optimizer.step()
    return seen


def train(
    setting: Setting, sampled: latents.Sampled, losses: Losses, options: Config,
    store: checkpoint.Store | None = None, watched: Callable[[int], str] | None = None,
) -> Result:  # fmt: skip
    """The loop: bring the trained model's reverse step on the target to the frozen one's on the anchor.

    It begins at the store's newest checkpoint, if there is one, and ends early once `watched` gives a reason.

    Raises:
        OverflowedError: `MOST_SKIPPED` steps in a row were skipped.
        checkpoint.Interrupted: by a signal, once the step was done and saved.
    """
    torch.manual_seed(options.seed)  # for adapters, the critic's weights and samples; all else has its own generator
    saved = store.load() if store else None
    denoiser = Denoiser(setting.model, options.parameter_group, options.precision, options.rank)
    schedule = setting.model.noise_schedule()
    noise = torch.Generator().manual_seed(4 * options.seed + 3)
    if saved:
        objective = checkpoint.calibrated(saved, losses, schedule, options)
    else:
        objective = calibrate(denoiser, sampled, losses, schedule, options, noise)
    drawn = latents.batches(sampled, schedule, objective.sampler, options, noise)
    trainer = make_critic(losses, denoiser, objective.scale, drawn, 0 if saved else critic.WARM_UP)
    optimizer = torch.optim.AdamW(denoiser.trained.values(), lr=options.learning_rate, weight_decay=0.0)
    state = checkpoint.Training(denoiser, optimizer, trainer, noise, objective)
    if saved:
        state.restore(saved)
    left = range(state.step + 1, 0 if state.stopped else options.steps + 1)
    with checkpoint.between_steps() as signalled:
        for step in (bar := tqdm(left, desc="erase", initial=state.step, total=options.steps)):
            state.seen.append(last := take_step(state, next(drawn), objective))
            state.step, state.skipped = step, state.skipped + 1 if last.skipped else 0
            if watched and step < options.steps:
                state.stopped = watched(step)
            overflowed = state.skipped >= min(MOST_SKIPPED, options.steps)
            ends = bool(signalled() or overflowed or state.stopped) or step == options.steps
            if step == 1 or step % LOG_EVERY == 0 or state.stopped or step == options.steps:
                state.rows.append(row := report.log_row(step, state.seen, objective))
                if store:
                    store.log(row)
                if "s" in row:
                    bar.set_postfix(s=f"{row['s'][1]:.3g}", retain=f"{row.get('retain', 0):.3g}")
                state.seen.clear()
            if store and (ends or step % options.checkpoint_every == 0):
                store.save(state)
            if overflowed:
                raise OverflowedError(report.overflow_message(step, state.skipped, last, options.precision), denoiser)
            if ends and step < options.steps:
                break
    stopped = {"step": state.step, "reason": state.stopped} if state.stopped else None
    return Result(denoiser, objective, state.rows, stopped)


if __name__ == "__main__":
    sys.exit(main())
