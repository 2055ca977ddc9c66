"""The tests of forgetting on a model that is loaded: metrics, attacks, both gaps and a verdict, as metrics.json."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from harness.data.latents import encode, nearest
from harness.judging.attack import Attack, Attacked, spread
from harness.judging.comparison import as_rows, compare, retained_by_value
from harness.judging.gaps import collateral_gap, forgetting_gap, verdict
from harness.judging.intervals.measure import Measure
from harness.judging.intervals.shift import Shift, shift
from harness.judging.references import References
from harness.judging.result import Outcome, Point, merged, pooled
from harness.models.denoiser import forwards
from harness.models.edits import Edit
from harness.models.load import short_enough
from harness.prepare import Prepared
from harness.prompts.ladder import Ladder, general_ladder, ladder
from harness.prompts.words import Words
from harness.runs import processes, progress
from harness.runs.progress import Phase
from harness.show.page import Seen

GENERAL = ("superclass", "empty")
"""Kinds of prompts whose pictures' distribution is held against the oracle's."""

Ran = tuple[dict[str, Outcome], dict[str, float]]
"""By concept what an attack comes to, and what it cost."""


@dataclass(frozen=True)
class Asked:
    """Which attacks, how large, and with what prompts."""

    attacks: Sequence[Attack] = ()
    pictures: int = 48
    """That an attack works with for each concept."""
    seed: int = 0
    prompts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By kind, what a user adds to the ladder; what a text encoder would cut off is left out."""


@dataclass(frozen=True)
class Examined:
    """What was found, and what it was found on."""

    content: dict[str, Any]
    """Of metrics.json."""
    seen: Seen
    references: References

    @property
    def erased(self) -> Tensor:
        """The erased model's pictures of the panel's prompts."""
        pictures = self.seen.pictures["erased"]
        assert pictures is not None
        return pictures


def examine(
    prepared: Prepared, references: References, subjects: Mapping[str, Edit], pictures: Tensor, asked: Asked
) -> Examined:
    """Measure, attack and sum up.

    Args:
        prepared: the original model, in whose place the subjects stand.
        references: the original's pictures and the oracle's of the panel's prompts, and the judge.
        subjects: `original`, `erased`, and `oracle` where there is one.
        pictures: the erased model's of the panel's prompts.
        asked: which attacks.
    """
    measured = compare(pictures, prepared.panel, references)
    content: dict[str, Any] = dict(as_rows(measured))
    content["retained"] = _nearest_first(prepared, retained_by_value(pictures, prepared.panel, references))
    outcomes: dict[str, dict[str, Outcome]] = {}
    shifts: dict[str, Shift] = {}
    excesses: dict[str, Measure | None] = {}
    shown = prepared.draw_shown(subjects)
    if asked.attacks:
        each = [_attacked(prepared, references, subjects, target, asked) for target in prepared.targets]
        content["attacks"] = {}
        for attack, (outcomes[attack.name], cost) in _run(prepared, asked.attacks, each):
            whole = _whole(outcomes[attack.name])
            excesses[attack.name] = whole.excess
            content["attacks"][attack.name] = _row(whole, outcomes[attack.name]) | {"cost": cost}
        shifts = _shifts(each[0]) if len(each) == 1 and "oracle" in subjects else {}
        content["distribution"] = {kind: found.to_json() for kind, found in shifts.items()}
    gaps = {
        "forgetting_gap": forgetting_gap(excesses),
        "collateral_gap": collateral_gap(measured, {kind: found.beyond_chance for kind, found in shifts.items()}),
    }
    content |= {name: gap and gap.to_json() for name, gap in gaps.items()}
    content["verdict"] = verdict(content)
    models = {"original": references.original, "erased": pictures, "oracle": references.oracle}
    seen = Seen(prepared.panel, models, outcomes, shown)
    return Examined(content, seen, references)


def _attacked(
    prepared: Prepared, references: References, subjects: Mapping[str, Edit], target: str, asked: Asked
) -> Attacked:
    """What an attack is given of one erased concept."""
    model, words = prepared.model, prepared.plan.words
    assert words is not None
    assert references.judge is not None
    others = _others(prepared, words, target)
    every = _ladder(prepared, target, next(iter(others), ""), asked.prompts)
    kept = {kind: tuple(short_enough(model, prompts)) for kind, prompts in every.kinds.items()}
    rungs = Ladder({kind: prompts for kind, prompts in kept.items() if prompts})
    prompts = [*rungs.prompts, *(prompt for each in others.values() for prompt in each)]
    return Attacked(
        model, dict(subjects), target, words.axis_of(target), rungs, encode(model, prompts),
        references.judge, prepared.plan.options, asked.pictures, asked.seed, others,
    )  # fmt: skip


def _ladder(prepared: Prepared, target: str, beside: str, own: Mapping[str, tuple[str, ...]]) -> Ladder:
    """What can be said of a target, by the model's vocabulary or by the templates that it was erased with."""
    vocabulary, concepts = prepared.plan.vocabulary, prepared.concepts
    if vocabulary is not None:
        return ladder(vocabulary, target, own)
    concept = next(each for each in concepts.erased if each.target == target)
    return general_ladder(concept, concepts.general, beside, own)


