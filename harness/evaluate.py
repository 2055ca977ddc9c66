"""Open a finished run again, sample it, and attack it: is the concept gone, or only its name?

    python -m harness.evaluate RUN
    python -m harness.evaluate RUN --attacks completion --pictures 96

Prints the metrics as the run itself did, and each attack's rates for the original model, the erased one and the oracle
that never knew the concept; RUN/attacks.json holds all of them.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from harness.config import UsageError, from_dict
from harness.judging import judge
from harness.judging.attack import Attack, Attacked, Outcome, Point, chosen_attacks
from harness.plan import Plan
from harness.runs.ends import run_command
from harness.runs.files import write_json
from harness.runs.folder import finished

if TYPE_CHECKING:
    from harness.judging.references import References
    from harness.prepare import Prepared

FILE = "attacks.json"


@dataclass(frozen=True)
class Evaluate:
    """Measure a finished run again, and attack what it erased."""

    run: tyro.conf.Positional[Path]
    """Run folder."""
    attacks: tuple[str, ...] = ("all",)
    """Which attacks: `none`, `all`, or some of their names."""
    pictures: int = 48
    """Pictures that an attack works with for each concept."""
    seed: int = 0
    """Seed of the attacks."""
    model: str = ""
    """Where the original model is now, if not where the run found it."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    overwrite: bool = False
    """Replace the run's attacks.json."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    options = tyro.cli(Evaluate, args=arguments, prog="python -m harness.evaluate", description=__doc__)
    return run_command(lambda: run(options))


def run(options: Evaluate) -> dict[str, Any]:
    """Sample, measure, attack, print and write; returns the content of attacks.json, empty without attacks.

    Raises:
        UsageError: no finished run, an attack that there is not, no judge to tell success, or an existing result.
    """
    attacks, of_run = chosen_attacks(options.attacks), from_dict(finished(options.run)["config"])
    file = options.run / FILE
    if options.pictures < 1 or not 0 <= options.seed <= 2**60:
        raise UsageError(f"--pictures {options.pictures} --seed {options.seed}: needed are a count and a seed from 0")
    if attacks and file.exists() and not options.overwrite:
        raise UsageError(f"{file}: exists already; --overwrite to replace it")
    of_run = replace(of_run, model=options.model or of_run.model, device=options.device, resume=None)
    plan = Plan.of(of_run)
    if attacks and (plan.vocabulary is None or not judge.present(plan.folder)):
        raise UsageError(
            f"--attacks: the folder of {of_run.model} holds no judge and no vocabulary.json to tell success"
        )
    return _evaluate(plan, attacks, options)


def _evaluate(plan: Plan, attacks: Sequence[Attack], options: Evaluate) -> dict[str, Any]:
    from harness.judging.comparison import compare
    from harness.judging.panel import SEED
    from harness.models.weights import erased_by
    from harness.prepare import prepare
    from harness.show.screen import metric_lines

    prepared = prepare(plan)
    references = prepared.references()
    with erased_by(prepared.model, options.run):
        pictures = prepared.draw(prepared.panel.prompts, SEED, "pictures of the erased model")
    print("\n".join(["", *metric_lines(compare(pictures, prepared.panel, references))]))
    if not attacks:
        return {}
    each = _attacked(prepared, references, options)
    outcomes = {attack.name: {one.target: attack.run(one) for one in each} for attack in attacks}
    content = {
        "seed": options.seed,
        "pictures": options.pictures,
        "attacks": {
            name: {target: outcome.to_json() for target, outcome in by_target.items()}
            for name, by_target in outcomes.items()
        },
    }
    write_json(options.run / FILE, content)
    print("\n".join(lines(outcomes)))
    return content


def _attacked(prepared: "Prepared", references: "References", options: Evaluate) -> list[Attacked]:
    """What an attack is given of each concept that the run erased."""
    from harness.data.latents import encode, nearest
    from harness.judging.references import load_oracle
    from harness.models.weights import erased_by

    model, vocabulary, plan = prepared.model, prepared.plan.vocabulary, prepared.plan
    assert vocabulary is not None
    assert references.judge is not None
    result = []
    for concept in prepared.concepts.erased:
        axis = vocabulary.axis_of(concept.target)
        rows = [row.labels for row in prepared.panel.rows if row.named == concept.target]
        distinct = list({tuple(labels.values()): labels for labels in rows}.values())
        template = vocabulary.templates[0]
        prompts, general = (
            tuple(each.format(**labels) for labels in distinct)
            for each in (template, vocabulary.unnamed(template, axis))
        )
        subjects: dict[str, Callable[[], AbstractContextManager[None]]] = {"original": nullcontext}
        subjects["erased"] = partial(erased_by, model, options.run)
        if references.oracle is not None:
            subjects["oracle"] = partial(model.replaced, load_oracle(model, plan.folder, concept.target))
        kept = vocabulary.without(each.target for each in prepared.concepts.erased)[axis]
        near = nearest(model, concept.target, [value for value in kept if value not in prepared.concepts.earlier])
        others = {value: tuple(template.format(**{**row, axis: value}) for row in distinct) for value in near}
        named_otherwise = [prompt for each in others.values() for prompt in each]
        embeddings = encode(model, [*prompts, *general, *named_otherwise, ""])
        result.append(
            Attacked(
                model, subjects, concept.target, axis, prompts, general, embeddings, references.judge, plan.options,
                options.pictures, options.seed, others,
            )
        )  # fmt: skip
    return result


def lines(outcomes: Mapping[str, Mapping[str, Outcome]]) -> list[str]:
    """For people: each attack's rates by setting and model; the headline is marked."""
    result = []
    for name, by_target in outcomes.items():
        for target, outcome in by_target.items():
            names = list(outcome.headline.rates)
            head = "".join(f"{model:>10}" for model in names)
            result += ["", f"{f'{name} of {target!r}':44}{head}   erased over oracle, 95 % interval"]
            for point in outcome.curve:
                setting = ", ".join(f"{key} {value}" for key, value in point.setting.items())
                mark = "*" if point is outcome.headline else " "
                rates = "".join(f"{point.rates[model].value:>10.3f}" for model in names)
                result.append(f"{mark} {setting:42}{rates}   {_excess(point)}")
            for figure, by_model in outcome.figures.items():
                result.append(f"  {figure:42}" + "".join(_cell(by_model[model]) for model in names))
    return [
        *result,
        "* fixed beforehand as the figure to compare; shares are of pictures that the judge takes for the target",
    ]


def _cell(value: float | None) -> str:
    return f"{'never' if value is None else format(value, '.0f'):>10}"


def _excess(point: Point) -> str:
    if "oracle" not in point.rates:
        return "no oracle"
    excess, (low, high) = point.rates["erased"].minus(point.rates["oracle"])
    return f"{excess:+.3f}, {low:+.3f} to {high:+.3f}"


if __name__ == "__main__":
    sys.exit(main())
