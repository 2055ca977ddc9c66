"""A denoiser of which one parameter group trains, and its frozen prediction without a second network."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor
from torch.func import functional_call
from torch.nn.modules.module import register_module_forward_hook

from harness.models.family import Conditioning, Family


@contextmanager
def forwards(network: torch.nn.Module) -> Iterator[Counter[str]]:
    """Within this, forward passes of denoisers of this kind are counted, one for each sample, as `forwards`."""
    passes = Counter(forwards=0)

    def count(module: torch.nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], _: Any) -> None:
        if isinstance(module, type(network)):
            passes["forwards"] += len(inputs[0] if inputs else named["hidden_states"])

    handle = register_module_forward_hook(count, with_kwargs=True)
    try:
        yield passes
    finally:
        handle.remove()


class Denoiser:
    """A denoiser of which one parameter group trains, and the same network as it was before."""

    def __init__(
        self, model: Family, parameter_group: str, precision: str = "fp32", rank: int = 8, checkpointing: bool = False
    ) -> None:
        """Freeze all but the group, and keep a frozen copy of the group's tensors alone.

        `full` copies every weight, which nothing can avoid; `lora` copies none, since its adapters can be left out.

        Args:
            model: the loaded model; its network is trained in place.
            parameter_group: a key of the family's `parameter_groups`.
            precision: `bf16` runs the forward pass in it; what trains stays in fp32.
            rank: of each adapter, for `lora`.
            checkpointing: whether the backward pass computes each block's activations again.

        Raises:
            UsageError: the group selects nothing in this network.
        """
        self.model, self.network = model, model.network
        self.adapted = parameter_group == "lora"
        selected = model.parameters_of(parameter_group)
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
        if checkpointing:
            self.network.enable_gradient_checkpointing()

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
        self.network.disable_gradient_checkpointing()
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
