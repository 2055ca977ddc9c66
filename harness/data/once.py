"""Samples that no erasure changes: found in the user's cache, or made and kept there, bit for bit the same."""

import hashlib
import json
import platform
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.config import Config
from harness.data.finish import finish
from harness.data.latents import sample
from harness.models.family import Conditioning, Family
from harness.models.layouts.narrow import Exact
from harness.models.sampler import sampler
from harness.models.weights import fingerprint
from harness.runs import cache as disk
from harness.runs import processes

OPTIONS = ("sampling_steps", "guidance_scale", "precision", "batch_size")
"""Those that change a sample; the batch it is in does so in its last digits."""
COMPUTING = ("torch", "diffusers", "transformers", "accelerate", "numpy")
SAMPLING = ("attacking", "config", "data", "discovery", "judging", "miniature", "models", "prompts", "runs")
"""The harness's parts that sampling, attacks and judging are made of; no other can change what is kept here."""


def sample_once(
    model: Family,
    prompts: Sequence[str],
    embeddings: dict[str, Conditioning],
    options: Config,
    seed: int,
    output: str = "latent",
    desc: str = "sample",
) -> Tensor:
    """What `sample` gives of the model as it is now; from the cache, if `options` allow it and it is there."""
    make = partial(sample, model, prompts, embeddings, options, seed, output, desc)
    made = once(options, lambda: about(model, prompts, embeddings, options, seed, output), make)
    return made if output == "pt" else made.to(model.device)


def finish_once(
    model: Family,
    clean: Tensor,
    fraction: float,
    prompts: Sequence[str],
    embeddings: dict[str, Conditioning],
    options: Config,
    seed: int,
) -> Tensor:
    """What `finish` gives of latents (n, c, h, w) and a prompt for each; from the cache, if it is there."""

    def content() -> dict[str, Any]:
        told = about(model, prompts, embeddings, options, seed, "finished latents")
        return told | {"clean": fingerprint({"clean": clean}), "fraction": fraction}

    given, nothing = [embeddings[prompt] for prompt in prompts], embeddings[""]
    made = once(options, content, lambda: finish(model, clean, fraction, given, nothing, options, seed))
    return made.to(model.device)


def once(options: Config, content: Callable[[], dict[str, Any]], make: Callable[[], Tensor]) -> Tensor:
    """What `make` gives, under the key of `content`: from the cache, or made and kept there."""
    if not options.cache or disk.folder() is None:
        return make()
    key = processes.on_main(lambda: key_of(content()))
    found = processes.on_main(lambda: disk.load(key))
    if found is not None:
        return found
    made = make()
    if processes.is_main():
        disk.save(key, made)
    return made


def key_of(content: dict[str, Any]) -> str:
    """A SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def about(
    model: Family,
    prompts: Sequence[str],
    embeddings: dict[str, Conditioning],
    options: Config,
    seed: int,
    output: str,
) -> dict[str, Any]:
    """All that determines the bits of what `sample` gives, or an attack, as plain values.

    The networks are known by their weights as they are now; where bf16 does not hold all of one, by what was read,
    which fine-tuning starts from. The text encoders need not be: what they made is.
    """
    pipeline = model.pipeline
    told = {
        f"{i} {name}": tensor
        for i, prompt in enumerate([*prompts, ""])
        for name, tensor in _tensors(embeddings[prompt])
    }
    return {
        "what": [type(model).__qualname__, type(pipeline).__qualname__, output, seed, list(prompts)],
        "conditionings": fingerprint(told),
        "networks": {
            "denoiser": fingerprint(Exact.of(model.network)),
            "stored": {name: str(each.dtype) for name, each in model.network.state_dict().items()},
            "vae": fingerprint(pipeline.vae.state_dict()),
        },
        "configurations": {name: plain(part) for name, part in pipeline.components.items() if hasattr(part, "config")},
        "pixels": model.pixels,
        "guided": model.guides(pipeline.config),
        "sampler": [type(sampler(pipeline)).__name__, plain(sampler(pipeline))],
        "options": {name: getattr(options, name) for name in OPTIONS},
        "machine": machine(model.device),
        "sources": sources(),
    }


def _tensors(conditioning: Conditioning) -> list[tuple[str, Tensor]]:
    return [(name, tensor) for name, tensor in vars(conditioning).items() if tensor is not None]


def plain(part: Any) -> dict[str, str]:
    """A part's configuration without what says where it was read from."""
    config = part.config.to_dict() if hasattr(part.config, "to_dict") else part.config
    return {name: str(value) for name, value in config.items() if not name.startswith("_")}


def machine(device: torch.device) -> dict[str, Any]:
    """What computes: libraries, processor and how it is used; other ones may differ in the last digits."""
    accelerator = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return {
        "versions": {name: metadata.version(name) for name in COMPUTING},
        "device": [device.type, accelerator, platform.machine(), torch.backends.cpu.get_cpu_capability(), _processor()],
        "arithmetic": [
            torch.get_float32_matmul_precision(),
            torch.backends.cudnn.allow_tf32,
            torch.backends.cuda.cudnn_sdp_enabled(),
        ],
        "threads": torch.get_num_threads(),
        "processes": processes.count(),
    }


@cache
def _processor() -> str:
    """The processor's name, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("model name")), platform.processor())


@cache
def sources() -> str:
    """A SHA-256 of the sources of `SAMPLING`."""
    from fdiv.evidence.store import digest_of_sources

    patterns = [pattern for part in SAMPLING for pattern in (f"{part}.py", f"{part}/**/*.py")]
    return digest_of_sources(Path(__file__).parents[1], patterns)
