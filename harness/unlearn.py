"""Erase a concept from a Stable Diffusion UNet with a verified f-divergence.

    python -m harness.unlearn                                       # the embedded miniature forgets its stars
    python -m harness.unlearn --target mosaic --divergence pearson
    python -m harness.unlearn --model FOLDER --target "Van Gogh" --anchor "a painting" --retain "Monet" "Degas"

A run that was killed goes on from its last checkpoint, to the same result bit for bit, with --resume RUN_FOLDER.

Exit codes: 0 done, 1 refused by the divergence's certificate, 2 input that cannot be used, 3 stopped by overflow,
4 disk or memory full, 130 and 143 interrupted by SIGINT and SIGTERM.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from tqdm import tqdm, trange

import fdiv
from fdiv.losses import GaussianLoss, VariationalLoss
from harness import checkpoint, concepts, config, critic, evaluate, export, folders, latents, models, objective, report
from harness.config import Config, UsageError
from harness.models import Denoiser, NoiseSchedule

LOG_EVERY = 10
CALIBRATION_BATCHES = 8
MOST_SKIPPED = 5
DIVERGENCE_ERRORS = (fdiv.UnknownDivergence, fdiv.ParameterError, fdiv.ExpressionError, fdiv.DivergenceFileError)
Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    report.quieten_libraries()
    try:
        with checkpoint.on_signals(checkpoint.interrupt):
            run(config.parse(arguments))
    except fdiv.Refused as error:
        return _say("refused", error, 1)
    except (UsageError, *DIVERGENCE_ERRORS) as error:
        return _say("error", error, 2)
    except OverflowedError as error:
        return _say("stopped", error, 3)
    except checkpoint.Interrupted as error:
        return _say("interrupted", error, 128 + error.number)
    except (torch.OutOfMemoryError, OSError, SafetensorError) as error:
        if (hint := report.shortage(error)) is None:
            raise
        error.add_note(hint)
        return _say("stopped", error, 4)
    return 0


def _say(verdict: str, error: BaseException, code: int) -> int:
    line = "; ".join([f"{verdict}: {error}", *getattr(error, "__notes__", [])])
    print(" ".join(line.split()), file=sys.stderr)
    return code


def run(options: Config) -> Path:
    """Erase, evaluate, report; returns the run folder."""
    started = time.perf_counter()
    losses = Losses.of(options)
    plan = Plan.of(options)
    output = folders.run_folder(options, plan.concepts.target, losses.divergence.spec)
    setting = prepare(options, plan)
    names = {"target": plan.concepts.target, "anchor": plan.concepts.anchor, "divergence": losses.divergence.spec}
    with folders.written_whole(output, options.overwrite, options.resume) as out:
        store = checkpoint.Store(out, options)
        references = sample_references(setting, options)
        sampled = latents.sample_kept(setting.model, setting.concepts, setting.embeddings, options, store.once)
        trained_from = time.perf_counter()
        try:
            result = train(setting, sampled, losses, options, store)
        except OverflowedError as error:
            export.save_delta(error.denoiser, out / "unet_delta.safetensors", names)
            raise
        training_seconds = time.perf_counter() - trained_from
        export.save_delta(result.denoiser, out / "unet_delta.safetensors", names)
        pictures = setting.sample(options, "pictures after")
        metrics = evaluate.compare(pictures, references.oracle, setting.panel, references.held)
        folders.write_json(out / "metrics.json", metrics)
        rows = {"original": references.held.pictures, "erased": pictures, "oracle": references.oracle}
        report.before_after(out / "before_after.png", setting.panel, rows, setting.concepts)
        report.curves(out / "curves.png", result.rows, losses.divergence.title)
        if options.save_pipeline:
            export.save_trained_pipeline(result.denoiser, out / "pipeline", options, names, metrics)
        summary = names | {
            "config": config.to_dict(options),
            "prompts": {
                "target": len(setting.concepts.target_prompts),
                "retained": len(setting.concepts.retain_prompts),
            },
            "scale": {"kind": result.scale.kind, "constant": result.scale.constant},
            "trained_weights": sum(p.numel() for p in result.denoiser.trained.values()),
            "seconds": {"training": training_seconds, "whole": time.perf_counter() - started},
            "warning": report.regime_warning(result.rows, losses.gaussian),
            **report.environment(setting.model.pipeline.device),
        }
        folders.write_json(out / "run.json", summary)
    print(report.last_screen(output, summary, metrics))
    return output


@dataclass(frozen=True)
class Losses:
    """The verified losses of a run's divergence; beside `variational`, `gaussian` may be None (D(s) is infinite)."""

    divergence: fdiv.Divergence
    gaussian: GaussianLoss | None
    variational: VariationalLoss | None

    @classmethod
    def of(cls, options: Config) -> "Losses":
        """Look the divergence up and make its losses; fdiv's errors say what is wrong with it."""
        divergence = fdiv.resolve(options.divergence)
        if options.objective == "closed_form":
            return cls(divergence, GaussianLoss(divergence), None)
        variational = VariationalLoss(divergence)
        try:
            return cls(divergence, GaussianLoss(divergence), variational)
        except fdiv.Refused:  # it only accompanies the critic's bound
            return cls(divergence, None, variational)


