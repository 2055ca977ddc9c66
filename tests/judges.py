"""Tiny judges that can tell a few of the miniature's shapes, written as transformers folders: trained in seconds."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
    ConvNextImageProcessor,
    ResNetConfig,
    ResNetForImageClassification,
)

from harness.config import WEIGHTS
from harness.data.pictures import images
from harness.miniature import world

SHAPES = ("star", "circle", "moon")
MEAN = [0.5, 0.5, 0.5]


def clip_folder(path: Path, steps: int = 160) -> Path:
    """A CLIP that reads "star" and the like, and sees them at 32 pixels; with 0 steps its weights are random."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer", model_max_length=16)
    vision = {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "image_size": 32, "patch_size": 8,
    }  # fmt: skip
    text = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "vocab_size": len(tokenizer), "max_position_embeddings": 16, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    network = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=32))
    size = {"height": 32, "width": 32}
    processor = CLIPImageProcessor(
        size=size, crop_size=size, do_center_crop=False, image_mean=MEAN, image_std=MEAN, resample=2
    )
    read = tokenizer([f"a {shape}" for shape in SHAPES], padding="max_length", return_tensors="pt")
    _train(network, steps, 2e-3, lambda given: network(**read, pixel_values=given).logits_per_image, processor)
    for part in (network, processor, tokenizer):
        part.save_pretrained(path)
    return path


def classifier_folder(path: Path, steps: int = 50, labels: Sequence[str] = SHAPES) -> Path:
    """A ResNet of two stages with these labels."""
    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic",
        id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)},
    )  # fmt: skip
    network = ResNetForImageClassification(config)
    processor = ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=1.0, image_mean=MEAN, image_std=MEAN)
    _train(network, steps, 3e-3, lambda given: network(given).logits, processor)
    for part in (network, processor):
        part.save_pretrained(path)
    return path


def shapes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures (count, 3, 64, 64) of red and yellow shapes of plain style, and which of SHAPES each shows."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(len(SHAPES), (count,), generator=generator)
    attributes = torch.zeros(count, 3, dtype=torch.long)
    attributes[:, 0] = torch.tensor([world.AXES["shape"].index(shape) for shape in SHAPES])[which]
    attributes[:, 1] = torch.randint(2, (count,), generator=generator)
    return world.render(attributes, generator), which


def _train(network: nn.Module, steps: int, rate: float, logits: Callable[[Tensor], Tensor], processor: object) -> None:
    """With AdamW, by the cross-entropy of the shapes, on batches of 48 of the same renders."""
    pictures, which = shapes(2000 if steps else 1, 0)
    given = processor(images=images(pictures), return_tensors="pt")["pixel_values"]
    optimiser = torch.optim.AdamW(network.parameters(), rate)
    network.train()
    for _ in range(steps):
        rows = torch.randint(len(which), (48,))
        optimiser.zero_grad()
        F.cross_entropy(logits(given[rows]), which[rows]).backward()
        optimiser.step()
    network.eval()
