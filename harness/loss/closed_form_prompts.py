"""An adversary in closed form: prompts that the keys and values, as they are, read as the original's read the target.

For a token's embedding e of a prompt that names the target it is the c of width d with the least

    sum over the matrices W of keys and values |W c - W_0 e|^2 + ridge |c|^2,

which is c = (sum W^T W + ridge I)^-1 (sum W^T W_0) e (RECE, 2407.12383). The erasure is asked for under it
too. It takes one matrix of d x d and no forward pass.
"""

from dataclasses import replace

import torch
from torch import Generator, Tensor

from harness.data.batches import Batch
from harness.models.denoiser import Denoiser
from harness.runs import processes

RIDGE = 0.1


class ClosedFormPrompts:
    """The map from what names the target to what is read as it, as it was last solved for."""

    def __init__(self, denoiser: Denoiser, generator: Generator) -> None:
        """Begin without any; `generator` draws all that is random."""
        self.denoiser, self.generator = denoiser, generator
        self.map: Tensor | None = None
        """(width, width), from a row of embeddings to one."""

    @torch.no_grad()
    def solve(self) -> None:
        """Solve for the weights as they are."""
        trained, frozen = self.denoiser.trained, self.denoiser.frozen
        now = torch.cat([*trained.values()]).double()
        before = torch.cat([frozen[name] for name in trained]).double()
        ridge = RIDGE * torch.eye(now.shape[1], dtype=now.dtype, device=now.device)
        self.map = torch.linalg.solve(now.T @ now + ridge, now.T @ before).T.float()

    def over(self, batch: Batch) -> Batch:
        """The batch with such a prompt on half of the adversary's rows; where none is an adversary's, of all rows."""
        if self.map is None or batch.named is None:
            return batch
        drawn = torch.rand(len(batch.trained) * processes.count(), generator=self.generator) < 0.5
        ours = processes.share(drawn).to(self.map.device)
        ours = ours if batch.adversary is None else ours & batch.adversary
        found = batch.named.prompt_embeds @ self.map
        told = torch.where(ours.view(-1, 1, 1), found, batch.trained.prompt_embeds)
        return replace(batch, trained=replace(batch.trained, prompt_embeds=told))
