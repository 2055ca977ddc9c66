"""Where a model is read from: what can be said of that before anything heavy is imported."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from harness.config import MINIATURE, WEIGHTS, UsageError
from harness.runs.files import read_json, usable

INDEX = "model_index.json"
CONFIGURATION, PREPROCESSOR = "config.json", "preprocessor_config.json"
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
PICKLE_REFUSED = (
    "pickled weights can run any code when they are read, so only safetensors are. Where you trust the file, convert "
    "it once: diffusers' from_pretrained(FOLDER, use_safetensors=False), or from_single_file(FILE), and then "
    "save_pretrained(NEW_FOLDER), which writes safetensors"
)
TENSORS_REFUSED = (
    "pickled weights can run any code when they are read, so only safetensors are. To convert it once: "
    "state = torch.load(FILE, map_location='cpu', weights_only=True), which reads tensors and runs no code; take what "
    "holds the denoiser's (concept-ablation's delta: state = state['unet']); then safetensors.torch.save_file(state, "
    "'NEW.safetensors')"
)
STARTS = ("original", "closed-form")
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
LOADING_ERRORS = (OSError, ValueError, AttributeError, TypeError, KeyError, RuntimeError, SafetensorError)
"""What diffusers and transformers raise of files that they cannot load."""
OPTIONAL = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts that an index may name and its folder lack: a pipeline is loaded without them."""
PLACES = (
    "model", "prompts", "concepts", "show", "continue_from", "start", "judge", "inception", "output", "resume",
)  # fmt: skip
"""Options that may name a folder of the machine."""
_HEADER = 8
"""Bytes at the start of a safetensors file that give the length of its JSON header, least first."""


def resolve(model: str, variant: str = "") -> Path | str:
    """The folder of a local pipeline, a single-file checkpoint, or the hub id as given.

    Args:
        model: as `--model` has it.
        variant: of the weights' files, such as fp16.

    Raises:
        UsageError: a path that is neither, pickled or damaged weights, or a folder that holds no whole pipeline.
    """
    if model == MINIATURE:
        return WEIGHTS
    path = usable("--model", Path(model))
    if path.is_dir():
        if not (path / INDEX).is_file():
            raise UsageError(
                f"--model {model}: no model_index.json in it, so it is no pipeline in the diffusers layout"
            )
        for name in _parts(path / INDEX):
            _check_part(path / name, variant)
        return path
    if path.is_file() and path.suffix == ".safetensors":
        _check_header(path)
        return path
    if path.is_file() and path.suffix in PICKLES:
        raise UsageError(f"--model {model}: {PICKLE_REFUSED}")
    choices = f"a pipeline folder, a .safetensors checkpoint, a hub id OWNER/NAME, or `{MINIATURE}`"
    if path.exists():
        raise UsageError(f"--model {model}: a file; needed is {choices}")
    if HUB_ID.fullmatch(model) and not path.parent.is_dir():
        return model
    raise UsageError(f"--model {model}: no such folder; choices: {choices}")


def _parts(index: Path) -> list[str]:
    """The parts that a pipeline's index names, but for those that may be missing."""
    try:
        content = json.loads(index.read_text())
    except ValueError as error:
        raise UsageError(f"--model {index.parent}: {index} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict) or "_class_name" not in content:
        raise UsageError(f"--model {index.parent}: {index} names no `_class_name`, so it is no pipeline's index")
    named = {name: value for name, value in content.items() if isinstance(value, list) and any(value)}
    return [name for name in named if name not in OPTIONAL]


def _check_part(folder: Path, variant: str) -> None:
    """UsageError for a part that is missing, or whose weights are pickled, damaged, or of another variant."""
    model, name = folder.parent, folder.name
    if not folder.is_dir():
        raise UsageError(f"--model {model}: {INDEX} names {name}, but there is no folder {folder}")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights and any(file.suffix in PICKLES for file in folder.iterdir()):
        raise UsageError(f"--model {model}: {name} has pickled weights alone; {PICKLE_REFUSED}")
    for file in weights:
        _check_header(file)
    variants = {re.sub(r"-\d+-of-\d+$", "", file.stem).partition(".")[2] for file in weights}
    if weights and not variants & {"", variant}:
        found = " or ".join(f"--variant {each}" for each in sorted(variants))
        asked = f"of variant {variant}" if variant else "without a variant"
        raise UsageError(f"--model {model}: {name} has no weights {asked}; choices: {found}")


def _check_header(file: Path) -> None:
    """UsageError for a file that is not what its name says, such as an empty one or a page of text."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(_HEADER), "little")
        if size < _HEADER or length > size - _HEADER or opened.read(1) != b"{":
            raise UsageError(f"--model: {file} ({size} bytes) holds no safetensors: damaged, or a pointer to the file")


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
    if HUB_ID.fullmatch(place) and not path.parent.is_dir():
        return None
    raise UsageError(f"{said}: no such folder; needed is one that transformers wrote, or a hub id OWNER/NAME")


def starting_file(start: str) -> Path | None:
    """The file of weights that `--start` names; None for a word. UsageError for anything else."""
    if start in STARTS:
        return None
    path = usable("--start", Path(start))
    if path.is_file() and path.suffix in PICKLES:
        raise UsageError(f"--start {start}: {TENSORS_REFUSED}")
    if not path.is_file() or path.suffix != ".safetensors":
        raise UsageError(f"--start {start}: no such file; choices: {', '.join(STARTS)}, or a .safetensors file")
    return path


def is_hub_id(model: str) -> bool:
    """Whether a model is named as on the hub, OWNER/NAME, and is no folder or file here."""
    return bool(HUB_ID.fullmatch(model)) and not Path(model).exists()


def public_name(model: str) -> str:
    """What others may read of where a model is: its id on the hub, or the last part of its path."""
    return model if is_hub_id(model) else Path(model).name


def public_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """A run's options as others may read them: of what lies in a folder no more than its last part."""
    return {name: _last(str(value)) if name in PLACES and value else value for name, value in options.items()}


def _last(place: str) -> str:
    """The last part of a path, with the kind of judge that may stand before it."""
    kind, colon, path = place.rpartition(":")
    return f"{kind}{colon}{Path(path).name}"


def public_divergences(names: str) -> str:
    """The names of a run's divergences, those in a user's files without the folders."""
    parts = (name.rpartition(".py:") for name in names.split(", "))
    return ", ".join(f"{Path(file).name if mark else file}{mark}{rest}" for file, mark, rest in parts)


def forget_places(folder: Path) -> None:
    """Take out of a written pipeline's configurations the paths that its parts were loaded from."""
    for file in [*folder.rglob("*config.json"), *folder.glob(INDEX)]:
        content = json.loads(file.read_text())
        places = {key for key in ("_name_or_path", "name_or_path") if key in content and not is_hub_id(content[key])}
        if places:
            kept = {key: value for key, value in content.items() if key not in places}
            file.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
