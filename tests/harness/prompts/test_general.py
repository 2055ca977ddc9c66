"""What prompts say without the concept, and anchors that take turns."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from harness.config import WEIGHTS, Config, UsageError, check
from harness.miniature import world
from harness.prompts.draft import Draft
from harness.prompts.templates import bank
from harness.prompts.vocabulary import read_vocabulary


def choose(options, vocabulary, rank=lambda _, names: [*names], **earlier):
    """The prompts of an erasure, with a ranking in the place of the text encoder's."""
    return Draft.of(options, vocabulary, earlier).settle(rank)


@pytest.fixture(scope="module")
def vocabulary():
    return read_vocabulary(WEIGHTS)


def _captions(**fixed):
    """Every caption of the world, written by the world itself, by (template, values of all axes)."""
    axes = {axis: (fixed[axis],) if axis in fixed else values for axis, values in world.AXES.items()}
    return {
        (template, values): world.caption(template, **dict(zip(world.AXES, values, strict=True)))
        for template in world.TEMPLATES
        for values in itertools.product(*axes.values())
    }


def _without(axis, template, values):
    """The world's own caption without what it says of an axis."""
    named = {name: value for name, value in zip(world.AXES, values, strict=True) if name != axis}
    return world.caption(template, **named)


@pytest.mark.parametrize(("axis", "target"), [("shape", "star"), ("colour", "red"), ("style", "neon")])
def test_a_vocabularys_caption_without_the_concept_is_the_worlds_own(vocabulary, axis, target):
    chosen = choose(Config(target=target), vocabulary)
    (one,) = chosen.erased
    for (template, values), caption in _captions().items():
        expected = _without(axis, template, values)
        assert (caption in one.target_prompts) == (target in values)
        assert " ".join(chosen.general[caption].split()) == expected, caption
        assert target not in chosen.general[caption]
    assert set(chosen.general) == {*one.target_prompts, *chosen.retain_prompts}
    assert set(chosen.general.values()) <= set(chosen.prompts)  # those that a model encodes


def test_of_two_concepts_on_two_axes_each_prompt_is_told_without_its_own_and_a_retained_one_without_either(
    tmp_path, vocabulary
):
    file = tmp_path / "two.yaml"
    file.write_text("- {target: star}\n- {target: neon}\n")
    chosen = choose(Config(concepts=file), vocabulary)
    captions = {caption: key for key, caption in _captions().items()}

    def axes(prompts):
        found = []
        for prompt in prompts:
            general = " ".join(chosen.general[prompt].split())
            found.append({axis for axis in world.AXES if general == _without(axis, *captions[prompt])})
        return found

    star, neon = chosen.erased
    assert all(found == {"shape"} for found in axes(star.target_prompts))
    assert all(found == {"style"} for found in axes(neon.target_prompts))
    kept = axes(chosen.retain_prompts)
    assert abs(kept.count({"shape"}) - kept.count({"style"})) <= 1
    assert kept.count({"shape"}) + kept.count({"style"}) == len(chosen.retain_prompts)
    # each retained shape and style is told both ways, so neither is only ever heard of by its name
    for value in (*world.AXES["shape"], *world.AXES["style"]):
        told = [found for prompt, found in zip(chosen.retain_prompts, kept, strict=True) if value in prompt]
        assert value in ("star", "neon") or ({"shape"} in told and {"style"} in told), value


@pytest.mark.parametrize("anchor", ["", "superclass", "near", "a moon"])
def test_a_banks_prompt_without_the_concept_is_its_templates_other_side(anchor):
    chosen = choose(Config(target="Van Gogh", anchor=anchor, concept_type="style"), None)
    sides = {}
    for template in bank("style").templates:
        before, rest = template.split("[")
        inside, after = rest.split("]")
        with_it, without = inside.split("|")
        for name in ("Van Gogh", "a moon", *bank("style").retain):
            sides[before + with_it.replace("{}", name) + after] = (before + without + after).strip()
        sides[before + without + after] = (before + without + after).strip()
    assert {*chosen.erased[0].target_prompts, *chosen.retain_prompts} == set(chosen.general)
    assert {prompt: sides[prompt] for prompt in chosen.general} == dict(chosen.general)


def test_no_prompt_at_all_stays_none_without_the_concept():
    chosen = choose(Config(target="Van Gogh", anchor="empty", concept_type="style"), None)
    assert "" in chosen.retain_prompts
    assert chosen.general.get("", "") == ""


