"""An adversary in the prompts: blocks of vectors that make the model, as it is, denoise the target.

Added to the embeddings of prompts that do not name the target, they are learned as in textual inversion (2208.01618), a
few steps now and then, and the erasure is asked for under them too (AdvUnlearn, 2405.15234; Receler, 2311.17717).
"""

from dataclasses import replace

import torch
from torch import Generator, Tensor

from harness.attacking.denoising import denoising_error, noised, still
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
        self.blocks: Tensor | None = None
        """(blocks, tokens, width)"""

    def learn(self) -> None:
        """Search anew."""
        shape = (BLOCKS, *self.sampled.unconditional.prompt_embeds.shape[1:])
        blocks = START * torch.randn(shape, generator=self.generator)
        blocks = blocks.to(self.sampled.origin_latents.device).requires_grad_(True)
        optimizer = torch.optim.Adam([blocks], LEARNING_RATE)
        with still(self.denoiser.model):
            for _ in range(STEPS):
                self._step(blocks, optimizer)
        self.blocks = blocks.detach()

    def _step(self, blocks: Tensor, optimizer: torch.optim.Optimizer) -> None:
        count = len(self.sampled.origin_latents)
        rows = torch.randint(count, (PICTURES,), generator=self.generator)
        picked = noised(self.path, self.sampled.origin_latents[rows], self.generator)
        plain = self.sampled.target[rows + count]  # the second kind, which does not name the target
        moved = replace(plain, prompt_embeds=plain.prompt_embeds + blocks.repeat(PICTURES // BLOCKS, 1, 1))
        model, precision = self.denoiser.model, self.denoiser.precision
        error = denoising_error(model, self.path, picked, moved, precision).sum()
        (blocks.grad,) = torch.autograd.grad(error, [blocks])
        optimizer.step()

    def over(self, batch: Batch) -> Batch:
        """The batch with a block on each row that is the adversary's."""
        if self.blocks is None or batch.adversary is None:
            return batch
        # Every process draws for all rows, whatever it keeps of it.
        drawn = torch.randint(BLOCKS, (len(batch.trained) * processes.count(),), generator=self.generator)
        which = processes.share(drawn).to(self.blocks.device)
        moved = self.blocks[which] * batch.adversary.view(-1, 1, 1)
        return replace(batch, trained=replace(batch.trained, prompt_embeds=batch.trained.prompt_embeds + moved))
