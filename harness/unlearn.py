"""Erase a concept from a Stable Diffusion UNet with a verified f-divergence.

    python -m harness.unlearn                                       # the embedded miniature forgets its stars
    python -m harness.unlearn --target mosaic --divergence pearson
    python -m harness.unlearn --model FOLDER --target "Van Gogh" --anchor "a painting" --retain "Monet" "Degas"

Exit codes: 0 done, 1 refused by the divergence's certificate, 2 input that cannot be used, 3 stopped by overflow.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import trange

import fdiv
from fdiv.losses import GaussianLoss, VariationalLoss
from harness import checkpoint, concepts, config, critic, evaluate, export, latents, models, objective, report
from harness.config import Config, UsageError
from harness.models import Denoiser, NoiseSchedule

LOG_EVERY = 10
CALIBRATION_BATCHES = 8
DIVERGENCE_ERRORS = (fdiv.UnknownDivergence, fdiv.ParameterError, fdiv.ExpressionError, fdiv.DivergenceFileError)
Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    report.quieten_libraries()
    try:
        run(config.parse(arguments))
    except fdiv.Refused as error:
        return _say("refused", error, 1)
    except (UsageError, *DIVERGENCE_ERRORS) as error:
        return _say("error", error, 2)
    except OverflowedError as error:
        return _say("stopped", error, 3)
    return 0


def _say(verdict: str, error: Exception, code: int) -> int:
    print("; ".join([f"{verdict}: {error}", *getattr(error, "__notes__", [])]), file=sys.stderr)
    return code


def run(options: Config) -> Path:
    """Erase, evaluate, report; returns the run folder."""
    started = time.perf_counter()
    losses = Losses.of(options)
    plan = Plan.of(options)
    output = checkpoint.run_folder(options, plan.concepts.target, losses.divergence.spec)
    setting = prepare(options, plan)
    with checkpoint.written_whole(output, options.overwrite) as out:
        references = sample_references(setting, options)
        sampled = latents.sample_kept(setting.model, setting.concepts, setting.embeddings, options)
        trained_from = time.perf_counter()
        with (out / "steps.jsonl").open("w") as file:
            result = train(
                setting,
                sampled,
                losses,
                options,
                lambda row: print(json.dumps(row, allow_nan=False), file=file, flush=True),
            )
        training_seconds = time.perf_counter() - trained_from
        names = {
            "target": setting.concepts.target,
            "anchor": setting.concepts.anchor,
            "divergence": losses.divergence.spec,
        }
        export.save_delta(result.denoiser, out / "unet_delta.safetensors", names)
        pictures = setting.sample(options, "pictures after")
        metrics = evaluate.compare(pictures, references.oracle, setting.panel, references.held)
        checkpoint.write_json(out / "metrics.json", metrics)
        rows = {"original": references.held.pictures, "erased": pictures, "oracle": references.oracle}
        report.before_after(out / "before_after.png", setting.panel, rows, setting.concepts)
        report.curves(out / "curves.png", result.rows, losses.divergence.title)
        if options.save_pipeline:
            export.save_pipeline(setting.model.pipeline, out / "pipeline")
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
        checkpoint.write_json(out / "run.json", summary)
    print(report.last_screen(output, summary, metrics))
    return output


@dataclass(frozen=True)
class Losses:
    """The verified losses of a run's divergence; `gaussian` is None where D(s) is infinite."""

    divergence: fdiv.Divergence
    gaussian: GaussianLoss | None
    variational: VariationalLoss | None

    @classmethod
    def of(cls, options: Config) -> "Losses":
        """Look the divergence up and make its losses; fdiv's errors say what is wrong with it."""
        divergence = fdiv.resolve(options.divergence)
        if options.objective == "closed_form":
            return cls(divergence, GaussianLoss(divergence), None)
        gaussian = GaussianLoss(divergence) if divergence.gaussian.evaluable else None
        return cls(divergence, gaussian, VariationalLoss(divergence))


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


Erasure = Callable[[Tensor, latents.Context], Tensor]


def erasure_loss(losses: Losses, denoiser: Denoiser, scale: objective.Scale, drawn: Iterator[latents.Batch]) -> Erasure:
    """What the model minimises, as a function of difference and context; a variational one has a warm critic."""
    if losses.variational is None:
        gaussian = losses.gaussian
        assert gaussian is not None
        return lambda gap, context: objective.closed_form_loss(gaussian, objective.squared_distance(gap))
    batch = next(drawn).erasing
    trainer = critic.CriticTrainer(losses.variational, batch.context)
    for _ in trange(critic.WARM_UP // critic.UPDATES, desc="warm up the critic"):
        with torch.no_grad():
            gap = difference(denoiser, scale, batch)
        trainer.update(gap, batch.context, critic.UPDATES)
        batch = next(drawn).erasing
    return trainer.erasure_loss


class OverflowedError(ArithmeticError):
    """No loss or gradient is finite any more."""


@dataclass(frozen=True)
class Result:
    """A trained denoiser, the scale it was trained at, and the rows of steps.jsonl."""

    denoiser: Denoiser
    scale: objective.Scale
    rows: list[Row]


def train(
    setting: Setting, sampled: latents.Sampled, losses: Losses, options: Config, log: Callable[[Row], None]
) -> Result:
    """The loop: bring the trained model's reverse step on the target to the frozen one's on the anchor.

    A step whose loss or gradient is not finite is skipped and counted.

    Raises:
        OverflowedError: every step between two rows of the log was skipped.
    """
    torch.manual_seed(options.seed)  # for the critic's weights and samples; all else has generators of its own
    denoiser = Denoiser(setting.model, options.parameter_group, options.precision, options.rank)
    schedule = setting.model.noise_schedule()
    drawn = latents.batches(sampled, schedule, options)
    scale = calibrate(options.scale, denoiser, schedule, drawn, objective.decisive_s(losses.gaussian))
    erasure = erasure_loss(losses, denoiser, scale, drawn)
    reference = objective.reference_weight(losses.gaussian)
    parameters = list(denoiser.trained.values())
    optimizer = torch.optim.AdamW(parameters, lr=options.learning_rate, weight_decay=0.0)
    rows: list[Row] = []
    seen: list[Tensor] = []
    for step in (bar := trange(1, options.steps + 1, desc="erase")):
        batch = next(drawn)
        n = batch.targets
        gap = difference(denoiser, scale, batch)
        s = objective.squared_distance(gap)
        erase = erasure(gap[:n], batch.context) / reference
        retain = objective.retain_loss(s[n:])
        loss = erase + options.retain_weight * retain
        gradients = torch.autograd.grad(loss, parameters)
        norm = torch.nn.utils.get_total_norm(gradients)
        finite = loss.isfinite() & norm.isfinite()
        if finite:  # a gradient of zero would not do: the optimiser's momentum would still move the weights
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
        seen.append(torch.cat([s[:n].detach(), torch.stack([erase, retain, norm, ~finite]).detach()]))
        if step % LOG_EVERY == 0 or step == options.steps:
            rows.append(report.log_row(step, torch.stack(seen), losses.gaussian, reference))
            log(rows[-1])
            if rows[-1]["skipped"] == len(seen):
                denoiser.restore()
                raise OverflowedError(report.overflow_message(step, torch.stack(seen)))
            bar.set_postfix(s=f"{rows[-1]['s'][1]:.3g}", retain=f"{rows[-1]['retain']:.3g}")
            seen.clear()
    return Result(denoiser, scale, rows)


if __name__ == "__main__":
    sys.exit(main())
