"""Target, anchor and retained prompts."""

import itertools
import re
from types import MappingProxyType
from typing import get_args

import pytest

from harness.config import WEIGHTS, ConceptType, Config, UsageError
from harness.miniature import world
from harness.prompts.draft import Draft
from harness.prompts.templates import CHOICE, TEMPLATE, bank
from harness.prompts.vocabulary import read_vocabulary


def choose(options, vocabulary, earlier=MappingProxyType({}), rank=lambda _, names: [*names]):
    """The prompts of an erasure, with a ranking in the place of the text encoder's."""
    return Draft.of(options, vocabulary, earlier).settle(rank)


@pytest.fixture(scope="module")
def vocabulary():
    return read_vocabulary(WEIGHTS)


def test_the_default_erases_a_shape(vocabulary):
    for origin, anchor in (("target", "retained"), ("anchor", "circle")):
        chosen = choose(Config(origin=origin), vocabulary)
        assert (chosen.target, chosen.anchor, chosen.erased[0].axis) == ("star", anchor, "shape")


def test_target_and_anchor_prompts_differ_in_the_concept_alone(vocabulary):
    chosen = choose(Config(anchor="circle"), vocabulary)
    (one,) = chosen.erased
    assert len(one.target_prompts) == 6 * 6 * len(world.TEMPLATES)
    for target, anchor in zip(one.target_prompts, one.anchor_prompts, strict=True):
        assert target.replace("star", "circle") == anchor


def test_retained_prompts_cover_every_other_value_and_never_name_the_target(vocabulary):
    chosen = choose(Config(target="mosaic", origin="anchor"), vocabulary)
    assert chosen.erased[0].axis == "style"
    assert chosen.anchor == "plain"
    assert not any("mosaic" in prompt for prompt in chosen.retain_prompts)
    for style in world.AXES["style"]:
        assert style == "mosaic" or any(style in prompt for prompt in chosen.retain_prompts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "elephant"}, r"unknown concept 'elephant': this model knows shape: circle, .*; style: "),
        ({"target": "satr"}, r"unknown concept 'satr': .*; did you mean star"),
        ({"target": "star", "anchor": "red"}, "--anchor 'red': choices for the shape 'star': circle, square"),
    ],
)
def test_what_the_world_does_not_know_is_refused_with_the_choices(vocabulary, options, message):
    with pytest.raises(UsageError, match=message):
        choose(Config(**options), vocabulary)


@pytest.mark.parametrize("has_vocabulary", [True, False])
def test_a_target_equal_to_the_anchor_is_refused(vocabulary, has_vocabulary):
    with pytest.raises(UsageError, match="equal to the target, so there is nothing to erase"):
        choose(Config(target="star", anchor="star"), vocabulary if has_vocabulary else None)


@pytest.mark.parametrize(("axis", "target"), [("shape", "star"), ("colour", "red"), ("style", "neon")])
def test_a_superclass_prompt_is_the_worlds_own_caption_without_the_attribute(vocabulary, axis, target):
    (one,) = choose(Config(target=target, anchor="superclass"), vocabulary).erased
    expected = {
        world.caption(template, **{name: word for name, word in zip(world.AXES, words, strict=True) if name != axis})
        for template in world.TEMPLATES
        for words in itertools.product(*world.AXES.values())
    }
    assert {" ".join(prompt.split()) for prompt in one.anchor_prompts} == expected
    assert all(target in prompt for prompt in one.target_prompts)
    (nothing,) = choose(Config(target=target, anchor="empty"), vocabulary).erased
    assert set(nothing.anchor_prompts) == {""}


def test_a_near_anchor_is_the_first_that_the_ranking_names(vocabulary):
    def rank(concept, names):
        assert concept == "star"
        assert concept not in names
        return sorted(names)

    (one,) = choose(Config(target="star", anchor="near"), vocabulary, rank=rank).erased
    assert one.anchor == "circle"
    (two,) = choose(Config(target="a star", anchor="near"), None, rank=lambda _, names: sorted(names)).erased
    assert two.anchor == sorted(bank("object").retain)[0]