@pytest.mark.parametrize("known", [True, False])
def test_templates_without_brackets_do_not_say_what_stands_there_so_nothing_is_said(tmp_path, vocabulary, known):
    file = tmp_path / "prompts.txt"
    file.write_text("a mug[ with {} on it|]\na big {}\n")
    chosen = choose(Config(target="star", prompts=file), vocabulary if known else None)
    (one,) = chosen.erased
    assert [chosen.general[prompt] for prompt in one.target_prompts] == ["a mug", ""]
    if not known:
        assert all(chosen.general[prompt] == "" for prompt in chosen.retain_prompts if prompt.startswith("a big"))
        assert any(chosen.general[prompt] == "a mug" for prompt in chosen.retain_prompts)


@pytest.mark.parametrize("known", [True, False])
def test_prompts_that_a_user_retains_and_what_earlier_runs_lost_have_none(vocabulary, known):
    retain = ("a moon", "a picture of a ring")
    chosen = choose(Config(target="star", retain=retain), vocabulary if known else None, neon=["a neon star"])
    assert chosen.retain_prompts[:2] == retain
    assert len(chosen.retain_prompts) > 2
    assert not any(chosen.general.get(prompt, "") for prompt in chosen.retain_prompts)
    assert all(chosen.general[prompt] for prompt in chosen.erased[0].target_prompts)


def test_without_retention_targets_are_told_without_their_concept_all_the_same(vocabulary):
    chosen = choose(Config(retain_weight=0.0), vocabulary)
    assert chosen.retain_prompts == ()
    assert set(chosen.general) == set(chosen.erased[0].target_prompts)


def test_retained_anchors_take_turns_in_the_order_of_the_ranking(vocabulary):
    ranked = ["moon", "ring", "cross", "heart", "circle", "square", "triangle"]
    asked = []

    def rank(concept, names):
        asked.append((concept, set(names)))
        return ranked

    (one,) = choose(Config(), vocabulary, rank).erased
    assert asked == [("star", set(ranked))]
    assert one.anchor == "retained"
    pairs = zip(one.target_prompts, one.anchor_prompts, strict=True)
    for (target, anchor), shape in zip(pairs, itertools.cycle(ranked), strict=False):
        assert target.replace("star", shape) == anchor
    used = [sum(shape in prompt for prompt in one.anchor_prompts) for shape in ranked]
    assert max(used) - min(used) <= 1


def test_retained_anchors_of_a_bank_are_its_other_names_and_are_retained():
    chosen = choose(Config(target="a cat"), None)
    (one,) = chosen.erased
    names = [name for name in bank("object").retain if name != "a cat"][:7]  # the nearest alone
    pairs = zip(one.target_prompts, one.anchor_prompts, one.counterparts, strict=True)
    for (target, anchor, every), name in zip(pairs, itertools.cycle(names), strict=False):
        assert target.replace("a cat", name) == anchor
        assert [target.replace("a cat", each) for each in names] == list(every)
    assert set(one.anchor_prompts) <= set(chosen.retain_prompts)


def test_nothing_else_that_is_erased_is_ever_an_anchor(tmp_path, vocabulary):
    file = tmp_path / "two.yaml"
    file.write_text("- {target: star}\n- {target: moon, anchor: retained}\n")
    chosen = choose(Config(concepts=file), vocabulary, ring=["a ring"])
    assert [one.anchor for one in chosen.erased] == ["retained"] * 2
    for one in chosen.erased:
        assert not any(word in prompt for prompt in one.anchor_prompts for word in ("star", "moon", "ring"))
        assert {word for prompt in one.anchor_prompts for word in world.AXES["shape"] if word in prompt} == {
            *world.AXES["shape"]
        } - {"star", "moon", "ring"}


def test_a_paraphrase_is_an_entry_of_its_own_and_neither_is_retained_nor_in_the_others_place(tmp_path):
    file = tmp_path / "two.yaml"
    file.write_text("- {target: Claude Monet}\n- {target: the painter of water lilies, weight: 2}\n")
    chosen = choose(Config(concepts=file, concept_type="style"), None)
    name, paraphrase = chosen.erased
    assert all("the painter of water lilies" in prompt for prompt in paraphrase.target_prompts)
    others = [*chosen.retain_prompts, *itertools.chain(*name.counterparts, *paraphrase.counterparts)]
    assert len(others) > 100
    assert not any(word in prompt.lower() for prompt in others for word in ("monet", "lilies"))


def test_the_only_value_that_is_left_of_an_axis_is_every_anchor(tmp_path, vocabulary):
    others = world.AXES["shape"][1:]
    file = tmp_path / "many.yaml"
    file.write_text("".join(f"- {{target: {shape}}}\n" for shape in others))
    for one in choose(Config(concepts=file), vocabulary).erased:
        assert all("circle" in prompt for prompt in one.anchor_prompts)