@dataclass(frozen=True)
class Plan:
    """What can be known, and be wrong, before a model is loaded."""

    device: torch.device
    source: Path | str
    vocabulary: concepts.Vocabulary | None
    concepts: concepts.Concepts

    @classmethod
    def of(cls, options: Config) -> "Plan":
        """Check the device, the model's place and the concepts; UsageError says what is wrong."""
        device = models.resolve_device(options.device)
        source = models.resolve(options.model)
        vocabulary = concepts.read_vocabulary(source) if isinstance(source, Path) else None
        return cls(device, source, vocabulary, concepts.choose(options, vocabulary))

    @property
    def folder(self) -> Path | None:
        """The model's folder, which may hold a judge and oracles; None for a hub id."""
        return self.source if isinstance(self.source, Path) else None


@dataclass(frozen=True)
class Setting:
    """A loaded model with the prompts of an erasure, encoded."""

    model: models.Family
    folder: Path | None
    concepts: concepts.Concepts
    panel: evaluate.Panel
    axis: int
    embeddings: dict[str, models.Conditioning]

    def sample(self, options: Config, desc: str) -> Tensor:
        """Pictures of the panel's prompts by the pipeline as it is now, (prompts, 3, H, W) in [0, 1]."""
        prompts = self.panel.prompts
        return latents.sample(self.model, prompts, self.embeddings, options, evaluate.SEED, "pt", desc)


def prepare(options: Config, plan: Plan) -> Setting:
    """Load the model, check that it can do what is asked, and encode the prompts."""
    chosen, vocabulary = plan.concepts, plan.vocabulary
    panel = evaluate.panel(chosen, vocabulary)
    prompts = [*chosen.target_prompts, *chosen.anchor_prompts, *chosen.retain_prompts, *panel.prompts, ""]
    model = models.load(plan.source, plan.device, options.variant, options.revision, options.offline)
    models.check_prompts(model, prompts)
    models.check_sampling(model, options.sampling_steps)
    models.select(model, options.parameter_group)
    axis = list(vocabulary.axes).index(chosen.axis) if vocabulary and chosen.axis else 0
    return Setting(model, plan.folder, chosen, panel, axis, latents.encode(model, prompts))


@dataclass(frozen=True)
class References:
    """The original model's pictures and, where there is one, the oracle's; the same for every run on one concept."""

    held: evaluate.Reference
    oracle: Tensor | None


def sample_references(setting: Setting, options: Config) -> References:
    """Sample the original model, then the one that never knew the target, on the panel's prompts."""
    held = evaluate.reference(setting.model, setting.folder, setting.panel, setting.axis, setting.embeddings, options)
    oracle = evaluate.oracle_unet(setting.folder, setting.concepts.target)
    if oracle is None:
        return References(held, None)
    pipeline = setting.model.pipeline
    original, pipeline.unet = pipeline.unet, oracle.to(pipeline.device)
    try:
        return References(held, setting.sample(options, "pictures of the oracle"))
    finally:
        pipeline.unet = original


def difference(denoiser: Denoiser, scale: objective.Scale, batch: latents.Batch) -> Tensor:
    """(mu_Q - mu_P) / sigma of a batch, with the trained prediction's graph, (n, c, h, w)."""
    frozen = denoiser.frozen_denoiser(batch.noisy, batch.timesteps, batch.frozen)
    trained = denoiser(batch.noisy, batch.timesteps, batch.trained)
    noise_p, noise_q = (
        scale.schedule.noise_prediction(output, batch.noisy, batch.timesteps) for output in (frozen, trained)
    )
    return scale.difference(noise_p, noise_q, batch.timesteps)


@torch.no_grad()
def calibrate(
    kind: str, denoiser: Denoiser, schedule: NoiseSchedule, drawn: Iterator[latents.Batch], decisive: float
) -> objective.Scale:
    """The scale a run asks for; `auto` puts the median s before training at `decisive`."""
    if kind == "posterior":
        return objective.Scale(kind, schedule)
    first = next(drawn).erasing
    unit = objective.Scale("unit", schedule, objective.unit_constant(first.noisy))
    if kind == "unit":
        return unit
    seen = [
        objective.squared_distance(difference(denoiser, unit, batch))
        for batch in (first, *(next(drawn).erasing for _ in range(CALIBRATION_BATCHES - 1)))
    ]
    median = torch.cat(seen).median().item()
    if median == 0:
        raise UsageError("target and anchor prompts give the very same predictions: there is nothing to erase")
    return objective.Scale("auto", schedule, unit.constant * decisive / median)


