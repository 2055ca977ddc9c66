"""The judge: a classifier of pictures with one head per axis, trained on rendered pictures alone."""

from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harness.miniature import training, world


class Judge(nn.Module):
    """Four convolutional blocks, 96 features, a linear head for each axis of the world."""

    def __init__(self) -> None:
        """Build it with random weights."""
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in [(3, 24), (24, 48), (48, 72), (72, 96)]:
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
            layers += [nn.Conv2d(after, after, 3, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({axis: nn.Linear(96, len(values)) for axis, values in world.AXES.items()})

    def features(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, 64, 64) in [0, 1] to penultimate features (n, 96)."""
        return self.trunk(pictures * 2 - 1).mean((2, 3))

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Pictures (n, 3, 64, 64) in [0, 1] to logits (n, values) per axis."""
        features = self.features(pictures)
        return {axis: head(features) for axis, head in self.heads.items()}

    @torch.no_grad()
    def attributes(self, pictures: Tensor) -> Tensor:
        """The judged attribute indices, (n, 3) in the order of the axes."""
        return torch.stack([logits.argmax(1) for logits in self(pictures).values()], dim=1)

    def values(self, pictures: Tensor) -> dict[str, list[str]]:
        """By axis the value that each of n pictures shows."""
        columns = zip(world.AXES.items(), self.attributes(pictures).T.tolist(), strict=True)
        return {axis: [values[i] for i in column] for (axis, values), column in columns}


def load(file: Path) -> Judge:
    """Read a judge that `save` wrote."""
    judge = Judge()
    judge.load_state_dict(load_file(file))
    return judge.eval().requires_grad_(False)


def save(judge: Judge, file: Path) -> None:
    """Write the judge's weights."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in judge.cpu().state_dict().items()}, file)


def train(steps: int, seed: int, device: str) -> Judge:
    """Train on fresh renders, half of them blurred or noisy so that a decoder's softness does not mislead it."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    judge = Judge().to(device)

    def loss() -> Tensor:
        attributes = world.random_attributes(64, generator)
        pictures = _soften(world.render(attributes, generator), generator).to(device)
        return axis_loss(judge(pictures).values(), attributes.to(device))

    training.train(judge.parameters(), loss, training.Schedule(steps, 2e-3), "judge")
    return judge.eval().requires_grad_(False)


def axis_loss(logits: Iterable[Tensor], labels: Tensor) -> Tensor:
    """The sum of the axes' cross-entropies, a scalar, from logits (n, values) of each axis and labels (n, axes)."""
    return torch.stack([F.cross_entropy(each, labels[:, i]) for i, each in enumerate(logits)]).sum()


def held_out_accuracy(judge: Judge, seed: int, count: int) -> dict[str, float]:
    """Share of fresh, clean renders judged right, per axis."""
    generator = torch.Generator().manual_seed(seed)
    device = next(judge.parameters()).device
    right = torch.zeros(len(world.AXES))
    for _ in range(count // 200):
        attributes = world.random_attributes(200, generator)
        right += (judge.attributes(world.render(attributes, generator).to(device)).cpu() == attributes).float().sum(0)
    return {axis: right[i].item() / count for i, axis in enumerate(world.AXES)}


def _soften(pictures: Tensor, generator: torch.Generator) -> Tensor:
    half = len(pictures) // 2
    blurred = F.avg_pool2d(F.pad(pictures[:half], (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    mixed = torch.lerp(pictures[:half], blurred, torch.rand(half, 1, 1, 1, generator=generator))
    noise = torch.randn(mixed.shape, generator=generator) * 0.08 * torch.rand(half, 1, 1, 1, generator=generator)
    return torch.cat([(mixed + noise).clamp(0, 1), pictures[half:]])
