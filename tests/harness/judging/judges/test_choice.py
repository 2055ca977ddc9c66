"""How a judge is chosen, and what it is refused for on the original's own pictures."""

import pytest
import torch

from harness.config import WEIGHTS, Config, UsageError
from harness.judging.judge import choose
from harness.judging.panel import JUDGED, Panel, Row, panel
from harness.judging.references import check_tells
from harness.miniature import world
from harness.plan import Plan
from harness.prompts.draft import Draft
from harness.prompts.vocabulary import read_vocabulary
from harness.prompts.words import CONCEPT, Words

MINIATURE = f"miniature:{WEIGHTS / 'judge'}"


def _choose(judge="", *words, vocabulary=None, **options):
    given = Config(**({"target": "star", "anchor": "circle"} | options), judge=judge, judge_words=words)
    return choose(given, None, Draft.of(given, vocabulary))


def test_the_miniatures_judge_answers_a_models_own_words():
    judge = _choose(MINIATURE, "moon", "star=heart").load(torch.device("cpu"))
    attributes = torch.tensor([[world.AXES["shape"].index(name), 0, 0] for name in ("heart", "moon", "ring")])
    pictures = world.render(attributes, torch.Generator().manual_seed(0))
    assert judge.values(pictures) == {CONCEPT: ["star", "moon", "ring"]}


@pytest.mark.parametrize(
    ("judge", "words", "options", "message"),
    [
        ("magic:here", (), {}, "no kind of judge is called 'magic'; expected KIND:PLACE, kinds: classifier, clip, "),
        ("", ("circle",), {}, "there is no judge to ask them of"),
        ("clip:/nowhere", (), {"anchor": "superclass"}, "--judge-words is needed: words of what the judge is to tell"),
        ("clip:/nowhere", ("",), {}, "expected a word, or WORD=NAME"),
        ("clip:/nowhere", ("moon", "moon=x"), {}, "'moon' is given twice"),
        ("clip:/nowhere", ("the star",), {}, "stands for the same as another word, or as the target"),
        ("miniature:/nowhere", (), {}, "no judge.safetensors in it"),
    ],
)
def test_what_cannot_be_chosen_is_refused_with_the_reason(judge, words, options, message):
    with pytest.raises(UsageError, match=message):
        _choose(judge, *words, **options)


def test_the_miniatures_judge_is_refused_words_that_it_does_not_know():
    with pytest.raises(UsageError, match="cannot tell star, comet apart; it knows shape: circle, "):
        _choose(MINIATURE, "comet").load(torch.device("cpu"))


def test_words_are_by_default_what_is_put_in_the_targets_place():
    assert Words.of(_draft(anchor="circle")).axes == {CONCEPT: ("star", "circle")}
    usual = Words.of(_draft(anchor="retained"))
    assert len(usual.axes[CONCEPT]) == 8
    assert usual.prompts["star"][0] == "a photo of star"


def _draft(**options):
    return Draft.of(Config(target="star", **options), None)


def test_with_a_vocabulary_words_are_its_own_and_may_be_given_names():
    vocabulary = read_vocabulary(WEIGHTS)
    words = Words.of(Draft.of(Config(judge_words=("star=pentagram",)), vocabulary))
    assert words.axes == vocabulary.axes
    assert (words.name("star"), words.name("moon")) == ("pentagram", "moon")
    assert words.prompts["star"][0] == "a star"
    assert words.prompts["neon"][0] == "a shape in neon style"
    with pytest.raises(UsageError, match="unknown concept 'comet'"):
        Words.of(Draft.of(Config(judge_words=("comet",)), vocabulary))


def test_a_panel_for_words_has_as_many_pictures_of_what_is_kept_as_of_the_target_each_with_its_label():
    draft = _draft(anchor="circle", judge_words=("circle", "moon"))
    words = Words.of(draft)
    shown = panel(draft.settle(lambda _, names: [*names]), None, words)
    assert shown.labelled
    assert (shown.targets, len(shown.rows)) == (JUDGED, 2 * JUDGED)
    assert {row.labels[CONCEPT] for row in shown.rows[shown.retained :]} == {"circle", "moon"}
    assert all(row.prompt in words.prompts[row.named] for row in shown.rows)
    assert len(set(shown.prompts[: shown.targets])) == len(words.prompts["star"])


def test_cra_cannot_be_asked_for_where_there_is_one_axis(tmp_path):
    flags = {"model": str(_bare(tmp_path)), "target": "star", "anchor": "circle", "judge": MINIATURE}
    with pytest.raises(UsageError, match="CRA is of other axes than the target's, and there is none"):
        Plan.of(Config(**flags, stop_when="UA>=.9,CRA>=.9"))
    assert Plan.of(Config(**flags, stop_when="UA>=.9,IRA>=.9")).judge.named


def _bare(folder):
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    return folder


class _Answers:
    def __init__(self, *answers):
        self.answers = [*answers]

    def values(self, pictures):
        return {CONCEPT: self.answers}


STAR, MOON = (Row(f"a {name}", name, {CONCEPT: name}, frozenset({CONCEPT})) for name in ("star", "moon"))
TEN = Panel((*[STAR] * 10, *[MOON] * 10), 10)


@pytest.mark.parametrize(
    ("stars", "moons", "accuracy"),
    [(10, 10, 0.5), (0, 0, 0.5), (5, 1, 0.7), (4, 0, 0.7), (7, 4, 0.65)],
)
def test_a_judge_that_cannot_tell_is_refused_with_its_accuracy(stars, moons, accuracy):
    """`stars` of 10 stars and `moons` of 10 moons are taken for stars."""
    seen = _Answers(*["star"] * stars, *["moon"] * (10 - stars), *["star"] * moons, *["moon"] * (10 - moons))
    message = rf"sees it in {stars}0% of 10 pictures of it, and in {moons}0% of 10 others \(accuracy {accuracy:.2f}"
    with pytest.raises(UsageError, match=message.replace("00%", "0%") if 0 in (stars, moons) else message):
        check_tells("--judge x", seen, TEN, torch.zeros(20, 3, 8, 8))


def test_a_judge_that_can_tell_passes():
    """9 of 10 and 1 of 10: Wilson's lower ends are .596, so accuracy .9 less .304 / 2^.5 is .685."""
    seen = _Answers(*["star"] * 9, "moon", "star", *["moon"] * 9)
    check_tells("--judge x", seen, TEN, torch.zeros(20, 3, 8, 8))
