"""Weights at a strength, and their change as a product of two thin matrices: adapters as they are, others by SVD."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

A, B = ".lora_A.default.weight", ".lora_B.default.weight"


def merged(frozen: Mapping[str, Tensor], trained: Mapping[str, Tensor], strength: float = 1.0) -> dict[str, Tensor]:
    """The denoiser's changed weights: at 0 the original's and, but for adapters, at 1 the trained ones, bit for bit.

    Args:
        frozen: the original weights that the group trains or adapts, by name.
        trained: the same after training, or the adapters' factors, whose product is added.
        strength: how far to go from the one to the other.
    """
    if frozen.keys() == trained.keys():
        return {name: torch.lerp(weight, trained[name].to(weight.device), strength) for name, weight in frozen.items()}
    return {
        name: weight + strength * (trained[_module(name) + B] @ trained[_module(name) + A]).to(weight.device)
        for name, weight in frozen.items()
    }


def factors(
    frozen: Mapping[str, Tensor],
    trained: Mapping[str, Tensor],
    strength: float,
    rank: int,
    modules: Mapping[str, nn.Module],
) -> dict[str, Tensor]:
    """LoRA factors by `MODULE.lora_A.weight` and `MODULE.lora_B.weight`.

    The truncated SVD is the best approximation of its rank in the Frobenius norm (Eckart and Young, 1936). Biases and
    normalisations cannot be put into a LoRA.

    Args:
        frozen: as in `merged`.
        trained: as in `merged`; adapters are written as they are.
        strength: as in `merged`.
        rank: the most that a factor may have.
        modules: the denoiser's modules by name.
    """
    if frozen.keys() != trained.keys():
        pairs = {name.replace(".default.", "."): each for name, each in trained.items()}
        return {name: each * (strength if ".lora_B." in name else 1.0) for name, each in pairs.items()}
    result: dict[str, Tensor] = {}
    for name, after in merged(frozen, trained, strength).items():
        module = modules[name.rpartition(".")[0]]
        if not name.endswith(".weight") or not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        change = (after - frozen[name]).float()
        u, s, v = torch.linalg.svd(change.flatten(1), full_matrices=False)
        root = s[:rank].sqrt()
        ones = (1,) * (change.ndim - 2)
        result[f"{_module(name)}.lora_A.weight"] = (root[:, None] * v[:rank]).reshape(-1, *change.shape[1:])
        result[f"{_module(name)}.lora_B.weight"] = (u[:, :rank] * root).reshape(len(change), -1, *ones)
    return result


def adapted(frozen: Mapping[str, Tensor], factors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that factors as above make of the original ones; what has none stays."""
    result = dict(frozen)
    for name, weight in frozen.items():
        down, up = (factors.get(f"{_module(name)}.lora_{each}.weight") for each in "AB")
        if down is not None and up is not None and name.endswith(".weight"):
            change = up.float().flatten(1) @ down.float().flatten(1)
            result[name] = weight + change.reshape(weight.shape).to(weight.device)
    return result


def left_out(frozen: Mapping[str, Tensor], changed: Mapping[str, Tensor], written: Mapping[str, Tensor]) -> float:
    """Frobenius norm of what the weights written lack of the changed ones, relative to that of the whole change.

    So it holds what a rank cuts off, biases that a LoRA has no place for, and what a narrower type rounds.
    """
    whole = sum((changed[name] - frozen[name]).float().square().sum().item() for name in changed)
    left = sum((changed[name] - written[name]).float().square().sum().item() for name in changed)
    return (left / whole) ** 0.5 if whole else 0.0


def _module(name: str) -> str:
    return name.removesuffix(".weight")
