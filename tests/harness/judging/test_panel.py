"""The metrics, on pictures whose truth is known because the world drew them."""

from dataclasses import replace

import pytest
import torch

from harness.config import WEIGHTS, Config, UsageError
from harness.judging.comparison import accuracy_by_target, as_rows, compare, measured, retained_by_value
from harness.judging.judge import choose as choose_judge
from harness.judging.metric import metrics
from harness.judging.metrics.kernel_inception_distance import FEWEST, kernel_distance
from harness.judging.panel import GENERAL_RETAINED, panel
from harness.judging.references import References
from harness.judging.stopping import StopRule
from harness.miniature import judge, world
from harness.miniature.recipe import JUDGE
from harness.prompts.draft import Draft
from harness.prompts.templates import bank
from harness.prompts.vocabulary import read_vocabulary
from harness.show.screen import metric_lines
from tests.drop_in import dropped_in

UA, IRA, CRA = "unlearning_accuracy", "in_domain_retain_accuracy", "cross_domain_retain_accuracy"
KID = "kernel_inception_distance"


def choose(options, vocabulary, **earlier):
    return Draft.of(options, vocabulary, **earlier).settle(lambda _, names: [*names])


@pytest.fixture(scope="module")
def vocabulary():
    return read_vocabulary(WEIGHTS)


@pytest.fixture(scope="module")
def shown(vocabulary):
    return panel(choose(Config(), vocabulary), vocabulary)


def _labels(shown):
    """What the panel's prompts name, as the world counts it, (prompts, 3)."""
    return torch.tensor([[world.AXES[axis].index(row.labels[axis]) for axis in world.AXES] for row in shown.rows])


def _draw(labels, seed):
    return world.render(labels, torch.Generator().manual_seed(seed))


def _references(shown):
    model = judge.load(WEIGHTS / JUDGE)
    labels = _labels(shown)
    return References(_draw(labels, 0), None, model, model.features(_draw(labels[shown.retained :], 1)))


@pytest.fixture(scope="module")
def references(shown):
    return _references(shown)


def _replaced(shown, rows, axis, value):
    labels = _labels(shown)
    labels[rows, axis] = value
    return labels


def _values(pictures, shown, references):
    return {name: measure.value for name, measure in measured(pictures, shown, references).items()}


def test_the_panel_names_the_target_twice_in_every_combination_and_every_other_value_once(shown):
    assert shown.targets == 2 * 36
    assert len(shown.rows) == 2 * 36 + 7 * 36
    for row in shown.rows:
        assert row.prompt == world.caption(world.TEMPLATES[0], **row.labels)
        assert row.named == row.labels["shape"]


def test_true_pictures_have_nothing_unlearned_and_all_retained(shown, references):
    values = _values(references.original, shown, references)
    assert list(values) == [metric.name for metric in metrics() if "clip" not in metric.name]
    assert list(values)[:4] == [UA, IRA, CRA, KID]
    assert values[UA] == 0
    assert values[IRA] == pytest.approx(1, abs=0.01)
    assert values[CRA] == pytest.approx(1, abs=0.01)


def test_stars_drawn_as_circles_are_unlearned(shown, references):
    labels = _replaced(shown, slice(0, shown.targets), 0, world.AXES["shape"].index("circle"))
    values = _values(_draw(labels, 2), shown, references)
    assert values[UA] == 1
    assert values[IRA] == pytest.approx(1, abs=0.01)


def test_a_lost_neighbour_lowers_the_in_domain_accuracy_by_its_share_and_nothing_else(shown, references):
    moons = [i for i, named in enumerate(shown.named) if named == "moon"]
    values = _values(_draw(_replaced(shown, moons, 0, 0), 2), shown, references)
    assert values[IRA] == pytest.approx(6 / 7, abs=0.01)
    assert values[UA] == 0
    assert values[CRA] == pytest.approx(1, abs=0.01)


def test_a_lost_style_lowers_the_cross_domain_accuracy_by_half_its_share(shown, references):
    rows = [i for i, row in enumerate(shown.rows) if row.labels["style"] == "neon"]
    values = _values(_draw(_replaced(shown, rows, 2, 0), 2), shown, references)
    assert values[CRA] == pytest.approx(1 - 1 / 6 / 2, abs=0.01)
    assert values[IRA] == pytest.approx(1, abs=0.01)


def test_kid_is_about_zero_for_an_equal_model_and_grows_with_the_share_of_wrong_pictures(shown, references):
    retained = torch.arange(shown.targets, len(shown.rows))
    values = []
    for rows in (retained[:0], retained[::4], retained[::2]):
        values.append(measured(_draw(_replaced(shown, rows, 0, 0), 3), shown, references)[KID])
    equal, quarter, half = values
    assert equal.interval[0] < 0 < equal.interval[1]
    assert abs(equal.value) < quarter.value < half.value
    assert all(each.interval[0] < each.value < each.interval[1] for each in values)


