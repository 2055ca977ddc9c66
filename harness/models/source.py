"""Where a model is read from: what can be said of that before anything heavy is imported."""

import json
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
TENSORS_REFUSED = (
    "pickled weights can run any code when they are read, so only safetensors are. To convert it once: "
    "state = torch.load(FILE, map_location='cpu', weights_only=True), which reads tensors and runs no code; take what "
    "holds the denoiser's (concept-ablation's delta: state = state['unet']); then safetensors.torch.save_file(state, "
    "'NEW.safetensors')"
)
STARTS = ("original", "closed-form")
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


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
    if HUB_ID.fullmatch(model) and not path.parent.is_dir():
        return model
    raise UsageError(f"--model {model}: no such folder; choices: {choices}")


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
