"""One erasure in the files that others open: the changed weights, LoRAs, a checkpoint or a whole pipeline.

    python -m harness.export RUN --format lora --strength 0.8
    python -m harness.export RUN/export/pipeline --undo

What is written is opened again as a reader would, samples on the seeds of the trained model, and the largest
difference is printed.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from harness.config import UsageError
from harness.runs.ends import run_command
from harness.runs.folder import finished
from harness.runs.places import HUB_ID


@dataclass(frozen=True)
class Export:
    """Write a finished run's erasure for others to open, or undo it in a pipeline that was written so."""

    run: tyro.conf.Positional[Path]
    """Run folder; with --undo a pipeline that was exported, or a run folder with one."""
    format: Literal["delta", "lora", "kohya", "diff", "single-file", "pipeline"] = "delta"
    """The changed weights alone; a LoRA for diffusers or, `kohya`, for ComfyUI, A1111 and Forge; for these `diff`, the
    whole change without loss; the whole model in one file in the original layout; or a diffusers pipeline."""
    strength: float = 1.0
    """How far from the original, 0, to the trained weights, 1, and beyond, up to 1.5."""
    dtype: Literal["fp32", "fp16", "bf16"] = "fp32"
    """Type of the numbers written."""
    rank: int = 16
    """Largest rank of a LoRA, of either format; a run of the group `lora` keeps its own, without loss."""
    output: Path | None = None
    """Folder to write; by default RUN/export/FORMAT."""
    model: str = ""
    """Where the original model is now, if not where the run found it."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    undo: bool = False
    """Put the original weights back into an exported pipeline, bit for bit; it needs nothing but that folder."""
    push_to_hub: str = ""
    """Also upload what was written to this hub repository, OWNER/NAME, private if it is new."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    return run_command(lambda: run(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> Export:
    return tyro.cli(Export, args=arguments, prog="python -m harness.export", description=__doc__)


def run(options: Export) -> None:
    """Check the options, and do what they say.

    Raises:
        UsageError: no finished run, an output that exists, or a number out of range.
    """
    if options.undo:
        from harness.export.undo import undo  # here, like below, because it imports torch

        print(f"The original weights are back, bit for bit in the type exported, in {undo(options.run)}.")
        return
    if not 0 <= options.strength <= 1.5:
        raise UsageError(f"--strength {options.strength}: must be from 0 to 1.5")
    if options.push_to_hub and not HUB_ID.fullmatch(options.push_to_hub):
        raise UsageError(f"--push-to-hub {options.push_to_hub}: no name on the hub; needed is OWNER/NAME")
    if options.rank < 1:
        raise UsageError(f"--rank {options.rank}: must be a count from 1")
    output = options.output or options.run / "export" / options.format
    if output.exists():
        raise UsageError(f"--output {output}: exists already; choose another folder")
    finished(options.run)

    from harness.export.formats import Form, export

    form = Form(options.format, options.strength, options.dtype, options.rank)
    print(export(options.run, output, form, options.model, options.device))
    if options.push_to_hub:
        _upload(options.push_to_hub, output)


def _upload(repository: str, folder: Path) -> None:
    """Upload what was written; UsageError, which says that it is kept, where the hub cannot be reached or refuses."""
    from huggingface_hub import HfApi

    try:
        HfApi().create_repo(repository, private=True, exist_ok=True)
        HfApi().upload_folder(repo_id=repository, folder_path=folder)
    except Exception as error:  # those of its HTTP library, which is another in each release, have no base in common
        raise UsageError(
            f"--push-to-hub {repository}: not uploaded: {' '.join(str(error).split())[:300]}; what was written is in "
            f"{folder}, and `hf upload {repository} {folder}` uploads it"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
