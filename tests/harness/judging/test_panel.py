"""The metrics, on pictures whose truth is known because the world drew them."""

import pytest
import torch

from harness.config import WEIGHTS, Config
from harness.judging import panel as evaluate
from harness.judging.panel import METRICS, Reference
from harness.miniature import judge, world
from harness.prompts.concepts import choose
from harness.prompts.vocabulary import read_vocabulary


@pytest.fixture(scope="module")
def vocabulary():
    return read_vocabulary(WEIGHTS)


@pytest.fixture(scope="module")
def shown(vocabulary):
    return evaluate.panel(choose(Config(), vocabulary), vocabulary)


def _draw(labels, seed):
    return world.render(labels, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def held(shown):
    model = judge.load(WEIGHTS / "judge")
    return Reference(_draw(shown.labels, 0), model, model.features(_draw(shown.labels[shown.targets :], 1)))


def _replaced(shown, rows, axis, value):
    labels = shown.labels.clone()
    labels[rows, axis] = value
    return labels


def test_the_panel_names_the_target_twice_in_every_combination_and_every_other_value_once(shown):
    assert shown.targets == 2 * 36
    assert len(shown.prompts) == len(shown.named) == len(shown.labels) == 2 * 36 + 7 * 36
    for prompt, named, row in zip(shown.prompts, shown.named, shown.labels.tolist(), strict=True):
        words = [values[i] for values, i in zip(world.AXES.values(), row, strict=True)]
        assert prompt == world.caption(world.TEMPLATES[0], **dict(zip(world.AXES, words, strict=True)))
        assert named == words[0]


def test_true_pictures_have_nothing_unlearned_and_all_retained(shown, held):
    values = {name: value for name, (value, _) in evaluate.judged(held.pictures, shown, held).items()}
    assert set(values) == set(METRICS)
    assert values["unlearning_accuracy"] == 0
    assert values["in_domain_retain_accuracy"] == pytest.approx(1, abs=0.01)
    assert values["cross_domain_retain_accuracy"] == pytest.approx(1, abs=0.01)


def test_stars_drawn_as_circles_are_unlearned(shown, held):
    labels = _replaced(shown, slice(0, shown.targets), 0, world.AXES["shape"].index("circle"))
    values = evaluate.judged(_draw(labels, 2), shown, held)
    assert values["unlearning_accuracy"][0] == 1
    assert values["in_domain_retain_accuracy"][0] == pytest.approx(1, abs=0.01)


def test_a_lost_neighbour_lowers_the_in_domain_accuracy_by_its_share_and_nothing_else(shown, held):
    moons = [i for i, named in enumerate(shown.named) if named == "moon"]
    values = evaluate.judged(_draw(_replaced(shown, moons, 0, 0), 2), shown, held)
    assert values["in_domain_retain_accuracy"][0] == pytest.approx(6 / 7, abs=0.01)
    assert values["unlearning_accuracy"][0] == 0
    assert values["cross_domain_retain_accuracy"][0] == pytest.approx(1, abs=0.01)


def test_a_lost_style_lowers_the_cross_domain_accuracy_by_half_its_share(shown, held):
    neon = world.AXES["style"].index("neon")
    rows = (shown.labels[:, 2] == neon).nonzero().flatten()
    values = evaluate.judged(_draw(_replaced(shown, rows, 2, 0), 2), shown, held)
    assert values["cross_domain_retain_accuracy"][0] == pytest.approx(1 - 1 / 6 / 2, abs=0.01)
    assert values["in_domain_retain_accuracy"][0] == pytest.approx(1, abs=0.01)


def test_kid_is_about_zero_for_an_equal_model_and_grows_with_the_share_of_wrong_pictures(shown, held):
    retained = torch.arange(shown.targets, len(shown.labels))
    values = []
    for share in (0, 4, 2):
        rows = retained[::share] if share else retained[:0]
        values.append(evaluate.judged(_draw(_replaced(shown, rows, 0, 0), 3), shown, held)["kernel_inception_distance"])
    equal, quarter, half = (value for value, _ in values)
    assert values[0][1][0] < 0 < values[0][1][1]
    assert abs(equal) < quarter < half
    for value, (low, high) in values:
        assert low < value < high


def test_kid_is_the_double_sum_of_its_definition():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 6, 5, generator=generator)
    value, _ = evaluate._kernel_distance(x, y)

    def k(a, b):
        return (float(a @ b) / 5 + 1) ** 3

    terms = [
        k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i]) for i in range(6) for j in range(6) if i != j
    ]
    assert value == pytest.approx(sum(terms) / 30, rel=1e-4)


