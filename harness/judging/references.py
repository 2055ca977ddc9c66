"""What an erased model is held against: the original's pictures, the oracle's, and the judge's view of the original."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffusers import ModelMixin
from torch import Tensor

from harness.judging.judge import Judge, find
from harness.judging.panel import SEED, Panel
from harness.models.edits import Edit
from harness.models.family import Family

ORACLES = "oracle"
"""The folder of a model that holds, by concept, its denoiser retrained without that."""
Draw = Callable[[Sequence[str], int, str], Tensor]
"""Pictures (n, 3, H, W) in [0, 1] of n prompts by the pipeline as it is, from a seed, under a progress bar's name."""


@dataclass(frozen=True)
class References:
    """The same for every run on one concept."""

    original: Tensor
    """Pictures of the panel's prompts by the original model."""
    oracle: Tensor | None
    """The same by the model that never knew the target, where there is one."""
    judge: Judge | None
    features: Tensor | None
    """The judge's of the original model's retained pictures; None where nothing can be judged."""


def sample_references(folder: Path | None, panel: Panel, draw: Draw, oracle: Edit | None) -> References:
    """Sample the original model, and the oracle if the model's folder holds it.

    Args:
        folder: the model's, which may hold a judge and oracles; None for a hub id.
        panel: whose prompts are sampled.
        draw: samples the model's pipeline.
        oracle: puts the oracle in the model's place; None for no oracle.
    """
    original = draw(panel.prompts, SEED, "pictures before")
    judge = find(folder) if panel.labelled else None
    features = None
    if judge is not None:
        features = judge.features(original[panel.retained :])
    if oracle is None:
        return References(original, None, judge, features)
    with oracle():
        return References(original, draw(panel.prompts, SEED, "pictures of the oracle"), judge, features)


def load_oracle(model: Family, folder: Path | None, concept: str) -> ModelMixin | None:
    """The denoiser retrained without a concept, on the model's device; None where the folder holds none."""
    if folder is None or concept not in {path.name for path in (folder / ORACLES).glob("*")}:
        return None
    return type(model.network).from_pretrained(folder / ORACLES / concept).float().eval().to(model.device)
