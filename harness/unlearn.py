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

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config import Config
from harness.plan import Plan
from harness.runs import command, processes, progress
from harness.runs.ends import run_command
from harness.runs.folder import run_folder, written_whole
from harness.runs.progress import Phase

if TYPE_CHECKING:
    from harness.erasure.outcome import Outcome
    from harness.models.family import Family


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    return run_command(lambda: run(command.parse(arguments)))


def run(options: Config) -> Path:
    """Erase, evaluate, report; returns the run folder, which a dry run does not make."""
    started = time.perf_counter()
    plan = Plan.of(options)
    output = run_folder(options, plan.draft.target, plan.spec)
    if options.dry_run:
        from harness.erasure.outlook import outlook

        print(outlook(plan, output))
        return output

    with progress.course(plan.attacks):
        progress.begin(Phase.LOADING, f"torch, diffusers and {options.model}")
        # The input is usable, but for the model itself: only now these are imported, which takes seconds.
        from harness.erasure.course import conclude, train
        from harness.prepare import loaded, prepare
        from harness.show.screen import last_screen
        from harness.show.tracking import final, tracked

        prepared = prepare(plan, loaded(plan))
        with written_whole(output, options.overwrite, options.resume) as out, tracked(plan.options, out) as tell:
            trained = train(prepared, out, tell=tell)
            outcome = conclude(prepared, trained, started)
            tell(trained.trainer.step, final(outcome.examined.content))
            if not processes.is_main():
                return output
            progress.begin(Phase.REPORT, f"into {output}")
            if options.save_pipeline:
                _save_pipeline(out / "pipeline", prepared.model, outcome)
            outcome.write(out, output.name)
    print(last_screen(output, outcome.summary, outcome.examined.content))
    return output


def _save_pipeline(folder: Path, model: "Family", outcome: "Outcome") -> None:
    """Write the pipeline as trained, with its card."""
    import torch

    from harness.models.weights import save_pipeline
    from harness.show.card import Written, model_card

    save_pipeline(model, outcome.changed, folder, torch.float32)
    written = Written("pipeline", absent=model.absent)
    (folder / "README.md").write_text(model_card(outcome.summary, outcome.examined.content, written))


if __name__ == "__main__":
    sys.exit(main())