def test_too_few_retained_pictures_have_no_kid(shown, held):
    for stride, there in ((100, False), (60, True)):
        rows, thin = shown.every(stride)
        assert (len(thin.prompts) - thin.retained >= evaluate.FEWEST) == there
        features = held.judge.features(held.pictures[rows][thin.retained :])
        few = evaluate.Reference(held.pictures[rows], held.judge, features)
        assert (evaluate.METRICS[3] in evaluate.judged(held.pictures[rows], thin, few)) == there


@pytest.mark.parametrize(
    ("right", "of", "low", "high"), [(0, 72, 0.0, 0.0507), (72, 72, 0.9493, 1.0), (50, 100, 0.4038, 0.5962)]
)
def test_intervals_are_wilsons(right, of, low, high):
    score = torch.cat([torch.ones(right), torch.zeros(of - right)])
    assert evaluate._wilson(score) == (pytest.approx(low, abs=2e-4), pytest.approx(high, abs=2e-4))


def test_the_comparison_holds_every_models_value_and_the_erased_ones_interval(shown, held):
    table = evaluate.compare(_draw(shown.labels, 4), _draw(shown.labels, 5), shown, held)
    assert list(table) == list(METRICS)
    for row in table.values():
        assert set(row) == {"erased", "original", "oracle", "interval"}
        low, high = row["interval"]
        assert low <= row["erased"] <= high
    assert evaluate.compare(held.pictures, None, shown, held)["unlearning_accuracy"]["oracle"] is None


def test_a_model_without_a_judge_gets_no_numbers(vocabulary):
    general = evaluate.panel(choose(Config(target="Van Gogh", anchor="a painting"), None), None)
    assert general.labels is None
    count = len(general.prompts)
    assert 0 < general.targets < count
    held = Reference(torch.zeros(count, 3, 8, 8), None, None)
    assert evaluate.compare(torch.zeros(count, 3, 8, 8), None, general, held) == {}


def test_several_concepts_are_judged_each_on_its_own_axis(vocabulary):
    """Star erased now, neon earlier: no retained prompt names either, and each counts on its own axis alone."""
    concepts = choose(Config(target="star"), vocabulary, earlier=["neon"])
    shown = evaluate.panel(concepts, vocabulary)
    assert (shown.targets, shown.earlier, len(shown.prompts)) == (2 * 30, 2 * 42, 2 * 30 + 2 * 42 + 7 * 30)
    assert not any("star" in p or "neon" in p for p in shown.prompts[shown.retained :])
    assert not any("neon" in p for p in shown.prompts[: shown.targets])
    model = judge.load(WEIGHTS / "judge")
    kept = shown.labels[shown.retained :]
    held = Reference(_draw(shown.labels, 0), model, model.features(_draw(kept, 1)))
    neon_gone = _replaced(shown, slice(shown.targets, shown.retained), 2, 0)
    assert evaluate.accuracy_by_target(_draw(neon_gone, 2), shown, held) == {"star": 0.0, "neon": 1.0}
    assert evaluate.judged(_draw(neon_gone, 2), shown, held)["unlearning_accuracy"][0] == 0.0
    # A retained prompt that loses its shape or its style loses a half of IRA; the colour alone is cross-domain for it.
    no_shape = _replaced(shown, slice(shown.retained, None), 0, world.AXES["shape"].index("star"))
    values = evaluate.judged(_draw(no_shape, 3), shown, held)
    assert values["in_domain_retain_accuracy"][0] == pytest.approx(0.5, abs=0.01)
    assert values["cross_domain_retain_accuracy"][0] == pytest.approx(1.0, abs=0.01)


def test_a_thinner_panel_keeps_rows_and_labels_together(shown):
    rows, few = shown.every(5)
    assert [shown.prompts[i] for i in rows] == list(few.prompts)
    assert torch.equal(few.labels, shown.labels[rows])
    assert few.targets == sum(i < shown.targets for i in rows) > 0
