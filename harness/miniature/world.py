"""The miniature's world: 64x64 pictures of one shape each, drawn by a program and captioned in words.

A picture has three independent attributes, its shape, its colour and its style. Tiles, stripes and dots lie on
the 8-pixel grid of the autoencoder, so that a small model can draw them cleanly.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SIZE = 64
AXES: dict[str, tuple[str, ...]] = {
    "shape": ("circle", "square", "triangle", "star", "heart", "cross", "ring", "moon"),
    "colour": ("red", "yellow", "green", "cyan", "blue", "pink"),
    "style": ("plain", "outline", "mosaic", "striped", "dotted", "neon"),
}
SUPERCLASS = "shape"
"""What a picture shows when its shape is not named."""
TEMPLATES = (
    "a {colour} {shape} in {style} style",
    "a picture of a {colour} {shape} in {style} style",
    "a picture in {style} style of a {colour} {shape}",
    "a {colour} {shape}, {style} style",
    "{style} {colour} {shape}",
)
NO_STYLE = tuple((phrase, "") for phrase in (" in {style} style", ", {style} style", "{style} "))
"""What to replace in a template by what, in this order, so that it names no style."""
_RGB = torch.tensor(
    [
        [0.86, 0.12, 0.12],
        [0.96, 0.80, 0.08],
        [0.10, 0.62, 0.20],
        [0.10, 0.76, 0.84],
        [0.14, 0.24, 0.86],
        [0.95, 0.35, 0.72],
    ]
)
_FIELD = 128  # resolution of the distance fields, sampled bilinearly


def caption(template: str, **attributes: str | None) -> str:
    """Fill a template; an attribute that is None is left out, a missing shape becomes the superclass."""
    text = template
    if attributes.get("style") is None:
        for phrase, nothing in NO_STYLE:
            text = text.replace(phrase, nothing)
    words = {"shape": attributes.get("shape") or SUPERCLASS}
    words |= {axis: attributes.get(axis) or "" for axis in ("colour", "style")}
    return " ".join(text.format(**words).split())


def random_attributes(count: int, generator: torch.Generator, without: Sequence[str] = ()) -> Tensor:
    """Draw attribute indices uniformly, (count, 3) in the order of `AXES`, leaving out the values in `without`."""
    columns = []
    for values in AXES.values():
        allowed = torch.tensor([i for i, value in enumerate(values) if value not in without])
        columns.append(allowed[torch.randint(len(allowed), (count,), generator=generator)])
    return torch.stack(columns, dim=1)


def random_caption(attributes: Tensor, generator: torch.Generator) -> str:
    """Caption one picture (3 indices): a random template, each attribute dropped now and then, sometimes nothing."""
    drop = torch.rand(4, generator=generator)
    if drop[3] < 0.1:
        return ""
    named = {
        axis: None if drop[i] < 0.1 else values[int(attributes[i])] for i, (axis, values) in enumerate(AXES.items())
    }
    return caption(TEMPLATES[int(torch.randint(len(TEMPLATES), (), generator=generator))], **named)


def render(attributes: Tensor, generator: torch.Generator) -> Tensor:
    """Draw pictures: (n, 3) attribute indices to (n, 3, 64, 64) in [0, 1].

    Position, size, tilt, background and the shades of tiles vary with `generator`.
    """
    shape, colour, style = attributes.unbind(1)
    distance = _distance(shape, generator)
    ink = _RGB[colour][:, :, None, None] * _uniform((len(shape), 1, 1, 1), 0.92, 1.08, generator)
    paper = _uniform((len(shape), 1, 1, 1), 0.90, 0.98, generator).expand(-1, 3, SIZE, SIZE)
    picture = torch.empty(len(shape), 3, SIZE, SIZE)
    for index, draw in enumerate(_STYLES.values()):
        drawn = style == index
        picture[drawn] = draw(distance[drawn], ink[drawn], paper[drawn], generator)
    return picture.clamp(0, 1)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def _coverage(distance: Tensor) -> Tensor:
    return (0.5 - distance).clamp(0, 1)  # one pixel of antialiasing


def _plain(distance: Tensor, ink: Tensor, paper: Tensor, generator: torch.Generator) -> Tensor:
    return torch.lerp(paper, ink.expand_as(paper), _coverage(distance))


def _outline(distance: Tensor, ink: Tensor, paper: Tensor, generator: torch.Generator) -> Tensor:
    return torch.lerp(paper, ink.expand_as(paper), _coverage((distance + 1).abs() - 1.5))


def _mosaic(distance: Tensor, ink: Tensor, paper: Tensor, generator: torch.Generator) -> Tensor:
    tiles = _uniform((len(distance), 1, SIZE // 8, SIZE // 8), 0.75, 1.15, generator)
    shade = tiles.repeat_interleave(8, 2).repeat_interleave(8, 3)
    picture = torch.lerp(paper * 0.85, ink.expand_as(paper), _coverage(distance)) * shade
    grid = (torch.arange(SIZE) % 8 == 7).float()
    return picture * (1 - 0.7 * torch.maximum(grid[:, None], grid[None, :]))


def _striped(distance: Tensor, ink: Tensor, paper: Tensor, generator: torch.Generator) -> Tensor:
    light = (torch.arange(SIZE) % 8 >= 4).float()[:, None]
    return torch.lerp(paper, torch.lerp(ink.expand_as(paper), paper, 0.75 * light), _coverage(distance))


def _dotted(distance: Tensor, ink: Tensor, paper: Tensor, generator: torch.Generator) -> Tensor:
    offset = torch.arange(SIZE) % 8 - 3.5
    dot = _coverage((offset[:, None] ** 2 + offset[None, :] ** 2).sqrt() - 2.2)
    return torch.lerp(paper, torch.lerp(ink.expand_as(paper), paper, dot), _coverage(distance))


def _neon(distance: Tensor, ink: Tensor, paper: Tensor, generator: torch.Generator) -> Tensor:
    edge = (distance + 1).abs()
    glow = torch.exp(-((edge / 5) ** 2)) * 0.75
    return torch.lerp(0.05 + ink * glow, 0.35 * ink + 0.65, _coverage(edge - 1.2))


_STYLES = {
    "plain": _plain,
    "outline": _outline,
    "mosaic": _mosaic,
    "striped": _striped,
    "dotted": _dotted,
    "neon": _neon,
}


def _distance(shape: Tensor, generator: torch.Generator) -> Tensor:
    """Signed distance in pixels to the outline of each shape under a random placement, (n, 1, 64, 64)."""
    n = len(shape)
    radius = _uniform((n,), 19, 24, generator)
    angle = _uniform((n,), -0.2, 0.2, generator)
    shift = _uniform((n, 2), -4, 4, generator)
    pixel = torch.arange(SIZE) - (SIZE - 1) / 2
    y, x = torch.meshgrid(pixel, pixel, indexing="ij")
    x, y = x - shift[:, 0, None, None], y - shift[:, 1, None, None]
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    place = torch.stack([cos * x + sin * y, cos * y - sin * x], dim=-1) / radius[:, None, None, None]
    # A picture reaches further than the fields, which span [-2, 2]; out there the border's distance is far enough.
    field = F.grid_sample(_fields()[shape], place / 2, padding_mode="border", align_corners=True)
    return field * radius[:, None, None, None]


def _fields() -> Tensor:
    """Signed distance fields of the shapes over [-2, 2] squared, in radii, (8, 1, 128, 128); negative inside."""
    global _cached_fields
    if _cached_fields is None:
        line = torch.linspace(-2, 2, _FIELD, dtype=torch.float64)
        y, x = torch.meshgrid(line, line, indexing="ij")
        _cached_fields = torch.stack([_shape_field(name, x, y) for name in AXES["shape"]])[:, None].float()
    return _cached_fields


_cached_fields: Tensor | None = None


def _shape_field(name: str, x: Tensor, y: Tensor) -> Tensor:
    r = (x**2 + y**2).sqrt()
    match name:
        case "circle":
            return r - 0.95
        case "ring":
            return (r - 0.72).abs() - 0.24
        case "moon":
            return torch.maximum(r - 0.98, 0.80 - ((x - 0.48) ** 2 + y**2).sqrt())
        case "square":
            return _polygon([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)], x, y)
        case "triangle":
            return _polygon([(0, -1.0), (1.0, 0.8), (-1.0, 0.8)], x, y)
        case "cross":
            a, b = 0.3, 0.95
            corners = [(a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b)]
            return _polygon([*corners, *((-p, -q) for p, q in corners)], x, y)
        case "star":
            points = [(1.15 if k % 2 == 0 else 0.46, k * math.pi / 5) for k in range(10)]
            return _polygon([(q * math.sin(a), -q * math.cos(a)) for q, a in points], x, y)
        case "heart":
            turn = [2 * math.pi * k / 60 for k in range(60)]
            wave = [13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) for t in turn]
            return _polygon([(math.sin(t) ** 3, -(w + 2.5) / 15) for t, w in zip(turn, wave, strict=True)], x, y)
    raise ValueError(f"no shape {name!r}")


def _polygon(corners: Sequence[tuple[float, float]], x: Tensor, y: Tensor) -> Tensor:
    """Signed distance to a polygon: nearest edge, and even-odd crossings for the inside."""
    distance = torch.full_like(x, math.inf)
    inside = torch.zeros_like(x, dtype=torch.bool)
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
        ex, ey = bx - ax, by - ay
        along = (((x - ax) * ex + (y - ay) * ey) / (ex**2 + ey**2)).clamp(0, 1)
        distance = torch.minimum(distance, ((x - ax - along * ex) ** 2 + (y - ay - along * ey) ** 2).sqrt())
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < ax + ex * (y - ay) / ey)
    return torch.where(inside, -distance, distance)
