"""How well a concept is erased, and how little else: pictures judged by a classifier, with intervals.

After UnlearnCanvas (Zhang et al., 2402.11846). With the target c on an axis, say the shapes, and x(p) the picture of
prompt p:

    unlearning_accuracy         UA  = 1 - mean over prompts with c of        [judged shape of x(p) = c]
    in_domain_retain_accuracy   IRA = mean over prompts with other shapes of [judged shape of x(p) = the named shape]
    cross_domain_retain_accuracy CRA = mean over all these prompts of        [judged colour, style = the named ones]
    kernel_inception_distance   KID = unbiased MMD^2 (Gretton et al. 2012, lemma 6) of the judge's d features, kernel
                                      (x.y / d + 1)^3 (Binkowski et al., 1801.01401), between the retained pictures
                                      and the original model's under other seeds; about 0 for an equal model

The accuracies carry Wilson's 95 % interval over pictures (for CRA, an average of two answers a picture, it is wider
than need be); KID carries the 95 % range of half samples, whose spread is the full sample's (Politis et al. 1999).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from scipy.stats import binomtest
from torch import Tensor
from torchmetrics.image.kid import poly_kernel

from harness.concepts import Concepts, Vocabulary
from harness.config import Config
from harness.latents import sample
from harness.miniature import judge as judging
from harness.models import Conditioning, Family

METRICS = (
    "unlearning_accuracy",
    "in_domain_retain_accuracy",
    "cross_domain_retain_accuracy",
    "kernel_inception_distance",
)
TARGET_SEEDS = 2
GENERAL_RETAINED = 16
SEED = 10_000
REFERENCE_SEED = 20_000


@dataclass(frozen=True)
class Panel:
    """The prompts that before, after and oracle pictures are made from, the target's first."""

    prompts: tuple[str, ...]
    named: tuple[str, ...]
    """The value of the target's axis that a prompt names; without a vocabulary the target, or `retained`."""
    labels: Tensor | None
    """Named value indices, (prompts, axes); None for a model without a vocabulary."""
    targets: int
    """How many prompts name the target."""


def panel(concepts: Concepts, vocabulary: Vocabulary | None) -> Panel:
    """Every combination of the other axes with the target (two pictures each) and with each retained value."""
    if vocabulary is None or concepts.axis is None:
        kept = concepts.retain_prompts[:GENERAL_RETAINED]
        targets = len(concepts.target_prompts)
        names = (concepts.target,) * targets + ("retained",) * len(kept)
        return Panel((*concepts.target_prompts, *kept), names, None, targets)
    others = [value for value in vocabulary.axes[concepts.axis] if value != concepts.target]
    prompts: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    labels = []
    for value in [concepts.target] * TARGET_SEEDS + others:
        captions = vocabulary.captions(vocabulary.templates[0], {concepts.axis: value})
        prompts += tuple(captions)
        named += (value,) * len(captions)
        labels.append(torch.tensor(vocabulary.combinations({concepts.axis: value})))
    return Panel(prompts, named, torch.cat(labels), TARGET_SEEDS * len(labels[0]))


@dataclass(frozen=True)
class Reference:
    """What an erased model is held against: the original's pictures, and their judged quality."""

    pictures: Tensor
    judge: judging.Judge | None
    axis: int
    features: Tensor | None


def reference(
    model: Family,
    folder: Path | None,
    shown: Panel,
    axis: int,
    embeddings: dict[str, Conditioning],
    config: Config,
) -> Reference:
    """Sample the original model, and where its folder holds a judge its features under other seeds."""
    pictures = sample(model, shown.prompts, embeddings, config, SEED, "pt", "pictures before")
    if shown.labels is None or folder is None or not (folder / "judge" / judging.FILE).is_file():
        return Reference(pictures, None, axis, None)
    judge = judging.load(folder / "judge")
    retained = shown.prompts[shown.targets :]
    others = sample(model, retained, embeddings, config, REFERENCE_SEED, "pt", "pictures for KID")
    return Reference(pictures, judge, axis, judge.features(others))


def judged(pictures: Tensor, shown: Panel, held: Reference) -> dict[str, tuple[float, tuple[float, float]]]:
    """Each metric's value and 95 % interval for a panel's pictures (n, 3, H, W); empty without a judge."""
    if held.judge is None or held.features is None or shown.labels is None:
        return {}
    right = (held.judge.values(pictures) == shown.labels).float()
    others = [axis for axis in range(right.shape[1]) if axis != held.axis]
    scores = {
        METRICS[0]: 1 - right[: shown.targets, held.axis],
        METRICS[1]: right[shown.targets :, held.axis],
        METRICS[2]: right[:, others].mean(1),
    }
    result = {name: (score.mean().item(), _wilson(score)) for name, score in scores.items()}
    result[METRICS[3]] = _kernel_distance(held.judge.features(pictures[shown.targets :]), held.features)
    return result


def compare(
    erased: Tensor, oracle: Tensor | None, shown: Panel, held: Reference
) -> dict[str, dict[str, float | list[float] | None]]:
    """The content of metrics.json: per metric the value of three models, and the erased one's interval."""
    columns = {"erased": erased, "original": held.pictures, "oracle": oracle}
    values = {name: {} if pictures is None else judged(pictures, shown, held) for name, pictures in columns.items()}
    table: dict[str, dict[str, float | list[float] | None]] = {}
    for metric in METRICS:
        if metric in values["erased"]:
            table[metric] = {name: value[metric][0] if metric in value else None for name, value in values.items()}
            table[metric]["interval"] = list(values["erased"][metric][1])
    return table


def oracle_unet(folder: Path | None, target: str) -> UNet2DConditionModel | None:
    """The UNet retrained without the target, where the model's folder holds one."""
    if folder is None or target not in {path.name for path in (folder / "oracle").glob("*")}:
        return None
    return UNet2DConditionModel.from_pretrained(folder / "oracle" / target).float().eval()


def _wilson(score: Tensor) -> tuple[float, float]:
    interval = binomtest(round(score.sum().item()), len(score)).proportion_ci(0.95, method="wilson")
    return interval.low, interval.high


def _kernel_distance(features: Tensor, original: Tensor) -> tuple[float, tuple[float, float]]:
    kernel = poly_kernel(features, features) + poly_kernel(original, original)
    cross = poly_kernel(features, original)
    # Both sets hold one picture a prompt. Pairs of one prompt are left out across the sets as within them: with them,
    # as in the estimator for independent samples, two equal models would seem closer than equal.
    pairs = (kernel - cross - cross.T).double().fill_diagonal_(0)

    def mean(rows: Tensor) -> float:
        return pairs[rows][:, rows].sum().item() / (len(rows) * (len(rows) - 1))

    value = mean(torch.arange(len(pairs)))
    generator = torch.Generator().manual_seed(0)
    halves = [mean(torch.randperm(len(pairs), generator=generator)[: len(pairs) // 2]) for _ in range(400)]
    spread = torch.tensor(halves, dtype=torch.float64) - sum(halves) / len(halves)
    low, high = spread.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return value, (value + low, value + high)
