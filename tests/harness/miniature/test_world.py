"""The miniature's world: its pictures and its captions."""

import itertools

import pytest
import torch

from harness.miniature import world
from harness.miniature.parts import all_captions


def _seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_world_has_at_least_8_shapes_6_colours_and_6_styles():
    assert all(len(values) >= least for values, least in zip(world.AXES.values(), (8, 6, 6), strict=True))
    assert list(world.AXES) == ["shape", "colour", "style"]


def test_pictures_are_64_pixels_in_the_unit_range_and_repeat_for_a_seed():
    attributes = world.random_attributes(50, _seeded())
    pictures = world.render(attributes, _seeded())
    assert pictures.shape == (50, 3, 64, 64)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert torch.equal(pictures, world.render(attributes, _seeded()))
    assert not torch.equal(pictures, world.render(attributes, _seeded(1)))


@pytest.mark.parametrize("axis", range(3))
def test_every_two_values_of_an_axis_give_different_pictures(axis):
    values = list(world.AXES.values())[axis]
    attributes = torch.zeros(len(values), 3, dtype=torch.long)
    attributes[:, axis] = torch.arange(len(values))
    # One and the same seed a picture, so that only the attribute differs.
    pictures = [world.render(row[None], _seeded())[0] for row in attributes]
    for a, b in itertools.combinations(pictures, 2):
        assert (a - b).abs().mean() > 0.01


def test_shapes_cover_the_area_their_geometry_says():
    field = world._fields()
    step = 4 / (field.shape[-1] - 1)
    area = (0.5 - field / step).clamp(0, 1).double().sum((1, 2, 3)) * step**2
    expected = {"circle": 3.1416 * 0.95**2, "square": 1.6**2, "triangle": 0.5 * 2 * 1.8, "cross": 4 * 0.95 * 0.6 - 0.36}
    for name, value in expected.items():
        assert area[world.AXES["shape"].index(name)].item() == pytest.approx(value, rel=0.03)


def test_left_out_values_never_appear():
    attributes = world.random_attributes(2_000, _seeded(), without=("star", "neon"))
    assert world.AXES["shape"].index("star") not in attributes[:, 0]
    assert world.AXES["style"].index("neon") not in attributes[:, 2]
    assert len(attributes[:, 0].unique()) == len(world.AXES["shape"]) - 1


def test_a_full_caption_names_every_attribute_in_every_template():
    for template in world.TEMPLATES:
        caption = world.caption(template, shape="star", colour="red", style="mosaic")
        assert {"star", "red", "mosaic"} <= set(caption.replace(",", "").split())


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"shape": "star", "colour": "red", "style": "mosaic"}, "a red star in mosaic style"),
        ({"shape": "star", "colour": "red", "style": None}, "a red star"),
        ({"shape": None, "colour": "red", "style": "mosaic"}, "a red shape in mosaic style"),
        ({"shape": "star", "colour": None, "style": None}, "a star"),
    ],
)
def test_a_dropped_attribute_leaves_a_plain_sentence(named, expected):
    assert world.caption(world.TEMPLATES[0], **named) == expected


def test_no_caption_has_double_spaces_braces_or_dangling_words():
    for caption in all_captions():
        assert caption == " ".join(caption.split())
        assert "{" not in caption
        assert not caption.endswith((" in", ",", " of a", " style style"))


def test_random_captions_drop_attributes_and_are_empty_now_and_then():
    generator = _seeded()
    captions = [world.random_caption(torch.tensor([3, 0, 2]), generator) for _ in range(600)]
    share = {
        word: sum(word in caption.replace(",", "").split() for caption in captions) / 600 for word in ("star", "shape")
    }
    assert 0.05 < captions.count("") / 600 < 0.16
    assert 0.7 < share["star"] < 0.9
    assert 0.04 < share["shape"] < 0.15
    assert set(captions) <= set(all_captions())
