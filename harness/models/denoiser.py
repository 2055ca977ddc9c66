"""A denoiser of which one parameter group trains, and its frozen prediction without a second network."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor
from torch.func import functional_call
from torch.nn.modules.module import register_module_forward_hook

from harness.models.family import Conditioning, Family
from harness.models.layouts.narrow import Exact, is_narrow, narrow_weight, widen_weight


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
        What trains is fp32, made of the weights as they were read where they are stored in bf16.

        Args:
            model: the loaded model; its network is trained in place.
            parameter_group: a key of the family's `parameter_groups`.
            precision: `bf16` runs the forward pass in it.
            rank: of each adapter, for `lora`.
            checkpointing: whether the backward pass computes each block's activations again.

        Raises:
            UsageError: the group selects nothing in this network.
        """
        self.model, self.network = model, model.network
        self.adapted = parameter_group == "lora"
        selected = model.parameters_of(parameter_group)
        self.network.requires_grad_(False).eval()
        self.narrow = [parameter for parameter in selected.values() if is_narrow(parameter) and not self.adapted]
        """What trains and was stored in bf16."""
        self.frozen: Mapping[str, Tensor] = Exact(selected)
        if self.adapted:
            modules = [name.removesuffix(".weight") for name in selected]
            # alpha equal to the rank: the weight is W + BA, with no factor that a reader of the file has to know.
            self.network.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=modules))
            self.trained = {name: p for name, p in self.network.named_parameters() if p.requires_grad}
            for parameter in self.trained.values():
                widen_weight(parameter)  # made in the type of the layer that they are beside
        else:
            for parameter in self.narrow:
                widen_weight(parameter)
            self.frozen = {name: parameter.detach().clone() for name, parameter in selected.items()}
            self.trained = {name: parameter.requires_grad_(True) for name, parameter in selected.items()}
        self.precision = precision
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
        return functional_call(self.network, dict(self.frozen), arguments, options)

    @torch.no_grad()
    def restore(self) -> None:
        """Put the original weights back, bit for bit; adapters are taken out, and train no more."""
        self.network.disable_gradient_checkpointing()
        if self.adapted:
            self.network.unload_lora()
        else:
            for name, parameter in self.trained.items():
                parameter.copy_(self.frozen[name])
        for parameter in self.narrow:
            narrow_weight(parameter)

    def weights(self) -> dict[str, Tensor]:
        """What was trained as it is now, on the CPU."""
        return {name: parameter.detach().cpu().contiguous() for name, parameter in self.trained.items()}
