"""How well a concept is erased, and how little else: pictures judged by a classifier, with intervals.

After UnlearnCanvas (Zhang et al., 2402.11846). With the target c on an axis, say the shapes, and x(p) the picture of
prompt p:

    unlearning_accuracy         UA  = 1 - mean over prompts with c of        [judged shape of x(p) = c]
    in_domain_retain_accuracy   IRA = mean over prompts with other shapes of [judged shape of x(p) = the named shape]
    cross_domain_retain_accuracy CRA = mean over all these prompts of        [judged colour, style = the named ones]
    kernel_inception_distance   KID = unbiased MMD^2 (Gretton et al. 2012, lemma 6) of the judge's d features, kernel
                                      (x.y / d + 1)^3 (Binkowski et al., 1801.01401), between the retained pictures
                                      and the original model's under other seeds; about 0 for an equal model

Where several concepts are erased, UA is the mean over their prompts; a retained prompt names none of them, counts for
IRA on every axis that has lost a value, and for CRA on the others.

The accuracies carry Wilson's 95 % interval over pictures (for CRA, an average of two answers a picture, it is wider
than need be); KID carries the 95 % range of half samples, whose spread is the full sample's (Politis et al. 1999).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors import SafetensorError
from scipy.stats import binomtest
from torch import Tensor
from torchmetrics.image.kid import poly_kernel

from harness.config import Config, UsageError
from harness.data.latents import sample
from harness.miniature import judge as judging
from harness.models.family import Conditioning, Family
from harness.prompts.concepts import Concepts
from harness.prompts.vocabulary import Vocabulary

METRICS = (
    "unlearning_accuracy",
    "in_domain_retain_accuracy",
    "cross_domain_retain_accuracy",
    "kernel_inception_distance",
)
TARGET_SEEDS = 2
GENERAL_RETAINED = 16
FEWEST = 4
"""Retained pictures for a kernel distance: its interval is that of half samples, which need two."""
SEED = 10_000
REFERENCE_SEED = 20_000


@dataclass(frozen=True)
class Panel:
    """The prompts that before, after and oracle pictures are made from: targets', then earlier ones', then retained."""

    prompts: tuple[str, ...]
    named: tuple[str, ...]
    """The erased concept that a prompt names, or the value it keeps; `retained` for a model without a vocabulary."""
    targets: int
    """How many prompts name a target."""
    earlier: int = 0
    """How many name one that was erased by an earlier run."""
    labels: Tensor | None = None
    """Named value indices, (prompts, axes); None for a model without a vocabulary."""
    own: Tensor | None = None
    """On which axes the erasure is judged, (prompts, axes): the named target's, or all that have lost a value."""

    @property
    def retained(self) -> int:
        """Where the retained prompts begin."""
        return self.targets + self.earlier

    def every(self, stride: int) -> "tuple[list[int], Panel]":
        """Every so many of the targets' and of the retained prompts: their places, and the panel of these alone."""
        targets = range(0, self.targets, stride)
        rows = [*targets, *range(self.retained, len(self.prompts), stride)]
        prompts, named = (tuple(column[i] for i in rows) for column in (self.prompts, self.named))
        labels, own = (None if column is None else column[rows] for column in (self.labels, self.own))
        return rows, Panel(prompts, named, len(targets), 0, labels, own)


