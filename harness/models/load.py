"""Loading a model, its parameter groups, and the frozen prediction without a second network."""

import hashlib
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download, snapshot_download
from peft import LoraConfig
from safetensors import SafetensorError
from torch import Tensor
from torch.func import functional_call

from harness.config import MINIATURE, UsageError
from harness.miniature import WEIGHTS
from harness.models.families import FAMILIES, Conditioning, Family, NoiseSchedule
from harness.models.stable_diffusion import StableDiffusion
from harness.runs import processes
from harness.runs.folder import usable

__all__ = ["Conditioning", "Denoiser", "Family", "NoiseSchedule", "load", "resolve", "select"]

INDEX = "model_index.json"
SINGLE_FILE_PARTS = "stable-diffusion-v1-5/stable-diffusion-v1-5"
"""Where the configurations and the tokenizer are that a single-file checkpoint lacks."""
CONFIGURATIONS = ["*.json", "*.txt"]
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
PICKLE_REFUSED = (
    "pickled weights can run any code when they are read, so only safetensors are. Where you trust the file, convert "
    "it once: diffusers' from_pretrained(FOLDER, use_safetensors=False), or from_single_file(FILE), and then "
    "save_pretrained(NEW_FOLDER), which writes safetensors"
)
LOADING_ERRORS = (OSError, ValueError, AttributeError, TypeError, KeyError, RuntimeError, SafetensorError)


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
            family: type[Family] = StableDiffusion
            read: Callable[..., Any] = family.pipeline_class.from_single_file
            # Given no folder of configurations, diffusers would look on the hub even where it was told not to.
            parts = snapshot_download(SINGLE_FILE_PARTS, allow_patterns=CONFIGURATIONS, local_files_only=offline)
            where: dict[str, Any] = {"config": parts, "local_files_only": True}
        else:
            where = {"revision": revision or None, "local_files_only": offline}
            index = source / INDEX if isinstance(source, Path) else Path(hf_hub_download(source, INDEX, **where))
            kind = json.loads(index.read_text()).get("_class_name")
            if not isinstance(kind, str) or kind not in FAMILIES:
                raise UsageError(f"--model {source}: a {kind}; choices: {', '.join(FAMILIES)}")
            family = FAMILIES[kind]
            read = family.pipeline_class.from_pretrained
            where |= {"variant": variant or None, "use_safetensors": True}
        model = family(read(str(source), **where, **family.load_options))
    except UsageError:
        raise
    except LOADING_ERRORS as error:
        text = " ".join(str(error).split())[:300]
        hint = f"; {PICKLE_REFUSED}" if "safetensors" in text and "bin" in text else ""
        raise UsageError(f"--model {source}: diffusers cannot load it: {text}{hint}") from error
    if problem := model.problem():
        raise UsageError(f"--model {source}: no {family.__name__} text-to-image model: {problem}")
    model.noise_schedule()  # refuses what has none that s can be read from
    model.pipeline.set_progress_bar_config(disable=True)
    model.pipeline.to(torch.float32)
    model.network.to(device)
    return model


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


def check_prompts(model: Family, prompts: Iterable[str]) -> None:
    """UsageError for a prompt that a text encoder would cut off."""
    for prompt in prompts:
        if too_long := _too_long(model, prompt):
            raise UsageError(f"prompt {textwrap.shorten(prompt, 80)!r}: {too_long}; shorten it, or give --prompts")


def short_enough(model: Family, prompts: Iterable[str]) -> list[str]:
    """The prompts that no text encoder would cut off."""
    return [prompt for prompt in prompts if not _too_long(model, prompt)]


def _too_long(model: Family, prompt: str) -> str:
    for tokenizer, limit in model.token_limits():
        if (length := len(tokenizer(prompt).input_ids)) > limit:
            return f"{length} tokens, more than the tokenizer's limit of {limit}"
    return ""


def check_sampling(model: Family, steps: int) -> None:
    """UsageError for more denoising steps than the model was trained with."""
    if steps > (most := model.pipeline.scheduler.config.num_train_timesteps):
        raise UsageError(f"--sampling-steps {steps}: this model has {most} time steps; choose fewer")


