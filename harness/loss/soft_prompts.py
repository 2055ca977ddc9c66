"""An adversary in the prompts: blocks of vectors that make the model, as it is, denoise the target.

Added to the embeddings of prompts that do not name the target, and to their pooled vectors where the family has those,
they are learned as in textual inversion (2208.01618), a few steps now and then, and the erasure is asked for under them
too (AdvUnlearn, 2405.15234; Receler, 2311.17717).
"""

from dataclasses import replace

import torch
from torch import Generator, Tensor

from harness.attacking.denoising import denoising_error, noised, still
from harness.attacking.embeddings import movable, moved
from harness.data.batches import Batch
from harness.data.latents import Sampled
from harness.models.denoiser import Denoiser
from harness.models.path import GaussianPath
from harness.runs import processes

BLOCKS = 4
STEPS = 20
PICTURES = 8
"""A step, of which each block gets the same number."""
LEARNING_RATE = 0.1
START = 0.1
"""Standard deviation that blocks begin with, so that they part."""


class SoftPrompts:
    """The blocks as they were last learned."""

    def __init__(self, denoiser: Denoiser, path: GaussianPath, sampled: Sampled, generator: Generator) -> None:
        """Begin without any; `generator` draws all that is random."""
        self.denoiser, self.path, self.sampled, self.generator = denoiser, path, sampled, generator
        self.blocks: list[Tensor] | None = None
        """(blocks, tokens, width), and (blocks, width) where the family has a pooled vector"""

    def learn(self) -> None:
        """Search anew."""
        shapes = [(BLOCKS, *each.shape[1:]) for each in movable(self.sampled.unconditional)]
        starts = [START * torch.randn(shape, generator=self.generator) for shape in shapes]
        blocks = [start.to(self.sampled.origin_latents.device).requires_grad_(True) for start in starts]
        optimizer = torch.optim.Adam(blocks, LEARNING_RATE)
        with still(self.denoiser.model):
            for _ in range(STEPS):
                self._step(blocks, optimizer)
        self.blocks = [each.detach() for each in blocks]

    def _step(self, blocks: list[Tensor], optimizer: torch.optim.Optimizer) -> None:
        count = len(self.sampled.origin_latents)
        rows = torch.randint(count, (PICTURES,), generator=self.generator)
        picked = noised(self.path, self.sampled.origin_latents[rows], self.generator)
        plain = self.sampled.target[rows + count]  # the second kind, which does not name the target
        under = moved(plain, [torch.cat([each] * (PICTURES // BLOCKS)) for each in blocks])
        model, precision = self.denoiser.model, self.denoiser.precision
        error = denoising_error(model, self.path, picked, under, precision).sum()
        for each, gradient in zip(blocks, torch.autograd.grad(error, blocks), strict=True):
            each.grad = gradient
        optimizer.step()

    def over(self, batch: Batch) -> Batch:
        """The batch with a block on each row that is the adversary's."""
        if self.blocks is None or batch.adversary is None:
            return batch
        # Every process draws for all rows, whatever it keeps of it.
        drawn = torch.randint(BLOCKS, (len(batch.trained) * processes.count(),), generator=self.generator)
        which = processes.share(drawn).to(batch.adversary.device)
        rows = [each[which] for each in self.blocks]
        added = [each * batch.adversary.view(-1, *(1,) * (each.ndim - 1)) for each in rows]
        return replace(batch, trained=moved(batch.trained, added))
