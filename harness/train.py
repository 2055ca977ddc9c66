"""The training: its state, its step and its loop in one place, from kept latents to trained weights.

A step draws a batch, measures the gap between both models' reverse steps (`loss.gap`), makes two losses of it
(`loss.objective`), erasure and retention, and moves the trained weights once by AdamW.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from harness.attacking.embeddings import NAMES
from harness.config import Config, UsageError
from harness.data.batches import Batch, batches
from harness.data.latents import Sampled
from harness.judging.stopping import NOTHING, Watch
from harness.loss import closed_form, critic
from harness.loss.calibration import Measured, context_of, make_critic, measured
from harness.loss.closed_form_prompts import ClosedFormPrompts
from harness.loss.gap import difference, relative_drift, squared_distance
from harness.loss.objective import Losses, erasure_loss, retain_loss
from harness.loss.relearner import Relearner
from harness.loss.scale import Scale, unit_constant
from harness.loss.soft_prompts import SoftPrompts
from harness.models.denoiser import Denoiser
from harness.models.edits import starting_weights
from harness.models.family import Family
from harness.runs import processes
from harness.runs.checkpoint import Saved, Store, load_moments, moments
from harness.runs.ends import between_steps
from harness.show.steps import Row, Seen, log_row, overflow_message

LOG_EVERY = 10
MOST_SKIPPED = 5
STATE = ("step", "rows", "skipped", "stopped")
"""What changes from step to step and is no tensor, so that a checkpoint holds it as JSON."""
Callback = Callable[[int, Seen], object]
"""Is told of a step by its number, from 1, and what it saw; a text that it gives is a reason to stop there."""


class OverflowedError(FloatingPointError):
    """No loss or gradient is finite any more; the trainer has the last good weights."""


class Trainer:
    """One training of a model's denoiser; the model is changed in place until `denoiser.restore()`."""

    def __init__(
        self, model: Family, sampled: Sampled, losses: Losses, options: Config, saved: Saved | None = None
    ) -> None:
        """Set up everything that a step needs, as before the first one or as a checkpoint has it.

        Args:
            model: the loaded model, as training starts from it.
            sampled: the latents and conditionings to train on.
            losses: one a concept.
            options: of the run.
            saved: a checkpoint of a training of the same model with the same options, to go on from.

        Raises:
            UsageError: the parameter group selects no weight, nothing can be learnt from what was sampled, or another
                version wrote the checkpoint.
        """
        if saved and (other := {"measured", *STATE} - set(saved.values) | {"soft_prompts"} & set(saved.tensors)):
            raise UsageError(
                f"--resume: another version began this run, with other or no {', '.join(sorted(other))}; start another"
            )
        # For adapters, the critic's weights and its samples; all else has a generator of its own.
        torch.manual_seed(options.seed)
        self.options, self.losses = options, losses
        self.denoiser = Denoiser(
            model, options.parameter_group, options.precision, options.rank, options.gradient_checkpointing
        )
        if options.start == "closed-form" and not saved:
            closed_form.start(self.denoiser, sampled)
        elif not saved:
            for name, weight in starting_weights(model, options).items():
                self.denoiser.trained[name].data.copy_(weight)
        path = model.path()
        self.noise = torch.Generator().manual_seed(4 * options.seed + 3)
        self.batches = batches(sampled, path, options, self.noise)
        self.scale = Scale(options.scale, path, unit_constant(sampled.origin_latents))
        self.measured = Measured(*saved.values["measured"]) if saved else Measured(self.scale.constant)
        if not saved and options.steps and (options.scale == "auto" or len(sampled.retain_latents)):
            self.measured = measured(self.scale, self.denoiser, losses, self.batches, options.batch_size)
        self.scale = Scale(options.scale, path, self.measured.scale)
        warm_up = 0 if saved else critic.WARM_UP
        self.critic = make_critic(losses, self.denoiser, self.scale, self.batches, warm_up)
        self.soft_prompts, self.closed_form, self.relearner = None, None, None
        if sampled.counterparts is not None and options.adversary_every:
            self.soft_prompts = SoftPrompts(self.denoiser, path, sampled, self.noise)
        if options.closed_form_every:
            self.closed_form = ClosedFormPrompts(self.denoiser, self.noise)
        if sampled.counterparts is not None and options.relearning_steps:
            self.relearner = Relearner(self.denoiser, path, sampled, self.noise, options.relearning_steps)
        self.optimizer = torch.optim.AdamW(self.denoiser.trained.values(), lr=options.learning_rate, weight_decay=0.0)
        self.step = 0
        self.rows: list[Row] = []
        """Of steps.jsonl."""
        self.seen: list[Seen] = []
        """Of the steps since the last of the rows."""
        self.skipped = 0
        """How many of the last steps, in a row, were not finite."""
        self.stopped = ""
        """Why it ended before its last step."""
        if saved:
            self._restore(saved)

    def train(
        self,
        store: Store | None = None,
        watch: Watch | None = None,
        callback: Callback | None = None,
    ) -> None:
        """Take all steps that are left.

        Args:
            store: gets the rows and the checkpoints.
            watch: measures the model after a step, or not, and may give a reason to stop.
            callback: is told of every step, and may give a reason to stop too.

        Raises:
            OverflowedError: `MOST_SKIPPED` steps in a row were skipped.
            Interrupted: by a signal, once the step was done and saved.
        """
        most = self.options.steps
        left = range(self.step + 1, 0 if self.stopped else most + 1)
        with between_steps() as signalled, tqdm(desc="erase", initial=self.step, total=most) as bar:
            for step in left:
                seen = self.take_step()
                said = callback(step, seen) if callback else None
                found = NOTHING
                if step < most:
                    self.stopped = said if isinstance(said, str) else ""
                    found = watch(step) if watch and not self.stopped else NOTHING
                    self.stopped = self.stopped or found.reason
                overflowed = self.skipped >= min(MOST_SKIPPED, most)
                interrupted = signalled()
                ends = interrupted or overflowed or bool(self.stopped) or step == most
                if step == 1 or step % LOG_EVERY == 0 or found.shares or self.stopped or step == most:
                    self._log(store, bar, found.shares)
                bar.update()
                if store and (ends or step % self.options.checkpoint_every == 0):
                    store.save(step, self.saved())
                if overflowed:
                    raise OverflowedError(overflow_message(step, self.skipped, seen, self.options.precision))
                if ends:
                    break

    def take_step(self) -> Seen:
        """Move the weights once, or skip the step where anything is not finite; returns what it saw."""
        if self.soft_prompts and self.step % self.options.adversary_every == 0:
            self.soft_prompts.learn()
        if self.closed_form and self.step % self.options.closed_form_every == 0:
            self.closed_form.solve()
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate * learning_rate_left(self.step, self.options)
        seen, gradients = self.backward(next(self.batches))
        if not seen.skipped:  # a gradient of zero would not do: the optimiser's momentum would still move the weights
            self.move(gradients)
        self.seen.append(seen)
        self.step += 1
        self.skipped = self.skipped + 1 if seen.skipped else 0
        return seen

    def backward(self, batch: Batch) -> tuple[Seen, Sequence[Tensor]]:
        """What a batch shows, and the gradient for each trained tensor: both are means over the processes."""
        erasing, retaining, weights = batch.erasing, batch.retaining, list(self.denoiser.trained.values())
        if self.soft_prompts:
            erasing = self.soft_prompts.over(erasing)
        if self.closed_form:
            erasing = self.closed_form.over(erasing)
        with self.relearner.relearnt() if self.relearner else nullcontext():
            gap = difference(self.denoiser, self.scale, erasing)
            s = squared_distance(gap)
            values, estimate = self._erasure_values(gap, s, erasing)
            values = values if erasing.weight is None else erasing.weight * values
            erase = erasure_loss(values, erasing.concept, self.losses)
            gradients: Sequence[Tensor] = torch.autograd.grad(erase, weights)
        retain = erase.new_zeros(())
        if len(retaining.noisy):
            drift = relative_drift(self.denoiser, self.scale.path, retaining, self.measured.error)
            retain = retain_loss(drift if retaining.weight is None else retaining.weight * drift)
            kept = torch.autograd.grad(self.options.retain_weight * self.measured.s * retain, weights)
            gradients = [one + other for one, other in zip(gradients, kept, strict=True)]
        gradients = processes.mean(gradients)
        norm = torch.nn.utils.get_total_norm(gradients)
        finite = s.isfinite().all() & erase.isfinite() & retain.isfinite() & norm.isfinite()
        scalars = (each.detach().to(s) for each in (erase, retain, estimate, norm, ~finite))
        return Seen(s.detach(), erasing.timesteps, erasing.concept, *scalars).gathered(), gradients

    def _erasure_values(self, gap: Tensor, s: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """D(s) of each row, or its bound by the critic, (n,), and the critic's estimate of D; nan without one."""
        if self.critic is not None:
            return self.critic.erasure_values(gap, context_of(batch))
        values = self.losses.divergence(s, batch.concept)
        assert values is not None
        return values, torch.tensor(math.nan)

    def move(self, gradients: Sequence[Tensor]) -> None:
        """Take the optimiser's step."""
        for parameter, gradient in zip(self.denoiser.trained.values(), gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()

    def _log(self, store: Store | None, bar: Any, shares: Mapping[str, float]) -> None:
        """Make a row of what was seen since the last one, and of what was measured now, if anything was."""
        row = log_row(self.step, self.seen, self.losses, self.scale, self.options.retain_weight > 0)
        row |= {"measured": shares} if shares else {}
        self.rows.append(row)
        self.seen.clear()
        if store:
            store.log(row)
        if "s" in row:
            shown = {"s": f"{row['s'][1]:.3g}", "retain": f"{row.get('retain', 0):.3g}"}
            last: dict[str, float] = next((each["measured"] for each in self.rows[::-1] if "measured" in each), {})
            bar.set_postfix(shown | {name: f"{value:.2f}" for name, value in last.items()})

    def saved(self) -> Saved:
        """All that changes from step to step, as copies or views."""
        values = {"measured": list(self.measured)} | {name: getattr(self, name) for name in STATE}
        tensors = _under("trained", self.denoiser.trained) | _under("optimizer", moments(self.optimizer))
        if self.critic is not None:
            tensors |= _under("critic", self.critic.critic.state_dict())
            tensors |= _under("critic_optimizer", moments(self.critic.optimizer))
        if self.soft_prompts and self.soft_prompts.blocks is not None:
            tensors |= _under("soft_prompts", dict(zip(NAMES, self.soft_prompts.blocks, strict=False)))
        if self.closed_form and self.closed_form.map is not None:
            tensors["closed_form"] = self.closed_form.map
        if self.relearner:
            tensors |= _under("relearner", self.relearner.saved())
        if self.seen:
            tensors |= _under("seen", Seen.stack(self.seen))
        tensors |= {"random/noise": self.noise.get_state(), "random/cpu": torch.get_rng_state()}
        device = self.denoiser.model.device
        if device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state(device)
        return Saved(values, tensors)

    @torch.no_grad()
    def _restore(self, saved: Saved) -> None:
        """Become what was saved, to the last bit."""
        values, tensors = saved
        for name in STATE:
            setattr(self, name, values[name])
        for name, tensor in _below("trained", tensors).items():
            self.denoiser.trained[name].copy_(tensor)
        load_moments(self.optimizer, _below("optimizer", tensors))
        if self.critic is not None:
            self.critic.critic.load_state_dict(_below("critic", tensors))
            load_moments(self.critic.optimizer, _below("critic_optimizer", tensors))
        device = self.denoiser.model.device
        if self.soft_prompts and (blocks := _below("soft_prompts", tensors)):
            self.soft_prompts.blocks = [blocks[name].to(device) for name in NAMES if name in blocks]
        if self.closed_form and "closed_form" in tensors:
            self.closed_form.map = tensors["closed_form"].to(device)
        if self.relearner:
            self.relearner.restore(_below("relearner", tensors))
        if seen := _below("seen", tensors):
            self.seen = Seen.unstack(seen, device)
        self.noise.set_state(tensors["random/noise"])
        torch.set_rng_state(tensors["random/cpu"])
        if device.type == "cuda" and "random/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random/cuda"], device)


def learning_rate_left(step: int, options: Config) -> float:
    """The share of the learning rate after so many steps: all of it, or falling from 1 to 0 (1608.03983)."""
    if options.schedule == "constant":
        return 1.0
    return (1 + math.cos(math.pi * step / options.steps)) / 2


def _under(prefix: str, tensors: dict[str, Any]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}/"): each for name, each in tensors.items() if name.startswith(f"{prefix}/")}
