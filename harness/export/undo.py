"""An exported pipeline made the original again, bit for bit, from what lies in its folder."""

import shutil
from pathlib import Path

import torch
from diffusers import AutoModel

from harness.config import UsageError
from harness.models.source import LOADING_ERRORS, forget_places
from harness.models.weights import ORIGINAL, fingerprint
from harness.runs.command import quieten_libraries
from harness.runs.files import load_tensors
from harness.runs.folder import written_whole


def undo(folder: Path) -> Path:
    """Put the original weights back into an exported pipeline; returns its folder.

    Raises:
        UsageError: no such pipeline, or its other weights have changed since; then nothing is touched.
    """
    folder = next((each for each in (folder, folder / "pipeline") if (each / ORIGINAL).is_file()), folder)
    if not (folder / ORIGINAL).is_file():
        raise UsageError(
            f"--undo {folder}: no exported pipeline with an {ORIGINAL}; any other format changes no file of the "
            "original, so loading that again, or `unload_lora_weights`, undoes it"
        )
    quieten_libraries()
    original, metadata = load_tensors(folder / ORIGINAL)
    if missing := {"component", "dtype", "sha256"} - metadata.keys():
        raise UsageError(f"--undo {folder}: {ORIGINAL} is damaged: it does not say {', '.join(sorted(missing))}")
    component, dtype = folder / metadata["component"], getattr(torch, metadata["dtype"])
    try:
        network = AutoModel.from_pretrained(str(component), use_safetensors=True).to(dtype)
    except LOADING_ERRORS as error:
        raise UsageError(f"--undo {folder}: {component} cannot be read: {' '.join(str(error).split())}") from error
    network.load_state_dict(original, strict=False)
    if fingerprint(network.state_dict()) != metadata["sha256"]:
        raise UsageError(f"--undo {folder}: its weights were changed after the export; nothing was undone")
    with written_whole(component, replace=True) as out:
        network.save_pretrained(out, safe_serialization=True)
        forget_places(out)
        for there in component.iterdir():  # what someone else put there stays
            if not (out / there.name).exists() and there.suffix != ".safetensors":
                shutil.copy2(there, out)
    for file in (ORIGINAL, "README.md"):
        (folder / file).unlink(missing_ok=True)
    return folder
