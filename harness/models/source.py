"""Where a model is read from: what can be said of that before anything heavy is imported."""

import re
from pathlib import Path

from harness.config import MINIATURE, WEIGHTS, UsageError
from harness.runs.files import usable

INDEX = "model_index.json"
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
PICKLE_REFUSED = (
    "pickled weights can run any code when they are read, so only safetensors are. Where you trust the file, convert "
    "it once: diffusers' from_pretrained(FOLDER, use_safetensors=False), or from_single_file(FILE), and then "
    "save_pretrained(NEW_FOLDER), which writes safetensors"
)


def resolve(model: str) -> Path | str:
    """The folder of a local pipeline, a single-file checkpoint, or the hub id as given.

    Raises:
        UsageError: a path that is neither, pickled weights, or a folder that holds no pipeline.
    """
    if model == MINIATURE:
        return WEIGHTS
    path = usable("--model", Path(model))
    if path.is_dir():
        if not (path / INDEX).is_file():
            raise UsageError(
                f"--model {model}: no model_index.json in it, so it is no pipeline in the diffusers layout"
            )
        for part in path.glob("*/"):
            if any(file.suffix in PICKLES for file in part.iterdir()) and not list(part.glob("*.safetensors")):
                raise UsageError(f"--model {model}: {part.name} has pickled weights alone; {PICKLE_REFUSED}")
        return path
    if path.is_file() and path.suffix == ".safetensors":
        return path
    if path.is_file() and path.suffix in PICKLES:
        raise UsageError(f"--model {model}: {PICKLE_REFUSED}")
    choices = f"a pipeline folder, a .safetensors checkpoint, a hub id OWNER/NAME, or `{MINIATURE}`"
    if path.exists():
        raise UsageError(f"--model {model}: a file; needed is {choices}")
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", model) and not path.parent.is_dir():
        return model
    raise UsageError(f"--model {model}: no such folder; choices: {choices}")
