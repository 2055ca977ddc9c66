"""What an erased model is held against: the original's pictures, the oracle's, and the judge's view of the original."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import ModelMixin
from torch import Tensor

from harness.config import UsageError
from harness.data.inception import Inception
from harness.judging.intervals.measure import share, weighted
from harness.judging.judge import Choice, Judge
from harness.judging.panel import SEED, Panel
from harness.models.edits import Edit
from harness.models.family import Family
from harness.models.layouts.narrow import store_alike
from harness.runs import processes

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
    inception: Inception | None = None
    """With the user's weights, for KID."""


def sample_references(
    choice: Choice | None, model: Family, panel: Panel, draw: Draw, oracle: Edit | None
) -> References:
    """Sample the original model, and the oracle if there is one; the judge is read before, and asked after the first.

    Args:
        choice: the judge; None for none.
        model: on whose device the judge is to be.
        panel: whose prompts are sampled.
        draw: samples the model's pipeline.
        oracle: puts the oracle in the model's place; None for no oracle.

    Raises:
        UsageError: a judge that cannot be read, or one that was named and cannot tell the target from what is kept.
    """
    judge = choice.load(model.device) if choice is not None and panel.labelled else None
    original = draw(panel.prompts, SEED, "pictures before")
    features = None
    if judge is not None and choice is not None:
        if choice.named:
            processes.on_main(lambda: check_tells(str(choice), judge, panel, original))
        features = judge.features(original[panel.retained :])
    if oracle is None:
        return References(original, None, judge, features)
    with oracle():
        return References(original, draw(panel.prompts, SEED, "pictures of the oracle"), judge, features)


def check_tells(said: str, judge: Judge, panel: Panel, original: Tensor) -> None:
    """UsageError for a judge that cannot tell a target from what is kept on the original's own pictures of them.

    Its accuracy is the mean of two shares, of pictures of the target that it takes for the target and of pictures of
    what is kept on the same axis that it does not; whoever answers at random, or always the same, has a half. It is
    too low where it is not above that by the 95 % interval, or where most pictures of the target are not taken for it.

    Args:
        said: what the error begins with.
        judge: is asked.
        panel: the prompts of the pictures.
        original: the original model's pictures (prompts, 3, H, W) in [0, 1].
    """
    values = judge.values(original)
    for target in dict.fromkeys(panel.named[: panel.targets]):
        axis = next(axis for axis, value in panel.rows[panel.named.index(target)].labels.items() if value == target)
        asked = [i for i, row in enumerate(panel.rows[: panel.targets]) if row.labels[axis] == target]
        kept = range(panel.retained, len(panel.rows))
        seen = share([values[axis][i] == target for i in asked], [panel.numbers[i] for i in asked])
        spared = share([values[axis][i] != target for i in kept], [panel.numbers[i] for i in kept])
        assert seen is not None
        assert spared is not None
        accuracy = weighted([(0.5, seen), (0.5, spared)])
        if accuracy.interval[0] <= 0.5 or seen.value <= 0.5:
            raise UsageError(
                f"{said}: cannot tell {target!r} from what is kept on the original's own pictures: it sees it in "
                f"{seen.value:.0%} of {len(asked)} pictures of it, and in {1 - spared.value:.0%} of {len(kept)} others "
                f"(accuracy {accuracy.value:.2f}, at random .50); choose another judge, other --judge-words, or check "
                "that the model can draw it"
            )


def load_oracle(model: Family, folder: Path | None, concept: str) -> ModelMixin | None:
    """The denoiser retrained without a concept, on the model's device, stored and laid out as the model's own is.

    None where the folder holds none.
    """
    if folder is None or concept not in {path.name for path in (folder / ORACLES).glob("*")}:
        return None
    network = type(model.network).from_pretrained(folder / ORACLES / concept).float().eval()
    store_alike(network, model.network)
    return network.to(model.device, memory_format=torch.channels_last)
