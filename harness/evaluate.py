"""Did it really forget? Measure an erased model, and attack it, beside the original and an oracle that never knew.

    python -m harness.evaluate RUN                                   # a finished run, found by itself, every attack
    python -m harness.evaluate RUN --attacks completion --pictures 96
    python -m harness.evaluate ERASED --original FOLDER --target star --oracle FOLDER

ERASED is what any tool made of the original: a pipeline's folder, or a .safetensors file with a LoRA or with some of
the denoiser's weights. Writes metrics.json, docs/evaluation.md says what is in it, and report.html; prints the verdict.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from harness.config import MINIATURE, ConceptType, Config, UsageError
from harness.models.source import STARTS
from harness.plan import Plan
from harness.prompts.ladder import check_unnamed, read_ladder
from harness.runs import processes, progress
from harness.runs.ends import run_command
from harness.runs.files import read_json, write_json
from harness.runs.folder import finished, options_of
from harness.runs.places import where_model_is
from harness.runs.progress import Phase

if TYPE_CHECKING:
    from harness.examine import Asked, Examined
    from harness.models.edits import Edit
    from harness.prepare import Prepared

METRICS, REPORT = "metrics.json", "report.html"
TAKEN_OVER = ("concept_type", "judge", "judge_words", "inception", "show")
"""Options that go over those of the run where they are given."""
FEWEST = 4
"""Pictures of an attack, for an interval to say anything."""
MOST = 1000
DRAWN = 180
"""Times that all attacks draw their pictures: about 60 settings on three models."""


@dataclass(frozen=True)
class Evaluate:
    """Measure an erased model, and attack what it is said to have forgotten."""

    erased: tyro.conf.Positional[Path]
    """Run folder, or what another tool made: a pipeline folder, a LoRA, or some of the denoiser's weights."""
    original: str = ""
    """The model before: by default a run's own, or the embedded miniature."""
    oracle: Path | None = None
    """The same retrained without the target, as ERASED is given; by default the original's folder is looked through."""
    target: str = ""
    """The concept erased; a run knows its own, and a model's vocabulary has a default."""
    concept_type: ConceptType | None = None
    """Whose prompt templates to use, for a model without a vocabulary; by default a run's own, or an object's."""
    judge: str = ""
    """Judge, as `python -m harness.unlearn` takes it; by default a run's own, or that of the original's folder."""
    judge_words: tuple[str, ...] = ()
    """Words that --judge tells the target from; by default a run's own, or what is put in the target's place."""
    inception: Path | None = None
    """Weights of Inception v3 for KID; by default a run's own."""
    attacks: tuple[str, ...] = ("all",)
    """Which attacks: `none`, `all`, or some of their names."""
    prompts: Path | None = None
    """YAML file of more prompts for the ladder, a list for each kind, such as `implicit` or `paraphrase`."""
    show: Path | None = None
    """Text file of prompts of your own to see on the page; by default a run's own."""
    pictures: int = 48
    """Pictures that an attack works with for each concept."""
    seed: int = 0
    """Seed of the attacks."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    output: Path | None = None
    """Folder to write into; by default a run's own, or ERASED's name with `-evaluation`."""
    cache: bool = True
    """Take what no erasure changes from the user's cache of samples, and keep it there; --no-cache samples anew."""
    overwrite: bool = False
    """Replace an evaluation that is there already."""

    @property
    def is_run(self) -> bool:
        """Whether it is a finished run of ours."""
        return (self.erased / "run.json").is_file()

    @property
    def folder(self) -> Path:
        """Where to write."""
        return self.output or (self.erased if self.is_run else self.erased.with_name(f"{self.erased.stem}-evaluation"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    return run_command(
        lambda: run(tyro.cli(Evaluate, args=arguments, prog="python -m harness.evaluate", description=__doc__))
    )


def run(options: Evaluate) -> dict[str, Any]:
    """Sample, measure, attack, print and write; returns the content of metrics.json.

    Raises:
        UsageError: nothing to evaluate, an attack that there is not, no judge to tell success, an oracle that is the
            original or the erased model, a prompt that is too long, too few or too many pictures, an existing result.
    """
    prompts = read_ladder(options.prompts)
    if options.pictures < FEWEST or not 0 <= options.seed <= 2**60:
        raise UsageError(
            f"--pictures {options.pictures}, --seed {options.seed}: needed are {FEWEST} pictures, a seed from 0"
        )
    if options.pictures > MOST:
        raise UsageError(
            f"--pictures {options.pictures}: at most {MOST}, for an interval of +-.03; all attacks draw each {DRAWN} "
            f"times, here {DRAWN * options.pictures:,} pictures, and those of an attack are in memory together"
        )
    if not options.erased.exists():
        raise UsageError(f"{options.erased}: nothing there; needed is a run folder, or what another tool made")
    if not options.overwrite:
        _check_nothing_is_lost(options)
    plan = Plan.of(_options_of_run(options))
    check_unnamed(options.prompts, prompts, [wish.target for wish in plan.draft.erased])
    _make(options.folder)
    with progress.course(plan.attacks, Phase.KEPT, Phase.TRAINING):
        progress.begin(Phase.LOADING, f"torch, diffusers and {plan.options.model}")
        from harness.examine import Asked

        asked = Asked(plan.attacks, options.pictures, options.seed, prompts)
        examined = _examine(plan, options, asked)
        if processes.is_main():
            progress.begin(Phase.REPORT, f"into {options.folder}")
            write_json(options.folder / METRICS, examined.content)
            _write_page(plan, options, examined)
    if processes.is_main():
        _print(examined.content)
    return examined.content


def _check_nothing_is_lost(options: Evaluate) -> None:
    """UsageError where an evaluation is there already; metrics that a run ended with are measured again alike."""
    file = options.folder / METRICS
    if file.is_file() and "attacks" in read_json(file):
        raise UsageError(f"{file}: has attacks already; --overwrite to replace them")
    if file.is_file() and options.folder.resolve() != options.erased.resolve():
        raise UsageError(f"{file}: exists already; --overwrite to replace it, or another --output")


def _make(folder: Path) -> None:
    """Make the folder to write into, before any long work; UsageError where there can be none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {folder}: cannot be written: {error}") from error


def _options_of_run(options: Evaluate) -> Config:
    """Those of the run, or for what another tool made the defaults for the model before."""
    config = Config(model=options.original or MINIATURE)
    if options.is_run:
        finished(options.erased)  # refuses any other
        config = replace(options_of(options.erased), resume=None)
        model = options.original or where_model_is(options.erased, config.model, "--original")
        config = replace(config, model=model)
    if config.start not in STARTS and not Path(config.start).is_file():  # it is in the weights that were trained
        config = replace(config, start="original", steps=max(config.steps, 1))
    if config.show is not None and not config.show.is_file() and not options.show:
        print(f"note: {config.show}, which the run was to show, is not there any more", file=sys.stderr)
        config = replace(config, show=None)
    if options.target:
        config = replace(config, target=options.target, anchor="", concepts=None)
    given = {name: getattr(options, name) for name in TAKEN_OVER if getattr(options, name)}
    config = replace(config, **given)
    config = replace(config, track=(), watch=False, stop_when="")  # of the training alone
    return replace(config, attacks=options.attacks, cache=options.cache, device=options.device)


def _examine(plan: Plan, options: Evaluate, asked: "Asked") -> "Examined":
    from harness.examine import examine
    from harness.models.edits import edit
    from harness.models.load import check_prompts
    from harness.prepare import loaded, prepare

    prepared = prepare(plan, loaded(plan))
    check_prompts(prepared.model, [prompt for prompts in asked.prompts.values() for prompt in prompts])
    subjects: dict[str, Edit] = {"original": nullcontext}
    subjects["erased"], said = edit(prepared.model, "erased model:", options.erased)
    print(f"{options.erased}: {said}")
    oracle = _oracle(prepared, options.oracle, subjects)
    if oracle is not None:
        subjects["oracle"] = oracle
    references = prepared.references(oracle)
    with subjects["erased"]():
        pictures = prepared.draw_erased()
    return examine(prepared, references, subjects, pictures, asked)


def _oracle(prepared: "Prepared", place: Path | None, known: "Mapping[str, Edit]") -> "Edit | None":
    """The one named, or that in the model's folder; None without. UsageError for one of the models that are known."""
    from harness.models.edits import check_other, edit

    oracle = prepared.oracle
    if place is not None:
        oracle, said = edit(prepared.model, "--oracle", place)
        print(f"{place}: {said}")
    if oracle is not None:
        named = f"--oracle {place}" if place else f"the oracle in {prepared.plan.folder}"
        check_other(prepared.model, named, oracle, known)
    return oracle


def _write_page(plan: Plan, options: Evaluate, examined: "Examined") -> None:
    from harness.show.page import title_of, write_page

    run = finished(options.erased) if options.is_run else None
    title = title_of(run) if run and not options.target else f"{plan.draft.target}, erased in {options.erased.name}"
    write_page(options.folder / REPORT, title, examined.content, examined.seen, run)


def _print(content: dict[str, Any]) -> None:
    """For people: what was found."""
    from harness.show.screen import attack_lines, metric_lines

    print("\n".join(["", *metric_lines(content), *attack_lines(content), "", content["verdict"]]))


if __name__ == "__main__":
    sys.exit(main())