def panel(concepts: Concepts, vocabulary: Vocabulary | None) -> Panel:
    """Every combination of the other axes with each target (two pictures each) and with each retained value."""
    if vocabulary is None:
        kept = concepts.retain_prompts[:GENERAL_RETAINED]
        pairs = [(prompt, concept.target) for concept in concepts.erased for prompt in concept.target_prompts]
        if len(concepts.erased) > 1:  # one prompt of each is enough to look at
            pairs = [(concept.target_prompts[0], concept.target) for concept in concepts.erased]
        targets = len(pairs)
        pairs += [(target, target) for target in concepts.earlier]
        pairs += [(prompt, "retained") for prompt in kept]
        shown, names = zip(*pairs, strict=True)
        return Panel(shown, names, targets, len(concepts.earlier))
    current = [concept.target for concept in concepts.erased]
    gone = [*current, *concepts.earlier]
    lost = {vocabulary.axis_of(name) for name in gone}
    first = vocabulary.axis_of(current[0])
    rest = vocabulary.without(gone)
    counts = [TARGET_SEEDS * len(current), TARGET_SEEDS * len(concepts.earlier), len(rest[first])]
    groups = [(name, {vocabulary.axis_of(name)}) for name in gone for _ in range(TARGET_SEEDS)]
    groups += [(value, lost) for value in rest[first]]
    prompts: list[str] = []
    named: list[str] = []
    labels: list[tuple[int, ...]] = []
    own: list[list[bool]] = []
    sizes: list[int] = []
    for value, judged_on in groups:
        allowed = rest | {vocabulary.axis_of(value): [value]}
        captions = vocabulary.captions(vocabulary.templates[0], allowed)
        prompts += captions
        named += [value] * len(captions)
        sizes.append(len(captions))
        labels += vocabulary.combinations(allowed)
        own += [[axis in judged_on for axis in vocabulary.axes]] * len(captions)
    targets = sum(sizes[: counts[0]])
    earlier = sum(sizes[counts[0] : counts[0] + counts[1]])
    return Panel(tuple(prompts), tuple(named), targets, earlier, torch.tensor(labels), torch.tensor(own))


@dataclass(frozen=True)
class Reference:
    """What an erased model is held against: the original's pictures, and their judged quality."""

    pictures: Tensor
    judge: judging.Judge | None
    features: Tensor | None


def find_judge(folder: Path | None) -> judging.Judge | None:
    """The classifier that the model's folder holds, if any."""
    if folder is None or not (folder / "judge" / judging.FILE).is_file():
        return None
    try:
        return judging.load(folder / "judge")
    except (RuntimeError, SafetensorError) as error:
        raise UsageError(f"--model: {folder / 'judge'} cannot be read: {' '.join(str(error).split())}") from error


def reference(
    model: Family, folder: Path | None, shown: Panel, embeddings: dict[str, Conditioning], config: Config
) -> Reference:
    """Sample the original model, and where its folder holds a judge its features under other seeds."""
    pictures = sample(model, shown.prompts, embeddings, config, SEED, "pt", "pictures before")
    judge = find_judge(folder)
    if shown.labels is None or judge is None:
        return Reference(pictures, None, None)
    others = sample(
        model, shown.prompts[shown.retained :], embeddings, config, REFERENCE_SEED, "pt", "pictures for KID"
    )
    return Reference(pictures, judge, judge.features(others))


def scores(pictures: Tensor, shown: Panel, judge: judging.Judge) -> dict[str, Tensor]:
    """Each accuracy's answers, in [0, 1] and of any number, for a panel's pictures (n, 3, H, W)."""
    assert shown.labels is not None
    assert shown.own is not None
    right, own = (judge.values(pictures) == shown.labels).float(), shown.own
    other = (~own).sum(1)
    answers = {
        METRICS[0]: 1 - right[: shown.targets][own[: shown.targets]],
        METRICS[1]: right[shown.retained :][own[shown.retained :]],
        METRICS[2]: ((right * ~own).sum(1) / other)[other > 0],
    }
    return {name: score for name, score in answers.items() if len(score)}


def judged(pictures: Tensor, shown: Panel, held: Reference) -> dict[str, tuple[float, tuple[float, float]]]:
    """Each metric's value and 95 % interval for a panel's pictures (n, 3, H, W); empty without a judge."""
    if held.judge is None or held.features is None or shown.labels is None:
        return {}
    answers = scores(pictures, shown, held.judge)
    result = {name: (score.mean().item(), _wilson(score)) for name, score in answers.items()}
    if len(held.features) >= FEWEST:
        result[METRICS[3]] = _kernel_distance(held.judge.features(pictures[shown.retained :]), held.features)
    return result


def accuracy_by_target(pictures: Tensor, shown: Panel, held: Reference) -> dict[str, float]:
    """UA of each erased concept, earlier ones included, for a panel's pictures (n, 3, H, W); empty without a judge."""
    if held.judge is None or shown.labels is None or shown.own is None:
        return {}
    erased = 1 - (held.judge.values(pictures) == shown.labels).float()[: shown.retained]
    erased = erased[shown.own[: shown.retained]]
    names = shown.named[: shown.retained]
    return {
        name: erased[[i for i, each in enumerate(names) if each == name]].mean().item() for name in dict.fromkeys(names)
    }


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
