"""Erase a concept from a Stable Diffusion UNet with a verified f-divergence.

    python -m harness.unlearn                                       # the embedded miniature forgets its stars
    python -m harness.unlearn --target mosaic --divergence pearson
    python -m harness.unlearn --model FOLDER --concept-type style --target "Van Gogh"
    python -m harness.unlearn --continue RUN_FOLDER --target heart  # what RUN_FOLDER erased stays erased

A run that was killed goes on from its last checkpoint, to the same result bit for bit, with --resume RUN_FOLDER.
Under `torchrun --nproc_per_node N -m` in place of `python -m`, N processes share the work.

Exit codes: 0 done, 1 refused by the divergence's certificate, 2 input that cannot be used, 3 stopped by overflow,
4 disk or memory full, 130 and 143 interrupted by SIGINT and SIGTERM.
"""

import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import Config, to_dict
from harness.plan import Plan
from harness.runs import command, processes
from harness.runs.ends import run_command
from harness.runs.files import write_json
from harness.runs.folder import INPUTS, PROMPTS, RESUME, keep_same, run_folder, written_whole

if TYPE_CHECKING:
    from torch import Tensor

    from harness.examine import Examined
    from harness.judging.references import References
    from harness.models.edits import Edit
    from harness.models.family import Family
    from harness.prepare import Prepared
    from harness.train import Trainer


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    return run_command(lambda: run(command.parse(arguments)))


def run(options: Config) -> Path:
    """Erase, evaluate, report; returns the run folder."""
    started = time.perf_counter()
    plan = Plan.of(options)
    output = run_folder(options, plan.draft.target, plan.spec)

    # The input is usable, but for the model itself: only now torch and diffusers are imported, which takes seconds.
    from harness.data.kept import sample_kept
    from harness.judging.stopping import watch
    from harness.models.denoiser import forwards
    from harness.models.weights import put_over, save_trained
    from harness.prepare import prepare
    from harness.runs.checkpoint import Store
    from harness.show.screen import last_screen
    from harness.train import OverflowedError, Trainer

    prepared = prepare(plan)
    model, panel, names = prepared.model, prepared.panel, prepared.names
    with written_whole(output, options.overwrite, options.resume) as out:
        store = Store(out, options)
        if processes.is_main():
            keep_same(out / PROMPTS, asdict(prepared.concepts))
            keep_same(out / RESUME / INPUTS, prepared.fingerprints() | plan.certificates)

        # The model as it was: pictures to compare with, what an earlier run changed, latents to train on.
        references = prepared.references()
        base = put_over(model, options.continue_from) if options.continue_from else {}
        sampled = sample_kept(model, prepared.concepts, prepared.embeddings, options, store.once)

        training_started = time.perf_counter()
        try:
            with forwards(model.network) as passes:
                trainer = Trainer(model, sampled, prepared.losses, options, store.load())
                trainer.train(store, watch(plan.rule, panel, references, prepared.draw))
        except OverflowedError:
            save_trained(trainer.denoiser, out, names, base)
            raise
        training_seconds = time.perf_counter() - training_started
        save_trained(trainer.denoiser, out, names, base)

        examined, changed = _examine(prepared, references, trainer, base)
        if not processes.is_main():
            return output
        summary = _report(out, prepared, trainer, examined) | passes
        if options.save_pipeline:
            _save_pipeline(out / "pipeline", model, changed, summary, examined)
        summary["seconds"] = {"training": training_seconds, "whole": time.perf_counter() - started}
        _write_page(out, output, summary, examined)
        write_json(out / "run.json", summary)
    print(last_screen(output, summary, examined.content))
    return output


def _examine(
    prepared: "Prepared", references: "References", trainer: "Trainer", base: "dict[str, Tensor]"
) -> "tuple[Examined, dict[str, Tensor]]":
    """Measure what was trained, and attack it if asked to; also gives what differs from the original.

    After that the original's weights stand in the model, and the trainer trains no more.
    """
    from harness.examine import Asked, examine
    from harness.judging.references import SEED
    from harness.models.weights import changes, over
    from harness.train import OverflowedError

    pictures = prepared.draw(prepared.panel.prompts, SEED, "pictures after")
    if not pictures.isfinite().all():
        raise OverflowedError("the trained model's pictures are not finite: no weights to use")
    changed = changes(trainer.denoiser, base)
    subjects: dict[str, Edit] = {"original": nullcontext, "erased": partial(over, prepared.model, changed)}
    if prepared.oracle is not None:
        subjects["oracle"] = prepared.oracle
    return examine(prepared, references, subjects, pictures, Asked(prepared.plan.attacks)), changed


def _report(out: Path, prepared: "Prepared", trainer: "Trainer", examined: "Examined") -> dict[str, Any]:
    """Write the metrics and the pictures; returns the content of run.json, with the seconds left to fill in."""
    from harness.judging.comparison import accuracy_by_target
    from harness.show import figures
    from harness.show.screen import caption, environment
    from harness.show.steps import regime_warning

    plan, names, chosen, seen = prepared.plan, prepared.names, prepared.concepts, examined.seen
    options = plan.options
    write_json(out / "metrics.json", examined.content)
    figures.before_after(out / "before_after.png", seen.panel, seen.pictures, chosen)
    what = f"{caption(names['target'], names['anchor'])}: {names['divergence']}"
    figures.curves(out / "curves.png", trainer.rows, f"{what}, {options.objective}, scale {options.scale}")
    return names | {
        "config": to_dict(options),
        "ledger": plan.ledger(chosen, accuracy_by_target(examined.erased, seen.panel, examined.references)),
        "prompts": {
            "target": sum(len(concept.target_prompts) for concept in chosen.erased),
            "retained": len(chosen.retain_prompts),
        },
        "certificates": plan.certificates,
        "scale": {"kind": trainer.scale.kind, "constants": [trainer.scale.constant]},
        "stopped": {"step": trainer.step, "reason": trainer.stopped} if trainer.stopped else None,
        "trained_weights": sum(parameter.numel() for parameter in trainer.denoiser.trained.values()),
        "seconds": {},
        "warning": regime_warning(trainer.rows, prepared.losses),
        **environment(prepared.model.device),
    }


def _save_pipeline(
    folder: Path, model: "Family", changed: "dict[str, Tensor]", summary: dict[str, Any], examined: "Examined"
) -> None:
    """Write the pipeline as trained, with its card."""
    import torch

    from harness.models.weights import save_pipeline
    from harness.show.card import Written, model_card

    save_pipeline(model, changed, folder, torch.float32)
    (folder / "README.md").write_text(model_card(summary, examined.content, Written("pipeline")))


def _write_page(out: Path, output: Path, summary: dict[str, Any], examined: "Examined") -> None:
    """Write the report; `output` is where it will be, for the command that attacks the run."""
    from harness.show.page import title_of, write_page

    attack = f"python -m harness.evaluate {shlex.quote(output.name)}"
    write_page(out / "report.html", title_of(summary), examined.content, examined.seen, summary, attack)


if __name__ == "__main__":
    sys.exit(main())
