"""Where a model is read from: what can be said of that before anything heavy is imported."""

import json
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from harness.config import EMBEDDED, UsageError
from harness.runs.files import read_json, usable
from harness.runs.places import HUB_ID, is_hub_id

INDEX = "model_index.json"
CONFIGURATION, PREPROCESSOR = "config.json", "preprocessor_config.json"
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
PICKLE_REFUSED = (
    "pickled weights can run any code when they are read, so only safetensors are. Where you trust the file, convert "
    "it once: diffusers' from_pretrained(FOLDER, use_safetensors=False), or from_single_file(FILE), and then "
    "save_pretrained(NEW_FOLDER), which writes safetensors"
)
QUANTISED = (
    "its weights are quantised, and what trains has to be whole; name the checkpoint that it was made from, in fp32, "
    "fp16 or bf16"
)
OTHER_PIPELINES = {
    "ControlNet|Adapter|GLIGEN|FluxControl": "it takes a picture that says where things are; name the model that it "
    "steers",
    "Inpaint|Fill|Kontext|Edit|KleinKV|ZImageOmni|Redux|Pix2Pix|Upscale|Depth2Img|Refiner": "it takes a picture "
    "besides the prompt; name a text-to-image model",
    "Video|^Wan|^LTX|^Mochi|^AnimateDiff|^Allegro|^Latte|^Cosmos|[IT]2V": "it makes videos; name a text-to-image model",
    "Layered": "it draws the layers of a picture; name a text-to-image model",
    "Sprint|Consistency|Turbo|Distilled": "it is distilled to a few steps of a kind of their own; name the model that "
    "it was made from",
    "Img2Img|PAG": "another use of a text-to-image pipeline's parts; load them as that, with from_pipe, and save it",
    "^(Chroma|AuraFlow|HiDream|Hunyuan|CogView|Kolors|Kandinsky|Lumina|StableCascade)": "its "
    "family has no file in harness/models/families yet",
}
"""Why a pipeline of diffusers is none that can be erased from here, by what its name holds."""
BY_PIPELINE = (
    "which is read as a folder alone; convert it once: diffusers' {}.from_single_file(FILE), and save_pretrained"
    "(NEW_FOLDER). Where it holds the denoiser alone, read that with {}.from_single_file and give it to the base "
    "pipeline's from_pretrained"
)
OTHER_FILES = {
    r"\bcontrol_model\.|\bcontrolnet_": "a ControlNet; name the model that it steers",
    r"\blora_|\.lora_": "a LoRA, which is no model; name the one that it is for",
    r"\bdouble_stream_modulation_": "the denoiser of FLUX.2, which is read as a folder alone; read it with diffusers' "
    "Flux2Transformer2DModel.from_single_file(FILE), give it to the base pipeline's from_pretrained, and "
    "save_pretrained(NEW_FOLDER)",
    r"\bdouble_blocks\.": "a file of FLUX.1, " + BY_PIPELINE.format("FluxPipeline", "FluxTransformer2DModel"),
    r"\bjoint_blocks\.": "a file of Stable Diffusion 3, "
    + BY_PIPELINE.format("StableDiffusion3Pipeline", "SD3Transformer2DModel"),
    r"\bconditioner\.embedders\.": "a file of Stable Diffusion XL, "
    + BY_PIPELINE.format("StableDiffusionXLPipeline", "UNet2DConditionModel"),
    r"\bcross_attn\.kv_linear\.": "a file of PixArt or SANA, which is read as a folder alone; diffusers' scripts "
    "convert_pixart_sigma_to_diffusers.py and convert_sana_to_diffusers.py make one",
    r"\btransformer_blocks\.\d+\.txt_mod\.": "the denoiser of Qwen-Image, which is read as a folder alone; read it "
    "with diffusers' QwenImageTransformer2DModel.from_single_file(FILE), give it to the base pipeline's "
    "from_pretrained, and save_pretrained(NEW_FOLDER)",
    r"\b(context|noise)_refiner\.": "the denoiser of Z-Image, or another of its kind, which is read as a folder alone; "
    "read it with diffusers' from_single_file of its class, give it to the base pipeline's from_pretrained, and "
    "save_pretrained(NEW_FOLDER)",
}
"""What a single file is that cannot be erased from here, by the names of its tensors."""
NARROW = ("F8_", "I8", "U8", "F4", "F6_")
"""Types of quantised weights, as safetensors' headers name them."""
TENSORS_REFUSED = (
    "pickled weights can run any code when they are read, so only safetensors are. To convert it once: "
    "state = torch.load(FILE, map_location='cpu', weights_only=True), which reads tensors and runs no code; take what "
    "holds the denoiser's (concept-ablation's delta: state = state['unet']); then safetensors.torch.save_file(state, "
    "'NEW.safetensors')"
)
STARTS = ("original", "closed-form")
LOADING_ERRORS = (OSError, ValueError, ImportError, AttributeError, TypeError, KeyError, RuntimeError, SafetensorError)
"""What diffusers and transformers raise of files that they cannot load."""
OPTIONAL = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts that an index may name and its folder lack: a pipeline is loaded without them."""
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
    if model in EMBEDDED:
        return EMBEDDED[model]
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
        _check_single_file(path)
        return path
    if path.is_file() and path.suffix == ".gguf":
        raise UsageError(f"--model {model}: {QUANTISED}")
    if path.is_file() and path.suffix in PICKLES:
        raise UsageError(f"--model {model}: {PICKLE_REFUSED}")
    choices = f"a pipeline folder, a .safetensors checkpoint, a hub id OWNER/NAME, or {' or '.join(EMBEDDED)}"
    if path.exists():
        raise UsageError(f"--model {model}: a file; needed is {choices}")
    if HUB_ID.fullmatch(model) and not path.parent.is_dir():
        return model
    raise UsageError(f"--model {model}: no such folder; choices: {choices}")


def absent(index: Path) -> dict[str, None]:
    """The parts that a pipeline was saved without, such as T5; diffusers has to be told of those it expects."""
    content = read_json(index)
    return {name: None for name, value in content.items() if isinstance(value, list) and not any(value)}


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
    if (folder / CONFIGURATION).is_file() and read_json(folder / CONFIGURATION).get("quantization_config"):
        raise UsageError(f"--model {model}: {name}: {QUANTISED}")
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


def _check_single_file(file: Path) -> None:
    """UsageError for a file that is quantised, or not of a family that is read from single files."""
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(_HEADER), "little")))
    for name, entry in header.items():
        if str(entry.get("dtype", "")).startswith(NARROW) or name.endswith((".absmax", ".scale_weight", ".quant_map")):
            raise UsageError(f"--model {file}: {QUANTISED}")
    for pattern, reason in OTHER_FILES.items():
        if any(re.search(pattern, name) for name in header):
            raise UsageError(f"--model {file}: {reason}")


def why_not(kind: str) -> str:
    """Why a pipeline of diffusers cannot be erased from, as far as its name says, after a colon; else nothing."""
    return next((f": {reason}" for pattern, reason in OTHER_PIPELINES.items() if re.search(pattern, kind)), "")


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


def forget_places(folder: Path) -> None:
    """Take out of a written pipeline's configurations the paths that its parts were loaded from."""
    for file in [*folder.rglob("*config.json"), *folder.glob(INDEX)]:
        content = json.loads(file.read_text())
        places = {key for key in ("_name_or_path", "name_or_path") if key in content and not is_hub_id(content[key])}
        if places:
            kept = {key: value for key, value in content.items() if key not in places}
            file.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
