"""FLOPs as torch counts them, attention on a CPU too, and what devices can do of them."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

PEAK_TFLOPS = {"H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "RTX 4090": 165}
"""Of dense matrix products in bf16, by a part of the device's name; the first that fits (the makers' data sheets)."""


def flops() -> FlopCounterMode:
    """A context that counts the FLOPs of what runs in it: of matrix products, convolutions and attention alone."""
    aten: Any = torch.ops.aten
    return FlopCounterMode(
        display=False,
        custom_mapping={
            aten._scaled_dot_product_flash_attention_for_cpu: _attention,
            aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
        },
    )


def peak_tflops(device_name: str, precision: str) -> float:
    """What a device can do at most, as far as it is known; else 0."""
    if precision != "bf16":
        return 0.0
    return next((float(peak) for name, peak in PEAK_TFLOPS.items() if name in device_name), 0.0)


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)
