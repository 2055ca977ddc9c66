"""Inception v3 with the weights of a file that the user names: the features that KID is defined by (1801.01401).

The network is torchmetrics', which is torch-fidelity's, the one that FID and KID are published with. No weights come
with either; they are torch-fidelity's file `weights-inception-2015-12-05-6726825d.pth`, or the same as safetensors.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from harness.config import UsageError
from harness.runs.files import load_tensors, usable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LIBRARY = "torch_fidelity"
SAFE, PICKLED = ".safetensors", (".pth", ".pt")
FEATURES = "2048"
"""Of the last pooling, as torchmetrics calls them."""
AT_ONCE = 32
"""Pictures that are looked at at a time."""


@dataclass(frozen=True)
class Inception:
    """The network."""

    network: Any
    """From bytes (n, 3, H, W) to features (n, d)."""
    device: "torch.device"

    def features(self, pictures: "Tensor") -> "Tensor":
        """Pictures (n, 3, H, W) in [0, 1] to features (n, d), on the CPU."""
        import torch

        from harness.data.pictures import eight_bit

        with torch.no_grad():
            parts = [self.network(eight_bit(part).to(self.device)).cpu() for part in pictures.split(AT_ONCE)]
        return torch.cat(parts)


def check_inception(file: Path | None) -> None:
    """UsageError for a file that is not there or of another kind, or where the network is not installed."""
    if file is None:
        return
    choices = ", ".join((SAFE, *PICKLED))
    if not usable("--inception", file).is_file():
        raise UsageError(f"--inception {file}: no such file; needed are the weights of Inception v3, as {choices}")
    if file.suffix not in (SAFE, *PICKLED):
        raise UsageError(f"--inception {file}: needed are the weights of Inception v3, as {choices}")
    if find_spec(LIBRARY) is None:
        raise UsageError(
            f"--inception {file}: needs torch-fidelity, which has the network: pip install 'fdiv-unlearning[inception]'"
        )


def load_inception(file: Path | None, device: "torch.device") -> Inception | None:
    """The network with these weights, or None without any; UsageError for weights of something else."""
    if file is None:
        return None
    tensors = read_weights(file)
    import torch
    from torchmetrics.image.fid import NoTrainInceptionV3

    with TemporaryDirectory() as folder:
        # The network reads files as pickles that may run code; this one holds the tensors that were read and no more.
        whole = Path(folder) / "weights.pth"
        torch.save(tensors, whole)
        try:
            network = NoTrainInceptionV3("inception-v3-compat", [FEATURES], str(whole))
        except (RuntimeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(f"--inception {file}: no weights of torch-fidelity's Inception v3: {reason}") from error
    return Inception(network.requires_grad_(False).to(device), device)


def read_weights(file: Path) -> "dict[str, Tensor]":
    """The tensors by name, of which no code is run; UsageError for a file that holds anything else."""
    if file.suffix == SAFE:
        return load_tensors(file)[0]
    import torch

    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler has many
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"--inception {file}: cannot be read as tensors alone: {reason}") from error
    if not isinstance(content, dict) or not all(isinstance(each, torch.Tensor) for each in content.values()):
        raise UsageError(f"--inception {file}: holds no mapping of names to tensors, as the weights of a network are")
    return content
