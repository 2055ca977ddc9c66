"""An adversary in the weights: somebody who fine-tunes the model on a few pictures of the target while it is erased.

The erasure is asked for where a simulated fine-tuning has brought the weights, so that the same fine-tuning brings back
less (TAR, 2408.00761, with the first-order gradient of 1803.02999: the displacement is taken for a constant). The
fine-tuning takes one step for each of the erasure's, and begins anew, with other pictures, after so many.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Generator, Tensor
from torch.nn import Parameter

from harness.attacking.denoising import denoising_error, noised
from harness.data.latents import Sampled
from harness.models.denoiser import Denoiser
from harness.models.path import GaussianPath
from harness.runs.checkpoint import load_moments, moments

SHOTS = 4
LEARNING_RATE = 2e-4
"""AdamW's; with half of it what was forgotten came back in twice the steps."""


class Relearner:
    """The fine-tuning, as far as it has come."""

    def __init__(
        self, denoiser: Denoiser, path: GaussianPath, sampled: Sampled, generator: Generator, episode: int
    ) -> None:
        """Begin.

        Args:
            denoiser: whose trained weights are moved, and put back.
            path: that noise is put along.
            sampled: whose origin is the target.
            generator: draws all that is random.
            episode: steps before it begins anew.
        """
        self.denoiser, self.path, self.sampled, self.generator = denoiser, path, sampled, generator
        self.episode, self.taken = episode, 0
        self.there = [torch.empty_like(each) for each in denoiser.trained.values()]
        """Where the fine-tuning's weights stand, laid out as the erased model's, of which none is copied."""
        self._begin()

    def _begin(self) -> None:
        self.taken = 0
        self.shots = torch.randperm(len(self.sampled.origin_latents), generator=self.generator)[:SHOTS]
        self.moved = {name: torch.zeros_like(each) for name, each in self.denoiser.trained.items()}
        """How far from the erased model's each weight is."""
        self.optimizer = torch.optim.AdamW(self.moved.values(), lr=LEARNING_RATE, weight_decay=0.0)

    @contextmanager
    def relearnt(self) -> Iterator[None]:
        """Within this, the weights are where one step more of fine-tuning brings them; after it, where they were."""
        if self.taken == self.episode:
            self._begin()
        weights = list(self.denoiser.trained.values())
        own = [weight.data for weight in weights]
        try:
            self._move(weights, own)
            gradients = torch.autograd.grad(self._error(), weights)
            if torch.nn.utils.get_total_norm(gradients).isfinite():  # a step of anything else would stay for good
                for moved, gradient in zip(self.moved.values(), gradients, strict=True):
                    moved.grad = gradient
                self.optimizer.step()
            self.taken += 1
            self._move(weights, own)
            yield
        finally:
            _put(weights, own)

    @torch.no_grad()
    def _move(self, weights: Sequence[Parameter], own: Sequence[Tensor]) -> None:
        for one, moved, there in zip(own, self.moved.values(), self.there, strict=True):
            torch.add(one, moved, out=there)
        _put(weights, self.there)

    def _error(self) -> Tensor:
        picked = noised(self.path, self.sampled.origin_latents[self.shots], self.generator)
        named, model = self.sampled.target[self.shots], self.denoiser.model  # the first kind names the target
        return denoising_error(model, self.path, picked, named, self.denoiser.precision).mean()

    def saved(self) -> dict[str, Tensor]:
        """All that changes from step to step."""
        moved = {f"moved/{name}": each.detach() for name, each in self.moved.items()}
        rest = {"shots": self.shots, "taken": torch.tensor(self.taken)}
        return moved | {f"moments/{name}": each for name, each in moments(self.optimizer).items()} | rest

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Become what was saved."""
        self.taken, self.shots = int(tensors["taken"]), tensors["shots"]
        for name, each in self.moved.items():
            each.copy_(tensors[f"moved/{name}"])
        kept = {name: each for name, each in tensors.items() if name.startswith("moments/")}
        load_moments(self.optimizer, {name.removeprefix("moments/"): each for name, each in kept.items()})


def _put(weights: Sequence[Parameter], values: Sequence[Tensor]) -> None:
    """Have weights hold these tensors themselves, not copies of what is in them."""
    for weight, value in zip(weights, values, strict=True):
        weight.data = value