def select(model: Family, parameter_group: str) -> dict[str, torch.nn.Parameter]:
    """The parameters by name that a group trains, or for `lora` adapts.

    Raises:
        UsageError: there are none in this denoiser; the message lists the groups with their sizes.
    """
    named = dict(model.network.named_parameters())
    groups = {
        group: {name: parameter for name, parameter in named.items() if pattern.search(name)}
        for group, pattern in model.parameter_groups.items()
    }
    if not groups[parameter_group]:
        sizes = {group: sum(p.numel() for p in members.values()) for group, members in groups.items()}
        raise UsageError(
            f"--parameter-group {parameter_group}: selects no weight of this denoiser; the groups and their sizes: "
            + ", ".join(f"{group} {size:,}" for group, size in sizes.items())
        )
    return groups[parameter_group]


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A SHA-256 of tensors and their names, the same in any order and on any device."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class Denoiser:
    """A denoiser of which one parameter group trains, and the same network as it was before."""

    def __init__(self, model: Family, parameter_group: str, precision: str = "fp32", rank: int = 8) -> None:
        """Freeze all but the group, and keep a frozen copy of the group's tensors alone.

        `full` copies every weight, which nothing can avoid; `lora` copies none, since its adapters can be left out.

        Args:
            model: the loaded model; its network is trained in place.
            parameter_group: a key of the family's `parameter_groups`.
            precision: `bf16` runs the forward pass in it; what trains stays in fp32.
            rank: of each adapter, for `lora`.

        Raises:
            UsageError: the group selects nothing in this network.
        """
        self.model, self.network = model, model.network
        self.adapted = parameter_group == "lora"
        selected = select(model, parameter_group)
        self.network.requires_grad_(False).eval()
        if self.adapted:
            self.frozen = {name: parameter.detach() for name, parameter in selected.items()}
            modules = [name.removesuffix(".weight") for name in selected]
            # alpha equal to the rank: the weight is W + BA, with no factor that a reader of the file has to know.
            self.network.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=modules))
            self.trained = {name: p for name, p in self.network.named_parameters() if p.requires_grad}
        else:
            self.frozen = {name: parameter.detach().clone() for name, parameter in selected.items()}
            self.trained = {name: parameter.requires_grad_(True) for name, parameter in selected.items()}
        self.precision = precision
        self.wide = self._narrow() if precision == "bf16" else {}
        self.frozen |= {name: each for name, each in self.wide.items() if name in self.frozen}

    def __call__(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """The trained model's raw output in fp32, (n, c, h, w), from x_t (n, c, h, w), t (n,) and n conditionings."""
        return self._predict(self.network, noisy, timesteps, conditioning)

    @torch.no_grad()
    def frozen_denoiser(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """The original model's raw output, to the last bit: the same network with the frozen tensors in place."""
        if not self.adapted:
            return self._predict(self._frozen_network, noisy, timesteps, conditioning)
        self.network.disable_adapters()
        try:
            return self._predict(self.network, noisy, timesteps, conditioning)
        finally:
            self.network.enable_adapters()

    def _predict(self, network: Callable[..., Any], *inputs: Any) -> Tensor:
        with self.model.arithmetic(self.precision):
            return self.model.predict(network, *inputs).float()

    def _frozen_network(self, *arguments: Any, **options: Any) -> Any:
        return functional_call(self.network, self.frozen, arguments, options)

    def _narrow(self) -> dict[str, Tensor]:
        """Store in bf16 what is only ever read in it; the fp32 values, by name, go to the CPU.

        Autocast would cast these weights to the same bits, but again in each pass, and keep both for the backward one.
        """
        wide = {}
        for place, module in self.network.named_modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
                for name, parameter in module.named_parameters(place, recurse=False):
                    if not parameter.requires_grad:
                        wide[name.replace(".base_layer.", ".")] = parameter.data.cpu()
                        parameter.data = parameter.data.bfloat16()
        return wide

    @torch.no_grad()
    def restore(self) -> None:
        """Put the original weights back, bit for bit; adapters are taken out, and train no more."""
        if self.adapted:
            self.network.unload_lora()
        else:
            for name, parameter in self.trained.items():
                parameter.copy_(self.frozen[name])
        for name, parameter in self.network.named_parameters():
            if name in self.wide:
                parameter.data = self.wide[name].to(self.model.device)

    def weights(self) -> dict[str, Tensor]:
        """What was trained as it is now, on the CPU."""
        return {name: parameter.detach().cpu().contiguous() for name, parameter in self.trained.items()}
