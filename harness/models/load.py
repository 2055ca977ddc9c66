"""Loading a pipeline as the family of models that it is of, and what can be asked of one that is loaded."""

import json
import textwrap
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download, snapshot_download

from harness.config import Config, UsageError
from harness.models.family import Family, families
from harness.models.layouts.narrow import narrow
from harness.models.sampler import has_steps
from harness.models.source import INDEX, LOADING_ERRORS, PICKLE_REFUSED, QUANTISED, absent, why_not
from harness.runs import processes

LATENTS = 4
"""Of which a picture's side has a multiple: as many as any denoiser takes together."""
CONFIGURATIONS = ["*.json", "*.txt"]


def load(
    source: Path | str, device: torch.device, variant: str = "", revision: str = "", offline: bool = False
) -> Family:
    """Load a pipeline in fp32, without a safety checker, its progress bars off; code that comes with it never runs.

    Args:
        source: as `resolve` gives it.
        device: where the denoiser goes.
        variant: of the weights' files, such as fp16.
        revision: branch, tag or commit on the hub.
        offline: read the local cache alone.

    Raises:
        UsageError: files that diffusers cannot load, or another kind of pipeline.
    """
    try:
        if isinstance(source, Path) and source.is_file():
            model = _read_single_file(source, offline)
        else:
            model = _read_pipeline(source, variant, revision, offline)
    except UsageError:
        raise
    except LOADING_ERRORS as error:
        text = " ".join(str(error).split())[:300]
        hint = f"; {PICKLE_REFUSED}" if "safetensors" in text and "bin" in text else ""
        hint = f"; {QUANTISED}" if "quantiz" in text else hint
        raise UsageError(f"--model {source}: diffusers cannot load it: {text}{hint}") from error
    model = placed(model, f"--model {source}", device)
    model.pipeline.to(torch.float32)
    return model


def placed(model: Family, named: str, device: torch.device) -> Family:
    """A pipeline that is in memory, found usable: quiet, its denoiser on the device.

    Args:
        model: whose pipeline is changed in place.
        named: what it is called in an error.
        device: where the denoiser goes.

    Raises:
        UsageError: another kind of pipeline, or one with a noise that s cannot be read from.
    """
    if model.network.config.get("quantization_config"):
        raise UsageError(f"{named}: {QUANTISED}")
    if problem := model.problem():
        raise UsageError(f"{named}: no {type(model).__name__} text-to-image model: {problem}")
    model.path()  # refuses what has none that s can be read from
    model.pipeline.set_progress_bar_config(disable=True)
    model.network.to(device)
    return model


def ready(model: Family, device: torch.device, precision: str) -> Family:
    """The same model with its denoiser on the device, and in `bf16` stored in it before: it need not fit there in fp32.

    Args:
        model: changed in place, whose denoiser is in fp32.
        device: where to compute.
        precision: of the denoiser.
    """
    if precision == "bf16":
        narrow(model.network)
    model.network.to(device)
    return model


def _read_single_file(source: Path, offline: bool) -> Family:
    """A checkpoint in one file, completed by a folder of configurations beside it that has its name, or by the hub."""
    beside = source.with_suffix("")
    if (beside / INDEX).is_file():
        family, parts = _family_of(source, beside / INDEX), str(beside)
    else:
        family = next(each for each in families().values() if each.single_file_parts)
        # Given no folder of configurations, diffusers would look on the hub even where it was told not to.
        parts = snapshot_download(family.single_file_parts, allow_patterns=CONFIGURATIONS, local_files_only=offline)
    read = family.pipeline_class.from_single_file
    return family(read(str(source), config=parts, local_files_only=True, **family.load_options))


def _read_pipeline(source: Path | str, variant: str, revision: str, offline: bool) -> Family:
    """A folder or a hub id in the diffusers layout, as the family that its index names."""
    where: dict[str, Any] = {"revision": revision or None, "local_files_only": offline}
    index = source / INDEX if isinstance(source, Path) else Path(hf_hub_download(source, INDEX, **where))
    family = _family_of(source, index)
    told = {**where, "variant": variant or None, **absent(index), **family.load_options}
    return family(family.pipeline_class.from_pretrained(str(source), use_safetensors=True, **told))