def make_critic(
    losses: Losses, denoiser: Denoiser, scale: objective.Scale, drawn: Iterator[latents.Batch], warm_up: int
) -> critic.CriticTrainer | None:
    """A critic after `warm_up` updates, for the variational objective."""
    if losses.variational is None:
        return None
    batch = next(drawn).erasing
    trainer = critic.CriticTrainer(losses.variational, batch.context)
    for _ in trange(warm_up // critic.UPDATES, desc="warm up the critic", disable=not warm_up):
        with torch.no_grad():
            gap = difference(denoiser, scale, batch)
        trainer.update(gap, batch.context, critic.UPDATES)
        batch = next(drawn).erasing
    return trainer


class OverflowedError(ArithmeticError):
    """No loss or gradient is finite any more; `denoiser` has the last good weights."""

    def __init__(self, message: str, denoiser: Denoiser) -> None:
        """Say why."""
        super().__init__(message)
        self.denoiser = denoiser


@dataclass(frozen=True)
class Result:
    """A trained denoiser, the scale it was trained at, and the rows of steps.jsonl."""

    denoiser: Denoiser
    scale: objective.Scale
    rows: list[Row]


def take_step(
    state: checkpoint.Training,
    batch: latents.Batch,
    scale: objective.Scale,
    losses: Losses,
    reference: float,
    retain_weight: float,
) -> Tensor:
    """Move the weights once, or skip the step where anything is not finite; returns a row for `report.log_row`."""
    n = batch.targets
    gap = difference(state.denoiser, scale, batch)
    s = objective.squared_distance(gap)
    if state.critic is None:
        assert losses.gaussian is not None
        erase = objective.closed_form_loss(losses.gaussian, s[:n]) / reference
    else:
        erase = state.critic.erasure_loss(gap[:n], batch.context) / reference
    retain = objective.retain_loss(s[n:])
    loss = erase + retain_weight * retain
    parameters = list(state.denoiser.trained.values())
    gradients = torch.autograd.grad(loss, parameters)
    norm = torch.nn.utils.get_total_norm(gradients)
    finite = s.isfinite().all() & loss.isfinite() & norm.isfinite()
    if finite:  # a gradient of zero would not do: the optimiser's momentum would still move the weights
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        state.optimizer.step()
    return torch.cat([s[:n].detach(), torch.stack([erase, retain, norm, ~finite]).detach()])


def train(
    setting: Setting, sampled: latents.Sampled, losses: Losses, options: Config, store: checkpoint.Store | None = None
) -> Result:
    """The loop: bring the trained model's reverse step on the target to the frozen one's on the anchor.

    It begins at the store's newest checkpoint, if there is one.

    Raises:
        OverflowedError: `MOST_SKIPPED` steps in a row were skipped.
        checkpoint.Interrupted: by a signal, once the step was done and saved.
    """
    torch.manual_seed(options.seed)  # for adapters, the critic's weights and samples; all else has its own generator
    saved = store.load() if store else None
    denoiser = Denoiser(setting.model, options.parameter_group, options.precision, options.rank)
    schedule = setting.model.noise_schedule()
    noise = torch.Generator().manual_seed(4 * options.seed + 3)
    drawn = latents.batches(sampled, schedule, options, noise)
    if saved:
        scale = objective.Scale(options.scale, schedule, saved.values["constant"])
    else:
        scale = calibrate(options.scale, denoiser, schedule, drawn, objective.decisive_s(losses.gaussian))
    trainer = make_critic(losses, denoiser, scale, drawn, 0 if saved else critic.WARM_UP)
    optimizer = torch.optim.AdamW(denoiser.trained.values(), lr=options.learning_rate, weight_decay=0.0)
    state = checkpoint.Training(denoiser, optimizer, trainer, noise, scale.constant)
    if saved:
        state.restore(saved)
    reference = objective.reference_weight(losses.gaussian)
    left = range(state.step + 1, options.steps + 1)
    with checkpoint.between_steps() as signals:
        for step in (bar := tqdm(left, desc="erase", initial=state.step, total=options.steps)):
            state.seen.append(last := take_step(state, next(drawn), scale, losses, reference, options.retain_weight))
            state.step, state.skipped = step, state.skipped + 1 if last[-1] else 0
            if step % LOG_EVERY == 0 or step == options.steps:
                state.rows.append(row := report.log_row(step, torch.stack(state.seen), losses.gaussian, reference))
                if store:
                    store.log(row)
                if "s" in row:
                    bar.set_postfix(s=f"{row['s'][1]:.3g}", retain=f"{row['retain']:.3g}")
                state.seen.clear()
            stop = bool(signals) or state.skipped == MOST_SKIPPED
            if store and (stop or step == options.steps or step % options.checkpoint_every == 0):
                store.save(state)
            if state.skipped == MOST_SKIPPED:
                raise OverflowedError(report.overflow_message(step, state.skipped, last, options.precision), denoiser)
            if stop:
                break
    return Result(denoiser, scale, state.rows)


if __name__ == "__main__":
    sys.exit(main())
