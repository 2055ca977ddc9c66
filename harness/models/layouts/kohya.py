"""Files that kohya's trainers, A1111, Forge and ComfyUI share: LoRAs and full differences, by `lora_unet_MODULE`.

MODULE is the module's path with underscores: diffusers' path for Stable Diffusion 1.x and 2.x, and the original's for
XL, as kohya's trainers have it; every reader knows both. A LoRA has `.lora_down.weight`, `.lora_up.weight` and
`.alpha`, a difference `.diff` of the weight and `.diff_b` of the bias.
"""

from collections.abc import Mapping

import torch
from diffusers.utils import convert_state_dict_to_kohya
from torch import Tensor

from harness.models.family import Family
from harness.models.layouts.original import unet_names

PREFIX = "lora_unet_"
ENDS = {"weight": "diff", "bias": "diff_b"}


def adapters(model: Family, factors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Factors by `MODULE.lora_A.weight` and `MODULE.lora_B.weight` as a LoRA, its alpha the rank.

    Thin layers have fewer rows, which zeros fill up: some readers know one alpha a file.
    """
    paths, named = _paths(model), {}
    rank = max(len(factor) for name, factor in factors.items() if ".lora_A." in name)
    for name, factor in factors.items():
        module, _, end = name.partition(".lora_")
        across = 0 if end.startswith("A") else 1
        missing = list(factor.shape)
        missing[across] = rank - missing[across]
        named[f"unet.{paths[module]}.lora_{end}"] = torch.cat([factor, factor.new_zeros(missing)], across)
    kind = next(iter(factors.values())).dtype
    return {name: each.to(kind) for name, each in convert_state_dict_to_kohya(named).items()}


def differences(model: Family, changes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is to be added to each weight and bias, by the names of such a file."""
    names = _names(model)
    return {names[name]: change for name, change in changes.items()}


def read_differences(model: Family, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a file adds to the denoiser's own weights, in fp32, by their names; others of its tensors are left out."""
    state, names = model.network.state_dict(), _names(model)
    found = {name: tensors[key].float() for name, key in names.items() if key in tensors}
    return {name: each for name, each in found.items() if each.shape == state[name].shape}


def _names(model: Family) -> dict[str, str]:
    """Of each of the denoiser's parameters in a file of differences."""
    paths, result = _paths(model), {}
    for name in model.network.state_dict():
        module, _, end = name.rpartition(".")
        result[name] = f"{PREFIX}{paths[module].replace('.', '_')}.{ENDS[end]}"
    return result


def _paths(model: Family) -> dict[str, str]:
    """Of each of the denoiser's modules that has parameters its path in such files."""
    large = getattr(model.pipeline, "text_encoder_2", None) is not None
    names = unet_names(model.network) if large else {name: name for name in model.network.state_dict()}
    return {name.rpartition(".")[0]: new.rpartition(".")[0] for name, new in names.items()}