def _family_of(source: Path | str, index: Path) -> type[Family]:
    """The family of the pipeline class that an index names; UsageError for any other."""
    kind = json.loads(index.read_text()).get("_class_name")
    if not isinstance(kind, str) or kind not in families():
        raise UsageError(f"--model {source}: a {kind}{why_not(str(kind))}; choices: {', '.join(families())}")
    return families()[kind]


def resolve_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one, and each of several processes has its own. UsageError for one not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if (count := processes.launched()) > 1 and name.startswith("cuda"):
        if name != "cuda":
            raise UsageError(
                f"--device {name}: one GPU for {count} processes; NCCL needs one for each, which auto gives them"
            )
        name = f"cuda:{processes.local_rank()}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device {name}: no such device; choices: auto, cpu, cuda, cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: not supported; choices: auto, cpu, cuda, cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: torch sees {torch.cuda.device_count()} GPUs here; choices: auto, cpu")
    return device


def restrain_cudnn() -> None:
    """From here on cuDNN computes convolutions in fp32 where they are asked for in it, and no attention.

    torch lets it cut what a convolution reads to the 10 bits of TF32, and prefers its attention on Hopper since 2.11.
    A backward pass of that is built for the layout that the gradient has the first time, and kept by those of queries,
    keys and values alone (`aten/src/ATen/native/cudnn/MHA.cpp`). FLUX's gradients have two: its first blocks would have
    theirs read as the last ones' are, beyond its end. With a mask some lengths give NaN (pytorch/pytorch 196678).
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.enable_cudnn_sdp(False)


def told(model: Family, options: Config) -> Family:
    """The model as a run's options have it told: of tokens, pixels, steps, and guidance where it was distilled to it.

    Raises:
        UsageError: a number of tokens, where all its text encoders have a length of their own; or pixels that it
            cannot draw.
    """
    tokens = options.max_sequence_length
    if tokens and not model.text_length:
        lengths = ", ".join(str(limit) for _, limit in model.token_limits())
        raise UsageError(
            f"--max-sequence-length {tokens}: the text encoders of a {type(model.pipeline).__name__} have lengths of "
            f"their own, {lengths}; leave it out"
        )
    pixels, each, most = options.resolution, LATENTS * model.pipeline.vae_scale_factor, model.pixels
    if pixels % each or pixels > most:
        raise UsageError(f"--resolution {pixels}: must be a multiple of {each} up to the model's own {most}")
    return replace(
        model, max_sequence_length=tokens, guidance_scale=options.guidance_scale, resolution=pixels,
        sampling_steps=options.sampling_steps,
    )  # fmt: skip


def check_prompts(model: Family, prompts: Iterable[str], where: str = "", way: str = ", or give --prompts") -> None:
    """UsageError for a prompt that a text encoder would cut off; `where` begins it, and `way` ends it."""
    for prompt in prompts:
        if too_long := _too_long(model, prompt):
            raise UsageError(f"{where}prompt {textwrap.shorten(prompt, 80)!r}: {too_long}; shorten it{way}")


def short_enough(model: Family, prompts: Iterable[str]) -> list[str]:
    """The prompts that no text encoder would cut off."""
    return [prompt for prompt in prompts if not _too_long(model, prompt)]


def _too_long(model: Family, prompt: str) -> str:
    for tokenizer, limit in model.token_limits():
        if (length := len(tokenizer(prompt).input_ids)) > limit:
            return f"{length} tokens, more than the tokenizer's limit of {limit}"
    return ""


def check_sampling(model: Family, steps: int) -> None:
    """UsageError for more denoising steps than the model was trained with or its sampler tells apart, or too few."""
    if steps < model.fewest_steps:
        raise UsageError(f"--sampling-steps {steps}: {type(model.pipeline).__name__} needs {model.fewest_steps}")
    most = model.pipeline.scheduler.config.num_train_timesteps
    if steps > most or not has_steps(model, steps):
        raise UsageError(f"--sampling-steps {steps}: this model has {most} time steps; choose fewer")
