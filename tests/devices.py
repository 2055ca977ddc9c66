"""A GPU that is not there: `meta` stands for it, whose tensors have shapes and no values."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU = torch.device("meta")
aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default}


class Devices(TorchDispatchMode):
    """Within this, what computes with tensors on two devices is refused, as a GPU does and `meta` by itself does not.

    Whoever asks for values that are on the GPU gets made-up ones.
    """

    def __init__(self, made_up):
        """With a number that stands for any."""
        super().__init__()
        self.made_up = made_up

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        options = kwargs or {}
        tensors = [each for each in tree_leaves((args, options)) if isinstance(each, torch.Tensor)]
        if len({each.device for each in tensors}) > 1 and function not in COPIES:
            _check(function, tensors)
        if tensors and tensors[0].device == GPU:
            dtype = options.get("dtype") or tensors[0].dtype
            if function is aten._local_scalar_dense.default:
                return torch.tensor(self.made_up).to(dtype).item()
            if function is aten.nonzero.default:
                return torch.empty(1, tensors[0].ndim, dtype=torch.long, device=GPU)
            if function is aten._to_copy.default and torch.device(options.get("device") or GPU) != GPU:
                return torch.full(tensors[0].shape, self.made_up, dtype=dtype)
        return function(*args, **options)


def _check(function, tensors):
    """Fails but for indices on the CPU, and numbers on the CPU, which have no axes, beside tensors on the GPU."""
    with_axes = [each for each in tensors if each.ndim] or tensors
    computed = tensors[:1] if function is aten.index.Tensor else with_axes
    assert {each.device for each in computed} == {GPU}, f"{function} of tensors on two devices"