def _others(prepared: Prepared, words: Words, target: str) -> dict[str, tuple[str, ...]]:
    """By other word of the target's axis that no run erased, the nearest first, the prompts that name it instead."""
    vocabulary, axis = prepared.plan.vocabulary, words.axis_of(target)
    gone = [*prepared.targets, *prepared.concepts.earlier]
    kept = nearest(prepared.model, target, [word for word in words.axes[axis] if word not in gone])
    if vocabulary is None:
        return {word: words.prompts[word] for word in kept}
    first = vocabulary.templates[0]
    return {word: tuple(vocabulary.captions(first, {axis: [word]})) for word in kept}


def _run(prepared: Prepared, attacks: Sequence[Attack], each: Sequence[Attacked]) -> list[tuple[Attack, Ran]]:
    """Each attack with its outcomes and its cost.

    Those that share out pictures come first, with all processes at one; of the others each process then has models of
    its own, and none waits for another from one attack to the next.
    """
    said = {attack: f"{attack.name.replace('_', ' ')}, {i} of {len(attacks)}" for i, attack in enumerate(attacks, 1)}
    done = {
        attack.name: _measured(prepared, attack.run, each, said[attack]) for attack in attacks if not attack.by_model
    }
    tasks = [
        (
            attack.name,
            partial(_measured, prepared, partial(attack.on, subject=model), [one], f"{said[attack]}, {model}"),
        )
        for attack in attacks
        if attack.by_model
        for one in each
        for model in one.models
    ]
    _ = [one.drawn for one in each if tasks]  # by the main process, while the others wait
    parts = processes.deal([task for _, task in tasks])
    for name in dict.fromkeys(name for name, _ in tasks):
        done[name] = _joined([part for (other, _), part in zip(tasks, parts, strict=True) if other == name])
    return [(attack, done[attack.name]) for attack in attacks]


def _measured(prepared: Prepared, attack: Callable[[Attacked], Outcome], each: Sequence[Attacked], said: str) -> Ran:
    """An attack's outcome on each concept, and its cost; `said` is what is announced of it."""
    progress.begin(Phase.ATTACKS, said)
    with _cost(prepared) as cost:
        outcomes = {one.target: attack(one) for one in each}
    return outcomes, cost


def _joined(parts: Sequence[Ran]) -> Ran:
    """An attack's outcomes on one model each as one of each concept, and the sum of their costs."""
    targets = dict.fromkeys(target for outcomes, _ in parts for target in outcomes)
    every = {target: [outcomes[target] for outcomes, _ in parts if target in outcomes] for target in targets}
    costs = [cost for _, cost in parts]
    cost = {name: round(sum(each[name] for each in costs), 1) for name in costs[0]}
    return {target: merged(outcomes) for target, outcomes in every.items()}, cost


def _whole(by_target: Mapping[str, Outcome]) -> Point:
    """One attack's headline, over all concepts."""
    headlines = [outcome.headline for outcome in by_target.values()]
    results = {name: pooled([each.results[name] for each in headlines]) for name in headlines[0].results}
    return Point(headlines[0].setting, results)


def _row(whole: Point, by_target: Mapping[str, Outcome]) -> dict[str, Any]:
    """One attack in metrics.json: its headline, over all concepts, and each concept's outcome."""
    results = whole.results
    rates: dict[str, float | None] = {
        name: results[name].rate.value if name in results else None for name in ("original", "erased", "oracle")
    }
    said = whole.to_json()
    concepts = {target: outcome.to_json() for target, outcome in by_target.items()}
    return rates | {name: said[name] for name in ("excess", "interval", "setting")} | {"concepts": concepts}


def _shifts(attacked: Attacked) -> dict[str, Shift]:
    """By kind of prompts how far the erased model's distribution on the target's axis is from the oracle's."""
    found = {}
    for kind in GENERAL:
        pictures = attacked.drawn_by_all(kind)
        erased, oracle = (attacked.judge.values(pictures[name])[attacked.axis] for name in ("erased", "oracle"))
        places = spread(len(erased), len(attacked.ladder.kinds[kind]))
        found[kind] = shift(erased, oracle, places, attacked.seed)
    return found


def _nearest_first(prepared: Prepared, by_value: dict[str, Any]) -> dict[str, Any]:
    """What is kept of each value, those nearest to the first target first, by the text encoder."""
    if not by_value:
        return {}
    return {name: by_value[name] for name in nearest(prepared.model, prepared.targets[0], list(by_value))}


@contextmanager
def _cost(prepared: Prepared) -> Iterator[dict[str, float]]:
    """Count a denoiser's forward passes, one for each sample, and CPU seconds of this process."""
    cost: dict[str, float] = {}
    started = time.process_time()
    with forwards(prepared.model.network) as passes:
        yield cost
    cost |= {"forwards": passes["forwards"], "cpu_seconds": round(time.process_time() - started, 1)}
