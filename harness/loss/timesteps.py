"""Which time steps a step trains on, and what each counts for.

Drawing a time step more often where it matters more is importance sampling (Nichol and Dhariwal, 2102.09672,
section 3.3): each sample's loss is divided by how much more often it was drawn, so the expectation does not move.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from harness.config import UsageError
from harness.models.path import NoiseSchedule

BINS = 10
"""Parts of equal width that a schedule is cut into, where a quantity is kept by time step."""
WEIGHTINGS = ("constant", "min_snr")
MOST_SNR = 5.0
"""The clip of min-SNR weights that its authors recommend."""


def bins(timesteps: Tensor, count: int) -> Tensor:
    """The bin, 0 to BINS - 1, of each of n time steps of 0 to count - 1, (n,)."""
    return timesteps * BINS // count


@dataclass(frozen=True)
class TimestepSampler:
    """Time steps of a window of the schedule, never 0: there the reverse step has no variance, so no s.

    Raises:
        UsageError: no window, or no time step in it.
        ValueError: another weighting.
    """

    schedule: NoiseSchedule
    window: tuple[float, float]
    """Fractions of the schedule, the first inclusive, the second exclusive; (0, 1) is all of it."""
    weighting: str
    """What a sample's loss counts for: `constant`, 1; `min_snr`, min(SNR, 5) / SNR."""
    masses: Tensor | None = None
    """How much a time step of each bin matters, (BINS,), finite and not negative; None for all alike."""

    def __post_init__(self) -> None:
        """Refuse what nothing can be drawn from."""
        if self.weighting not in WEIGHTINGS:
            raise ValueError(f"time-step weighting {self.weighting!r}; choices: {', '.join(WEIGHTINGS)}")
        (low, high), count = self.window, self.schedule.timesteps
        if not (0 <= low < high <= 1 and self._inside.any()):  # NaN is refused too
            raise UsageError(
                f"--timestep-window {low} {high}: needed are fractions 0 <= LOW < HIGH <= 1 with a time step from 1 on "
                f"in LOW * {count} <= t < HIGH * {count}; at 0 the reverse step has no variance, so no s"
            )

    @cached_property
    def _inside(self) -> Tensor:
        """Which time steps can be drawn, (timesteps,)."""
        timesteps = torch.arange(self.schedule.timesteps)
        fractions = timesteps.double() / len(timesteps)  # not window * timesteps: 0.07 * 100 is above 7
        return (self.window[0] <= fractions) & (fractions < self.window[1]) & (timesteps > 0)

    @cached_property
    def frequencies(self) -> Tensor:
        """How often each time step is drawn, in units of the window's mean, (timesteps,) in fp64; from 1/2 in it."""
        inside = self._inside.double()
        if self.masses is None:
            return inside
        masses = self.masses.double().cpu()[bins(torch.arange(len(inside)), len(inside))] * inside
        if masses.sum() == 0:
            return inside
        return inside / 2 + masses / masses.sum() * inside.sum() / 2

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Time steps, (n,) int64, from a generator on the CPU, so that every device sees the same."""
        if self.masses is None:
            inside = self._inside.nonzero()
            return torch.randint(int(inside[0]), int(inside[-1]) + 1, (n,), generator=generator)
        return torch.multinomial(self.frequencies, n, replacement=True, generator=generator)

    def weights(self, timesteps: Tensor) -> Tensor:
        """What the losses of n drawn time steps count for, (n,) in fp32: their own weights over their frequencies.

        min-SNR is that of noise prediction (Hang et al., 2303.09556).
        """
        importance = (1 / self.frequencies).float().to(timesteps.device)[timesteps]
        if self.weighting == "constant":
            return importance
        alpha_bar = self.schedule.alpha_bar[timesteps]
        return importance * (MOST_SNR * (1 - alpha_bar) / alpha_bar).clamp(max=1).float()
