"""A start in closed form: keys and values that read the target's prompts as the anchor's (UCE, 2308.14761).

Each matrix W of cross-attention's keys and values becomes the minimiser of

    sum over target tokens |W e - W_0 a|^2 + sum over retained tokens |W p - W_0 p|^2 + ridge |W - W_0|^2,

with e, a and p the embeddings of tokens at the same place of the target's, the anchor's and the retained prompts:

    W = W_0 (sum a e^T + sum p p^T + ridge I) (sum e e^T + sum p p^T + ridge I)^-1.
"""

import torch
from torch import Tensor

from harness.data.latents import Sampled
from harness.models.denoiser import Denoiser

RIDGE = 0.1


def start(denoiser: Denoiser, sampled: Sampled) -> None:
    """Move the keys and values there, in place; a denoiser whose adapters train has none that could be moved."""
    keys_and_values = denoiser.model.parameter_groups["cross-attention-kv"]
    n, m = len(sampled.origin_latents), len(sampled.retain_latents)
    told = (sampled.target[:n], sampled.anchor, sampled.retain[:m])  # the first kind is their own prompts
    target, anchor, kept = (rows.prompt_embeds.flatten(0, 1).double() for rows in told)
    for name, weight in denoiser.trained.items():
        if keys_and_values.search(name) and name.endswith(".weight"):
            weight.data.copy_(moved_weight(weight.detach().double(), target, anchor, kept))


def moved_weight(weight: Tensor, target: Tensor, anchor: Tensor, kept: Tensor) -> Tensor:
    """The minimiser, shaped like `weight` (out, width), from tokens (n, width), (n, width) and (m, width)."""
    ridge = RIDGE * torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
    held = kept.T @ kept + ridge
    return torch.linalg.solve(target.T @ target + held, weight @ (anchor.T @ target + held), left=False)
