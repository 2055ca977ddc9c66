"""Erase a concept from a pipeline that is in memory: `harness.erase`."""

import difflib
import inspect
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, get_args, get_type_hints

import torch
from diffusers import DiffusionPipeline

from harness.config import Config, UsageError, meanings
from harness.erasure import callers
from harness.erasure.course import conclude, train
from harness.erasure.erased import Erased
from harness.models import load as models
from harness.plan import Plan
from harness.prepare import prepare
from harness.runs import command, processes, progress
from harness.runs.progress import Phase
from harness.train import Callback

OF_FILES = (
    "model", "variant", "revision", "offline", "output", "overwrite", "continue_from", "checkpoint_every", "resume",
    "track", "save_pipeline", "dry_run",
)  # fmt: skip
"""Options that say where a model is read from and a run written to, of which there is neither here."""
Given = ParamSpec("Given")


@dataclass(frozen=True)
class Call(Config):
    """What `erase` takes beside the pipeline: the options of a run, those of a recipe, and who is told of its steps."""

    preset: str = ""
    """Recipe whose options are set first, as `--preset` has it (docs/erasure.md lists them); those given go over it."""
    callback: Callback | None = None
    """Is told of every step by its number and what it saw (`harness.show.steps.Seen`); a text that it gives is a reason
    to stop there."""


def _taking(
    _: Callable[Given, Config],
) -> Callable[[Callable[..., Erased]], Callable[Concatenate[DiffusionPipeline, Given], Erased]]:
    """Have a function show the options as its own, to an editor by type and to `help` by signature and text."""
    left = {field.name: field for field in fields(Call) if field.name not in OF_FILES}
    hints = get_type_hints(Call)
    shown = [inspect.Parameter("pipe", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=DiffusionPipeline)] + [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[name])
        for name, field in left.items()
    ]
    said = {name: text for name, text in (meanings(Config) | meanings(Call)).items() if name in left}

    def over(function: Callable[..., Erased]) -> Callable[Concatenate[DiffusionPipeline, Given], Erased]:
        function.__signature__ = inspect.Signature(shown, return_annotation=Erased)  # type: ignore[attr-defined]
        listed = "\n".join(f"    {name}: {text}" for name, text in said.items())
        function.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\nOptions:\n{listed}\n"
        return function

    return over


@_taking(Call)
def erase(pipe: DiffusionPipeline, callback: Callback | None = None, preset: str = "", **options: Any) -> Erased:
    """Erase a concept from a pipeline that is in memory, in place; the options are those of the command line.

    It trains on a copy, without the adapters that are loaded, and then writes the weights that changed over the
    pipeline's own. Devices, types, offloading, scheduler, adapters and everything else of the pipeline stay as
    they are, and where an exception or Ctrl-C comes between, the weights too.

    Args:
        pipe: a text-to-image pipeline of a known family. Where it was loaded from a folder with a vocabulary.json, a
            judge or oracles, these are used as the command line uses them.
        callback: as below.
        preset: as below; what no option says of it is printed.
        **options: as below; docs/erasure.md says more. `device="auto"` is where the pipeline computes.

    Returns:
        The metrics, pictures and report, and what undoes the erasure, bit for bit, or sets its strength.

    Raises:
        UsageError: an option or a pipeline that cannot be used; before any work, but for what only the model can say.
        fdiv.Refused: a divergence without the certificate for its loss.
        harness.train.OverflowedError: no loss was finite any more.
    """
    started = time.perf_counter()
    if callback is not None and not callable(callback):
        raise UsageError(f"callback {callback!r}: must be a function of a step's number and what it saw")
    callers.check_family(pipe)
    place = callers.place_of(pipe)
    plan = Plan.of(options_of(options, str(place), preset), place)
    if processes.launched() > 1:
        raise UsageError("harness.erase: works in one process; several share the work of python -m harness.unlearn")
    device = callers.device_of(pipe, plan.options.device)
    with _own_torch(device), progress.course(plan.attacks, Phase.REPORT):
        progress.begin(Phase.LOADING, "a copy of the pipeline")
        copy = models.ready(callers.copied(pipe), device, plan.options.precision)
        prepared = prepare(plan, copy)
        outcome = conclude(prepared, train(prepared, callback=callback), started)
    return Erased(pipe, prepared.model.component, outcome)


@contextmanager
def _own_torch(device: torch.device) -> Iterator[None]:
    """Within this torch takes gradients; after it, it computes, and draws the numbers, as it did before."""
    devices = [device] if device.type == "cuda" else []
    tf32, attention = torch.backends.cudnn.allow_tf32, torch.backends.cuda.cudnn_sdp_enabled()
    try:
        with torch.random.fork_rng(devices), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.enable_cudnn_sdp(attention)


def options_of(given: Mapping[str, Any], model: str, preset: str = "") -> Config:
    """Options as Python has them, a path as text too and several texts as a list, as those of a run.

    Args:
        given: go over those of the recipe.
        model: where it was loaded from.
        preset: name of a recipe, whose options go over the defaults; empty for none.

    Raises:
        UsageError: there is no such option or recipe, or none for a pipeline in memory.
    """
    hints = get_type_hints(Config)
    known: dict[str, Any] = {}
    for name, value in given.items():
        if name in OF_FILES:
            raise UsageError(f"{name}: an option of the command line; here the pipeline is given, and `save` writes")
        if name not in hints:
            near = difflib.get_close_matches(name, [each for each in hints if each not in OF_FILES], 3)
            raise UsageError(f"{name}: no option; " + (f"did you mean {', '.join(near)}?" if near else "see help"))
        if isinstance(value, str) and Path in get_args(hints[name]):
            value = Path(value)
        if hints[name] is float and type(value) is int:
            value = float(value)
        known[name] = tuple(value) if isinstance(value, list) else value
    if preset:
        print(f"note: {command.told(preset)}", file=sys.stderr)
    return command.absolute(replace(command.options_of_preset(preset) if preset else Config(), **known, model=model))
