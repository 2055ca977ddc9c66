"""Target, anchor and retained prompts."""

import pytest

from harness.concepts import GENERAL_TEMPLATES, choose, read_vocabulary
from harness.config import Config, UsageError
from harness.miniature import WEIGHTS, world


@pytest.fixture(scope="module")
def vocabulary():
    return read_vocabulary(WEIGHTS)


def test_the_shipped_vocabulary_is_the_worlds(vocabulary):
    assert vocabulary.axes == world.AXES
    assert vocabulary.templates == world.TEMPLATES


def test_the_default_erases_a_shape(vocabulary):
    chosen = choose(Config(), vocabulary)
    assert (chosen.target, chosen.anchor, chosen.axis) == ("star", "circle", "shape")


def test_target_and_anchor_prompts_differ_in_the_concept_alone(vocabulary):
    chosen = choose(Config(), vocabulary)
    assert len(chosen.target_prompts) == 6 * 6 * len(world.TEMPLATES)
    for target, anchor in zip(chosen.target_prompts, chosen.anchor_prompts, strict=True):
        assert target.replace("star", "circle") == anchor


def test_retained_prompts_cover_every_other_value_and_never_name_the_target(vocabulary):
    chosen = choose(Config(target="mosaic"), vocabulary)
    assert chosen.axis == "style"
    assert chosen.anchor == "plain"
    assert not any("mosaic" in prompt for prompt in chosen.retain_prompts)
    for style in world.AXES["style"]:
        assert style == "mosaic" or any(style in prompt for prompt in chosen.retain_prompts)


def test_captions_and_combinations_name_the_same_values_in_the_same_order(vocabulary):
    captions = vocabulary.captions("{shape}/{colour}/{style}", {"shape": "moon"})
    rows = vocabulary.combinations({"shape": "moon"})
    assert captions == ["/".join(values[i] for values, i in zip(world.AXES.values(), row, strict=True)) for row in rows]
    assert len(set(captions)) == 36


def test_given_retain_prompts_replace_the_automatic_ones(vocabulary):
    assert choose(Config(retain=("a moon",)), vocabulary).retain_prompts == ("a moon",)


def test_an_unknown_concept_is_refused_with_every_axis(vocabulary):
    with pytest.raises(UsageError, match=r"unknown concept 'elephant': this model knows shape: circle, .*; style: "):
        choose(Config(target="elephant"), vocabulary)


def test_an_anchor_on_another_axis_is_refused_with_the_choices(vocabulary):
    with pytest.raises(UsageError, match="--anchor 'red': choices for the shape 'star': circle, square"):
        choose(Config(target="star", anchor="red"), vocabulary)


@pytest.mark.parametrize("has_vocabulary", [True, False])
def test_a_target_equal_to_the_anchor_is_refused(vocabulary, has_vocabulary):
    with pytest.raises(UsageError, match="equal to the target, so there is nothing to erase"):
        choose(Config(target="star", anchor="star"), vocabulary if has_vocabulary else None)


def test_a_vocabulary_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "vocabulary.json").write_text("{}")
    with pytest.raises(UsageError, match="no vocabulary with axes, templates and a default"):
        read_vocabulary(tmp_path)


def test_a_model_without_a_vocabulary_gets_general_templates():
    chosen = choose(Config(target="Van Gogh", anchor="a painting"), None)
    assert len(chosen.target_prompts) == len(chosen.anchor_prompts) == len(GENERAL_TEMPLATES)
    assert "a photo of Van Gogh" in chosen.target_prompts
    assert chosen.retain_prompts == ()


@pytest.mark.parametrize("options", [Config(), Config(target="Van Gogh")])
def test_a_model_without_a_vocabulary_needs_target_and_anchor(options):
    with pytest.raises(UsageError, match=r"is needed: this model has no vocabulary\.json"):
        choose(options, None)