@pytest.mark.parametrize("anchor", ["near", "retained"])
def test_one_of_none_is_refused_with_what_else_there_is(tmp_path, vocabulary, anchor):
    """All other shapes are erased too, or every name of the bank has a word of the target's."""
    entries = [f"- {{target: {shape}, anchor: {anchor}}}" for shape in world.AXES["shape"]]
    message = f"--anchor {anchor}: nothing is left beside 'circle'; choose superclass or empty"
    with pytest.raises(UsageError, match=message):
        choose(_concepts(tmp_path, "\n".join(entries)), vocabulary)
    with pytest.raises(UsageError, match=f"--anchor {anchor}: nothing is left beside"):
        choose(Config(target=" ".join(bank("object").retain), anchor=anchor), None)


def test_before_a_model_is_loaded_no_ranking_is_asked(vocabulary):
    def rank(*_):
        raise AssertionError("asked")

    assert choose(Config(anchor="circle"), vocabulary, rank=rank).anchor == "circle"
    for anchor in ("near", "retained"):
        draft = Draft.of(Config(anchor=anchor), vocabulary)
        assert (draft.target, len(draft.erased[0].anchors)) == ("star", 7)
        with pytest.raises(AssertionError, match="asked"):
            draft.settle(rank)


def test_a_model_without_a_vocabulary_gets_the_templates_of_the_concepts_type():
    (one,) = choose(Config(target="Van Gogh", concept_type="style", origin="anchor"), None).erased
    assert one.anchor == "superclass"
    assert len(one.target_prompts) == len(one.anchor_prompts) == len(bank("style").templates)
    for target, anchor in zip(one.target_prompts, one.anchor_prompts, strict=True):
        assert "Van Gogh" in target
        assert "Van Gogh" not in anchor
        assert anchor
    (two,) = choose(Config(target="Van Gogh", anchor="Monet", concept_type="style"), None).erased
    assert [p.replace("Van Gogh", "Monet") for p in two.target_prompts] == list(two.anchor_prompts)


def test_neighbours_others_and_the_anchor_are_retained_and_never_the_target():
    def rank(_, names):
        return sorted(names, reverse=True)

    chosen = choose(Config(target="Van Gogh", concept_type="style"), None, rank=rank)
    names = [name for name in bank("style").retain if any(name in prompt for prompt in chosen.retain_prompts)]
    assert set(sorted((n for n in bank("style").retain if "gogh" not in n), reverse=True)[:8]) <= set(names)
    assert 16 <= len(names) < len(bank("style").retain)
    assert not any("gogh" in prompt.lower() for prompt in chosen.retain_prompts)
    assert set(chosen.erased[0].anchor_prompts) <= set(chosen.retain_prompts)
    assert choose(Config(target="Van Gogh", concept_type="style", retain_weight=0.0), None).retain_prompts == ()


def test_a_model_without_a_vocabulary_needs_a_target():
    with pytest.raises(UsageError, match=r"--target is needed: this model has no vocabulary\.json"):
        choose(Config(), None)


def test_a_file_of_templates_replaces_the_bank(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("a mug[ with {} on it|]\n\na [{}|thing] on a table\n")
    (one,) = choose(Config(target="a star", prompts=file, origin="anchor"), None).erased
    assert one.target_prompts == ("a mug with a star on it", "a a star on a table")
    assert one.anchor_prompts == ("a mug", "a thing on a table")
    (two,) = choose(Config(target="a star", anchor="a moon", prompts=file), None).erased
    assert two.anchor_prompts == ("a mug with a moon on it", "a a moon on a table")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no line"),
        ("[a|b] {}", "'[a|b] {}': each line needs {} once"),
        ("a [{}|b|c]", "each line needs {} once"),
        ("[[{}|x]|y]", "each line needs {} once"),
        ("a picture", "'a picture': each line needs {} once"),
        ("{} and {}", "each line needs {} once"),
        ("a [cat|{}]", "each line needs {} once"),
        ("a photo of {}", "does not say what stands in the concept's place"),
    ],
)
def test_templates_that_cannot_be_used_are_refused(tmp_path, text, message):
    file = tmp_path / "prompts.txt"
    file.write_text(text)
    with pytest.raises(UsageError, match=re.escape(message)):
        choose(Config(target="a star", prompts=file, anchor="superclass"), None)


def _concepts(tmp_path, text, **options):
    file = tmp_path / "concepts.yaml"
    file.write_text(text)
    return Config(concepts=file, **options)


