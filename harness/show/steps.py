"""What a training step saw, and the rows of steps.jsonl and the sentences that are made of it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from harness.loss.objective import Losses
from harness.loss.scale import Scale
from harness.runs import processes

QUANTILES = (0.1, 0.5, 0.9)
INDISTINGUISHABLE = 0.05
DECADES = (-4, 3)
"""Of s, as far as the map of gradients goes; what lies outside is counted at its ends."""
BINS = 10
"""Parts of equal width that the noise schedule is cut into on the map of gradients."""
MEANS = ("erase", "retain", "estimate", "norm")
"""The fields of `Seen` that a row holds the mean of."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """What one step saw, on the device; scalars in fp32."""

    s: Tensor
    """Of each target sample, (n,)."""
    timesteps: Tensor
    """(n,)"""
    concept: Tensor
    """(n,)"""
    erase: Tensor
    """The erasure loss, a scalar."""
    retain: Tensor
    """The retention loss, a scalar; 0 where nothing is retained."""
    estimate: Tensor
    """The critic's estimate of D, a scalar; nan without one."""
    norm: Tensor
    """The gradient's, a scalar."""
    left_out: Tensor
    """Whether something was not finite, so that no weight moved: 1, else 0; a scalar."""

    @property
    def skipped(self) -> bool:
        """Whether the step was left out, which one process is enough for; waits for the device."""
        return bool(self.left_out)

    def gathered(self) -> "Seen":
        """What the processes saw of one step together, from what each did: all samples, and the scalars' means."""
        if processes.count() == 1:
            return self
        n = len(self.s)
        samples = torch.stack([self.s, self.timesteps.to(self.s), self.concept.to(self.s)], dim=1)
        scalars = torch.stack([self.erase, self.retain, self.estimate, self.norm, self.left_out])
        s, timesteps, concept = processes.gather(samples, n * processes.count()).unbind(1)
        means = processes.gather(scalars[None], processes.count()).mean(0)
        return Seen(s, timesteps.to(self.timesteps), concept.to(self.concept), *means)

    @staticmethod
    def stack(steps: "Sequence[Seen]") -> dict[str, Tensor]:
        """Each field of several steps as one tensor, (steps, n) or (steps,), by name."""
        return {field.name: torch.stack([getattr(seen, field.name) for seen in steps]) for field in fields(Seen)}

    @staticmethod
    def unstack(stacked: dict[str, Tensor], device: torch.device) -> "list[Seen]":
        """The steps that `stack` was given, on a device."""
        columns = {name: tensor.to(device).unbind() for name, tensor in stacked.items()}
        return [Seen(**dict(zip(columns, step, strict=True))) for step in zip(*columns.values(), strict=True)]


def bins(timesteps: Tensor, count: int) -> Tensor:
    """The bin, 0 to BINS - 1, of each of n time steps of 0 to count - 1, (n,)."""
    return timesteps * BINS // count


def log_row(step: int, every: Sequence[Seen], losses: Losses, scale: Scale, retains: bool) -> Row:
    """One row of steps.jsonl, of what was seen since the last; skipped steps are counted and otherwise left out.

    `divergence` is the mean of D(s), which `estimate`, a critic's, stays below but for sampling. `origin` says where
    the gradient came from: the shares of bins of the time step and decades of s, as [bin, decade, share]. The trainer
    adds `measured`, the metrics by short name, where it measured them.
    """
    taken = [seen for seen in every if not seen.skipped]
    row: Row = {"step": step, "skipped": len(every) - len(taken)}
    if not taken:
        return row
    stacked = {name: tensor.cpu() for name, tensor in Seen.stack(taken).items()}
    s, timesteps, concept = (stacked[name].flatten() for name in ("s", "timesteps", "concept"))
    s = s.double()
    scalars = torch.stack([stacked[name] for name in MEANS], dim=1).double()
    means = dict(zip(MEANS, scalars.mean(0).tolist(), strict=True))
    row |= {"s": _quantiles(s), "erase": means["erase"], "gradient_norm": means["norm"]}
    if retains:
        row["retain"] = means["retain"]
    if not math.isnan(means["estimate"]):
        row["estimate"] = means["estimate"]
    weight, divergence = losses.relative_weight(s, concept), losses.divergence(s, concept)
    if weight is not None and divergence is not None:
        row |= {"relative_weight": _quantiles(weight), "divergence": divergence.mean().item()}
        # the gradient of D(s) in the noise prediction has the length 2 w(s) sqrt(s) times sqrt(ds / d squared error)
        length = scale.precision(timesteps.to(scale.path.device)).sqrt().cpu()
        factor = torch.tensor(losses.weights, dtype=s.dtype)[concept]
        row["origin"] = _shares(factor * weight * s.sqrt() * length, bins(timesteps, scale.path.timesteps), s)
    return row


def _shares(pull: Tensor, rows: Tensor, s: Tensor) -> list[list[float]]:
    total = pull.sum().item()
    cells: dict[tuple[int, int], float] = {}
    for each, i, x in zip(pull.tolist(), rows.tolist(), s.tolist(), strict=True):
        if each > 0:
            place = (i, max(DECADES[0], min(DECADES[1], math.floor(math.log10(x)))))
            cells[place] = cells.get(place, 0.0) + each / total
    return [[*place, share] for place, share in sorted(cells.items())]


def _quantiles(values: Tensor) -> list[float]:
    return values.quantile(torch.tensor(QUANTILES, dtype=values.dtype)).tolist()


def regime_warning(rows: Iterable[Row], losses: Losses) -> str | None:
    """Say so when the quantiles of w(s)/w(0) never left 5 % of 1: then the loss was MSE under another name."""
    taken = [row for row in rows if "s" in row]
    ratios = [ratio for row in taken for ratio in row.get("relative_weight", ())]
    if not ratios or any(abs(ratio - 1) > INDISTINGUISHABLE for ratio in ratios):
        return None
    weights = [divergence.gaussian.gradient_weight_formula for divergence in losses.divergences]
    if all(weight is not None and weight.is_number for weight in weights):
        return f"{losses.spec} between Gaussians is MSE itself, by theorem"
    largest = max(row["s"][-1] for row in taken)
    return (
        f"s stayed below {largest:.2g} (90 % quantile), where {losses.spec} is within 5 % of MSE: "
        "the choice of divergence made no difference; --scale auto puts s where it does"
    )


def overflow_message(step: int, skipped: int, last: Seen, precision: str) -> str:
    """Why a run stopped after so many skipped steps; `last` is what the last one saw."""
    finite = last.s.double().cpu().nan_to_num(math.inf, math.inf)
    low, middle, high = finite.quantile(torch.tensor(QUANTILES).double(), interpolation="nearest")
    quantities = {"s": last.s, "erasure loss": last.erase, "retention loss": last.retain, "gradient": last.norm}
    wrong = [name for name, values in quantities.items() if not values.isfinite().all()]
    return (
        f"{skipped} steps in a row were not finite, up to step {step}: {', '.join(wrong)} in {precision}; s was "
        f"{low:.3g}, {middle:.3g}, {high:.3g} at its 10, 50 and 90 % quantiles, beyond what this divergence, or its "
        "critic, can hold; use --scale auto, a lower --learning-rate, or a divergence whose w(s) stays bounded"
        + ("" if precision == "fp32" else ", or --precision fp32")
    )