def test_kid_is_the_double_sum_of_its_definition():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 6, 5, generator=generator)

    def k(a, b):
        return (float(a @ b) / 5 + 1) ** 3

    terms = [
        k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i]) for i in range(6) for j in range(6) if i != j
    ]
    assert kernel_distance(x, y, range(6)).value == pytest.approx(sum(terms) / 30, rel=1e-4)


def test_kid_has_the_same_mean_and_less_spread_where_a_prompts_two_pictures_share_their_noise():
    """Lemma 6 asks that pairs be independent of each other, not that the two of a pair be."""
    generator = torch.Generator().manual_seed(0)
    shared, own = [], []
    for _ in range(300):
        prompts, first, second = torch.randn(3, 40, 4, generator=generator)
        x = prompts + 0.5 * first
        shared.append(kernel_distance(x, x + 0.6, range(40)).value)
        own.append(kernel_distance(x, prompts + 0.5 * second + 0.6, range(40)).value)
    (mean, spread), (own_mean, own_spread) = (
        (each.mean().item(), each.std().item()) for each in (torch.tensor(shared), torch.tensor(own))
    )
    assert spread < own_spread
    assert abs(mean - own_mean) < 3 * own_spread / 300**0.5
    assert kernel_distance(x, x, range(40)).value == 0


def test_too_few_retained_pictures_have_no_kid(shown, references):
    for stride, there in ((100, False), (60, True)):
        rows, thin = shown.every(stride)
        assert (len(thin.rows) - thin.retained >= FEWEST) == there
        pictures = references.original[rows]
        features = references.judge.features(pictures[thin.retained :])
        few = replace(references, original=pictures, features=features)
        assert (KID in measured(pictures, thin, few)) == there


def test_the_comparison_holds_every_models_value_and_the_erased_ones_interval(shown, references):
    table = as_rows(compare(_draw(_labels(shown), 4), shown, replace(references, oracle=_draw(_labels(shown), 5))))
    assert list(table) == [metric.name for metric in metrics() if "clip" not in metric.name]
    for row in table.values():
        assert list(row) == ["erased", "original", "oracle", "interval", "change", "beside_oracle"]
        low, high = row["interval"]
        assert low <= row["erased"] <= high
        low, high = row["beside_oracle"]
        assert low <= row["erased"] - row["oracle"] <= high
    alone = as_rows(compare(references.original, shown, references))[UA]
    assert (alone["oracle"], alone["beside_oracle"]) == (None, None)


def test_pictures_of_one_prompt_that_go_together_widen_the_interval(shown, references):
    """Of 36 prompts with two seeds each 9 stay a star: both times, or once of 18."""
    places = torch.arange(shown.targets).view(2, 36)
    together, apart = places[:, ::4].flatten(), places[torch.arange(36) % 2, torch.arange(36)][::2]
    both, once = (measured(_draw(_replaced(shown, gone, 0, 0), 2), shown, references)[UA] for gone in (together, apart))
    assert (both.value, once.value) == (0.25, 0.25)
    assert once.interval == pytest.approx((0.1644, 0.3609), abs=2e-4)  # Wilson's of 18 of 72
    assert both.interval == pytest.approx((0.1371, 0.4107), abs=5e-3)  # Wilson's of 9 of 36, but for the quantiles
    assert len(both.deviations) == 36


def test_a_model_without_a_judge_gets_no_numbers():
    general = panel(choose(Config(target="Van Gogh", anchor="a painting"), None), None)
    assert not general.labelled
    assert 0 < general.targets < len(general.rows)
    pictures = torch.zeros(len(general.rows), 3, 8, 8)
    assert as_rows(compare(pictures, general, References(pictures, None, None, None))) == {}


def test_what_is_kept_is_shown_in_every_template_and_under_many_names():
    """Sixteen of a real model's retained prompts, which would be the first template alone if the first were taken."""
    concepts = choose(Config(target="Van Gogh", anchor="a painting", concept_type="style"), None)
    shown = panel(concepts, None)
    kept = shown.prompts[shown.retained :]
    assert len(set(kept)) == len(kept) == GENERAL_RETAINED < len(concepts.retain_prompts)
    of_style = bank("style")
    names = {name for name in of_style.retain for prompt in kept if name in prompt}
    scenes = {template.split("[")[0].split("{")[0] for template in of_style.templates}
    assert len(names) >= 6
    assert len({scene for scene in scenes for prompt in kept if scene and prompt.startswith(scene)}) >= 6