def test_a_file_names_many_concepts_each_with_anchor_weight_and_divergence(tmp_path, vocabulary):
    config = _concepts(
        tmp_path,
        """
        - {target: star, anchor: moon, weight: 2, divergence: kl}
        - {target: neon}
        """,
        divergence="pearson",
    )
    chosen = choose(config, vocabulary)
    assert [(c.target, c.anchor, c.weight, c.divergence, c.axis) for c in chosen.erased] == [
        ("star", "moon", 2.0, "kl", "shape"),
        ("neon", "retained", 1.0, "pearson", "style"),
    ]
    assert (chosen.target, chosen.anchor) == ("star, neon", "moon, retained")
    # A prompt of one names nothing of the other, and what is retained names neither.
    assert not any("neon" in prompt for prompt in chosen.erased[0].target_prompts)
    assert not any("star" in prompt or "neon" in prompt for prompt in chosen.retain_prompts)
    mixed = _concepts(tmp_path, "[{target: Van Gogh, concept_type: style}, {target: a cat}]")
    assert [len(c.target_prompts) for c in choose(mixed, None).erased] == [
        len(bank("style").templates),
        len(bank("object").templates),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("target: star", "expected a list of mappings"),
        ("[]", "expected a list of mappings"),
        ("- {anchor: moon}", "names no target"),
        ("- {target: star, weigth: 2}", "unknown key 'weigth'; choices: target, anchor"),
        ("- {target: star, weight: 0}", "weight: must be a finite number above 0"),
        ("- {target: star, concept_type: animal}", "concept_type 'animal'; choices: object, style"),
        ("- {target: [star]}", "must be text"),
        ("- {target: star}\n- {target: star}", "erased twice"),
        ("- {target: star, anchor: neon}\n- {target: neon}", "choices for the shape 'star'"),
        ("- {target: star, anchor: moon}\n- {target: moon}", "choices for the shape 'star': circle, square"),
        ("- {target: elephant}", "unknown concept 'elephant'"),
        ("- {target: star, weight: heavy}", "weight: must be a finite number above 0"),
        ("- {target: star, target: moon}", "'target' is given twice"),
        ("- {target: ' '}", "names no target"),
        ("- {target: star, prompts: '\\0'}", "cannot be read as text"),
        ("{", "cannot be read as YAML"),
        ("[" * 5000, "cannot be read as YAML"),
    ],
)
def test_a_file_of_concepts_that_cannot_be_used_is_refused(tmp_path, vocabulary, text, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        choose(_concepts(tmp_path, text), vocabulary)


def test_a_file_of_concepts_stands_alone(tmp_path, vocabulary):
    with pytest.raises(UsageError, match="leave out those options"):
        choose(_concepts(tmp_path, "- {target: star}", target="moon"), vocabulary)
    with pytest.raises(UsageError, match=r"none\.yaml: cannot be read: No such file or directory"):
        choose(Config(concepts=tmp_path / "none.yaml"), vocabulary)


def test_what_an_earlier_run_erased_is_held_and_cannot_be_an_anchor(vocabulary):
    chosen = choose(Config(target="star"), vocabulary, earlier={"neon": ["a neon star"]})
    assert list(chosen.earlier) == ["neon"]
    assert any("neon" in prompt for prompt in chosen.retain_prompts)
    assert not any("neon" in prompt for prompt in chosen.erased[0].target_prompts)
    assert not any("star" in prompt for prompt in chosen.retain_prompts)
    assert choose(Config(retain=("a moon",)), vocabulary).retain_prompts == ("a moon",)
    given = choose(Config(target="star", retain=("a moon",)), vocabulary, earlier={"neon": []})
    assert given.retain_prompts[0] == "a moon"
    assert all("neon" in prompt for prompt in given.retain_prompts[1:])
    with pytest.raises(UsageError, match="erased twice, here or by a run that this one continues"):
        choose(Config(target="star"), vocabulary, earlier={"star": []})
    with pytest.raises(UsageError, match="--target is needed: the default, 'star', is erased already"):
        choose(Config(), vocabulary, earlier={"star": []})
    with pytest.raises(UsageError, match="choices for the shape 'star'"):
        choose(Config(target="star", anchor="moon"), vocabulary, earlier={"moon": []})


def test_what_an_earlier_run_erased_from_any_model_is_held_by_the_prompts_that_erased_it():
    prompts = ["a house in the style of Van Gogh", "Van Gogh"]
    chosen = choose(Config(target="a cat"), None, earlier={"Van Gogh": prompts})
    assert chosen.retain_prompts[-2:] == tuple(prompts)


def test_a_world_of_which_nothing_would_be_left_is_refused(tmp_path, vocabulary):
    shapes = world.AXES["shape"]
    every = "".join(f"- {{target: {shape}}}\n" for shape in shapes)
    with pytest.raises(UsageError, match="no shape would be left, so nothing to retain or to judge by"):
        choose(_concepts(tmp_path, every), vocabulary)
    with pytest.raises(UsageError, match="no shape would be left"):
        choose(Config(target=shapes[-1]), vocabulary, earlier=dict.fromkeys(shapes[:-1], ()))


def test_as_many_concepts_as_a_bank_has_names_leave_what_there_is(tmp_path):
    names = bank("object").retain[: len(bank("object").retain) - 3]
    entries = "".join(f"- {{target: {name}}}\n" for name in names)
    chosen = choose(_concepts(tmp_path, entries), None)
    assert len(chosen.erased) == len(names)
    assert any(bank("object").retain[-1] in prompt for prompt in chosen.retain_prompts)


def test_templates_of_the_users_own_go_before_the_vocabularys_and_the_banks(tmp_path, vocabulary):
    file = tmp_path / "prompts.txt"
    file.write_text("a shiny {}\n", "utf-8-sig")
    (one,) = choose(Config(prompts=file), vocabulary).erased
    assert (one.target_prompts, one.anchor_prompts, one.axis) == (("a shiny star",), ("a shiny circle",), "shape")
    general = choose(Config(target="a star", anchor="a moon", prompts=file), None)
    assert all(prompt.startswith("a shiny ") for prompt in general.retain_prompts)
    with pytest.raises(UsageError, match=r"--concept-type style: this model's vocabulary\.json has templates"):
        choose(Config(concept_type="style"), vocabulary)
    entry = _concepts(tmp_path, "[{target: star, concept_type: style}]")
    with pytest.raises(UsageError, match=r"^--concepts \S+: star: concept_type style: this model's vocabulary"):
        choose(entry, vocabulary)


@pytest.mark.parametrize("name", get_args(ConceptType))
def test_a_banks_templates_are_such_as_a_file_may_hold(name):
    assert all(TEMPLATE.fullmatch(template) for template in bank(name).templates)
    assert all(CHOICE.search(template) for template in bank(name).templates)


def test_names_that_share_words_are_others():
    for one, other in [
        ("t-shirt", "shirt"), ("iPhone 5", "iPhone 4"), ("X-Men", "men"), ("World War II", "World War I"),
        ("a red cube on a blue sphere", "a blue cube on a red sphere"), ("AI", "IA"),
    ]:  # fmt: skip
        assert choose(Config(target=one, anchor=other, retain_weight=0.0), None).anchor == other
    kept = choose(Config(target="dog", retain=("a photo of a hot dog",)), None).retain_prompts
    assert kept == ("a photo of a hot dog",)


@pytest.mark.parametrize(
    ("target", "anchor", "others"),
    [("Van Gogh", "van  gogh", ()), ("a dog", "the dog", ()), ("a cat", "a dog", ("the dog",))],
)
def test_names_that_mean_the_same_are_the_same(target, anchor, others):
    with pytest.raises(UsageError, match=r"equal to the target|erased too"):
        choose(Config(target=target, anchor=anchor), None, earlier=dict.fromkeys(others, ()))


@pytest.mark.parametrize("anchor", ["star", ""])
def test_guidance_away_from_the_target_has_the_target_as_its_anchor(vocabulary, anchor):
    for known in (vocabulary, None):
        (one,) = choose(Config(target="star", anchor=anchor, anchor_guidance=-1.0), known).erased
        assert one.target_prompts == one.anchor_prompts
        with pytest.raises(UsageError, match=r"--anchor 'circle': .* so that has to be the target, 'star'"):
            choose(Config(target="star", anchor="circle", anchor_guidance=-1.0), known)
