"""Pictures between tensors and what libraries for pictures read."""

from PIL import Image
from torch import Tensor


def eight_bit(pictures: Tensor) -> Tensor:
    """Pictures (n, 3, H, W) in [0, 1] with levels from 0 to 255, as a file would have them."""
    return (pictures.clamp(0, 1) * 255).round().byte()


def images(pictures: Tensor) -> list[Image.Image]:
    """Pictures (n, 3, H, W) in [0, 1] as PIL's."""
    return [Image.fromarray(each.permute(1, 2, 0).cpu().numpy()) for each in eight_bit(pictures)]