def test_several_concepts_are_judged_each_on_its_own_axis(vocabulary):
    """Star erased now, neon earlier: no retained prompt names either, and each counts on its own axis alone."""
    concepts = choose(Config(target="star"), vocabulary, earlier={"neon": []})
    shown = panel(concepts, vocabulary)
    assert (shown.targets, shown.earlier, len(shown.prompts)) == (2 * 30, 2 * 42, 2 * 30 + 2 * 42 + 7 * 30)
    assert not any("star" in p or "neon" in p for p in shown.prompts[shown.retained :])
    assert not any("neon" in p for p in shown.prompts[: shown.targets])
    references = _references(shown)
    neon_gone = _replaced(shown, slice(shown.targets, shown.retained), 2, 0)
    by_target = accuracy_by_target(_draw(neon_gone, 2), shown, references)
    assert {name: each.value for name, each in by_target.items()} == {"star": 0.0, "neon": 1.0}
    assert _values(_draw(neon_gone, 2), shown, references)[UA] == 0.0
    # A retained prompt that loses its shape or its style loses a half of IRA; the colour alone is cross-domain for it.
    no_shape = _replaced(shown, slice(shown.retained, None), 0, world.AXES["shape"].index("star"))
    values = _values(_draw(no_shape, 3), shown, references)
    assert values[IRA] == pytest.approx(0.5, abs=0.01)
    assert values[CRA] == pytest.approx(1.0, abs=0.01)


def test_what_is_kept_is_told_by_value(shown, references):
    """All moons lose their shape: theirs alone falls, and their colours and styles stay."""
    moons = [i for i, name in enumerate(shown.named) if name == "moon"]
    lost = _replaced(shown, slice(moons[0], moons[-1] + 1), 0, 0)
    found = retained_by_value(_draw(lost, 2), shown, references)
    assert set(found) == set(shown.named[shown.retained :])
    assert {name: row["in_domain"]["value"] for name, row in found.items() if name != "moon"} == dict.fromkeys(
        found.keys() - {"moon"}, 1.0
    )
    assert found["moon"]["in_domain"]["value"] == 0
    assert found["moon"]["cross_domain"]["value"] == 1
    assert retained_by_value(references.original, shown, replace(references, judge=None)) == {}


def test_a_thinner_panel_keeps_rows_and_labels_together(shown):
    rows, few = shown.every(5)
    assert [shown.rows[i] for i in rows] == list(few.rows)
    assert torch.equal(few.own, shown.own[rows])
    assert few.targets == sum(i < shown.targets for i in rows) > 0


METRIC = """
import torch
from harness.judging.metric import Metric

def measure(judged):
    return judged.share(judged.right[:, 1], torch.arange(len(judged.right)))

METRIC = Metric(
    name="blue_kept", short="BK", formula="", source="", order=99, measure=measure,
    higher_is_better=True, of_retained=True, is_share=True,
)
"""


def test_a_metric_is_one_new_file(shown, references, tmp_path):
    """It is in metrics.json, on the last screen, and can be stopped for."""
    with dropped_in("harness.judging.metrics", "blue_kept", METRIC, tmp_path):
        table = as_rows(compare(references.original, shown, references))
        assert list(table)[-1] == "blue_kept"
        assert table["blue_kept"]["erased"] == pytest.approx(1, abs=0.01)
        assert any("blue kept" in line for line in metric_lines(table))
        rule = StopRule.of(Config(stop_when="BK>=0.5"), axes=3)
        assert rule.reason({"blue_kept": 0.6}, {"blue_kept": 0.6}) == "the conditions hold: BK 0.600"
    assert "blue_kept" not in {metric.name for metric in metrics()}


FOREIGN_JUDGE = """
import torch

class Red:
    def features(self, pictures):
        return pictures.mean((2, 3))

    def values(self, pictures):
        seen = {"shape": "star", "colour": "red", "style": "plain"}
        return {axis: [value] * len(pictures) for axis, value in seen.items()}

def present(place):
    return (place / "red.txt").is_file()

def check(choice):
    pass

def load(choice, device):
    return Red()
"""


def _found(folder, vocabulary):
    """The judge that a model's folder holds, or None."""
    return choose_judge(Config(), folder, Draft.of(Config(), vocabulary))


def test_a_judge_is_one_new_file_found_by_what_the_models_folder_holds(shown, references, vocabulary, tmp_path):
    assert isinstance(_found(WEIGHTS, vocabulary).load("cpu"), judge.Judge)
    assert _found(None, vocabulary) is None
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge" / "red.txt").touch()
    assert _found(tmp_path, vocabulary) is None
    with dropped_in("harness.judging.judges", "red", FOREIGN_JUDGE, tmp_path):
        held = replace(references, judge=_found(tmp_path, vocabulary).load("cpu"))
        held = replace(held, features=held.judge.features(held.original[shown.retained :]))
        values = _values(held.original, shown, held)
    assert values[UA] == values[IRA] == 0
    assert values[CRA] == pytest.approx((1 / 6 + 1 / 6) / 2)


def test_a_judge_that_cannot_be_read_is_one_line(vocabulary, tmp_path):
    (tmp_path / "judge").mkdir()
    (tmp_path / JUDGE).write_bytes(b"damaged")
    with pytest.raises(UsageError, match="judge cannot be read"):
        _found(tmp_path, vocabulary).load("cpu")