@pytest.mark.parametrize("has_vocabulary", [True, False])
def test_retained_leads_to_something_so_guidance_away_from_the_target_refuses_it(vocabulary, has_vocabulary):
    options = Config(target="star", anchor="retained", anchor_guidance=-1.0)
    with pytest.raises(UsageError, match=r"an --anchor-guidance of -1 leads away from the anchor"):
        choose(options, vocabulary if has_vocabulary else None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"anchor": "superclass"}, 'towards "an object"'),
        ({"anchor": "superclass", "concept_type": "style"}, "towards the same without it"),
        ({"anchor": "empty"}, "towards no prompt"),
        ({"anchor_guidance": -1.0, "anchor": "A Star"}, "away from itself"),
        ({"anchor_guidance": 0.0}, "towards no prompt"),
        ({"within": "flag"}, 'away from itself within "flag"'),
        ({}, "towards what is retained"),
    ],
)
def test_people_are_told_the_words_that_a_keyword_stands_for(options, said):
    (one,) = choose(Config(target="star", **options), None).erased
    assert one.direction == said


def test_a_world_says_the_superclass_by_its_own_word(vocabulary, tmp_path):
    (tmp_path / "many.yaml").write_text("- {target: star, anchor: superclass}\n- {target: pink, anchor: red}\n")
    chosen = choose(Config(concepts=tmp_path / "many.yaml"), vocabulary)
    assert chosen.directions == [["star", 'towards "shape"'], ["pink", 'towards "red"']]
    assert chosen.anchor == "superclass, red"
    assert all("shape" in prompt for prompt in chosen.erased[0].anchor_prompts)


def test_templates_of_ones_own_say_the_superclass_by_their_words(tmp_path):
    (tmp_path / "prompts.txt").write_text("a photo of [{}|a person]\n[{}|someone] at a desk\na talk[ by {}|]\n")
    options = Config(target="Ann", anchor="superclass", prompts=tmp_path / "prompts.txt")
    assert choose(options, None).directions == [["Ann", 'towards "a person or someone"']]


def test_a_retained_prompt_that_names_the_target_among_other_words_is_noticed():
    options = Config(target="a grumpy cat", retain=("a cat", "Grumpy cats on a sofa", "the grumpy cat at sea"))
    assert Draft.of(options, None).contradicted == ["the grumpy cat at sea"]
    assert Draft.of(replace(options, target="ox", retain=("an ox in a field",)), None).contradicted == []


def test_an_unknown_anchor_is_refused_with_the_keywords_among_the_choices(vocabulary):
    with pytest.raises(UsageError, match=r"for the shape 'star': circle, .*, superclass, empty, near, retained$"):
        choose(Config(anchor="elephant"), vocabulary)


def test_within_a_concept_its_prompts_are_erased_and_the_target_by_itself_is_kept():
    chosen = choose(Config(target="cowboy hat", within="cowboy"), None)
    (one,) = chosen.erased
    assert one.target_prompts == tuple(
        template.replace("[{}|an object]", "cowboy") for template in bank(None).templates
    )
    assert one.anchor_prompts == tuple(prompt.replace("cowboy", "cowboy hat") for prompt in one.target_prompts)
    assert set(one.anchor_prompts) <= set(chosen.retain_prompts)
    assert not set(one.target_prompts) & set(chosen.retain_prompts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"within": "A hat"}, "--within 'A hat': equal to the target"),
        ({"within": "cowboy", "retain": ("a photo of cowboy",)}, "is to be erased, with 'cowboy'"),
        ({"within": "cowboy", "anchor": "a cap"}, "an --anchor-guidance of -1 leads away from the anchor"),
    ],
)
def test_what_can_not_be_within_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Draft.of(Config(target="hat", **options), None)


def test_a_world_whose_captions_name_everything_hides_nothing_within(vocabulary):
    with pytest.raises(UsageError, match="--within 'red': this model's captions name each of its attributes"):
        Draft.of(Config(target="star", within="red"), vocabulary)


@pytest.mark.parametrize(
    "other", [{"origin": "anchor"}, {"start": "closed-form"}, {"concepts": Path("two.yaml")}, {"anchor_guidance": 0.0}]
)
def test_within_is_refused_with_what_it_contradicts(other):
    with pytest.raises(UsageError, match="--within 'cowboy': "):
        check(Config(target="hat", within="cowboy", **other))
