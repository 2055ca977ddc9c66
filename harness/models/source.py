"""Where a model is read from: what can be said of that before anything heavy is imported."""

import re
from pathlib import Path
from typing import Any

from harness.config import MINIATURE, WEIGHTS, UsageError
from harness.runs.files import read_json, usable

INDEX = "model_index.json"
CONFIGURATION, PREPROCESSOR = "config.json", "preprocessor_config.json"
HUB_ID = r"[\w-][\w.-]*/[\w-][\w.-]*"
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
    if re.fullmatch(HUB_ID, model) and not path.parent.is_dir():
        return model
    raise UsageError(f"--model {model}: no such folder; choices: {choices}")


def pretrained(said: str, place: str) -> dict[str, Any] | None:
    """The configuration of a model of pictures in a transformers folder, or None for a hub id, where it is yet to come.

    Args:
        said: what an error begins with.
        place: the folder or the hub id.

    Raises:
        UsageError: neither, a folder that holds no such model, or pickled weights.
    """
    path = usable(said, Path(place))
    if path.is_dir():
        if missing := [name for name in (CONFIGURATION, PREPROCESSOR) if not (path / name).is_file()]:
            raise UsageError(
                f"{said}: no {missing[0]} in it, so it is no folder of a model of pictures by transformers"
            )
        if not list(path.glob("*.safetensors")):
            pickled = any(file.suffix in PICKLES for file in path.iterdir())
            raise UsageError(f"{said}: no .safetensors in it; {PICKLE_REFUSED if pickled else 'needed are weights'}")
        return read_json(path / CONFIGURATION)
    if path.exists():
        raise UsageError(f"{said}: a file; needed is a folder that transformers wrote, or a hub id OWNER/NAME")
    if re.fullmatch(HUB_ID, place) and not path.parent.is_dir():
        return None
    raise UsageError(f"{said}: no such folder; needed is one that transformers wrote, or a hub id OWNER/NAME")
