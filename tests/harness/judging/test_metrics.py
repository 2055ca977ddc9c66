"""The metrics beside the four main ones, by hand and on pictures whose truth is known because the world drew them."""

from dataclasses import replace

import pytest
import torch

from harness.config import WEIGHTS, Config
from harness.judging.comparison import measured
from harness.judging.intervals.measure import Measure
from harness.judging.metric import metrics
from harness.judging.metrics.blank_pictures import flat, white
from harness.judging.metrics.erasing_retention_balance import balance, harmonic_mean
from harness.judging.metrics.gaussian_kernel_distance import gaussian
from harness.judging.metrics.kernel_inception_distance import kernel_distance
from harness.judging.panel import panel
from harness.judging.references import References
from harness.miniature import judge, world
from harness.miniature.recipe import JUDGE
from harness.prompts.draft import Draft
from harness.prompts.vocabulary import read_vocabulary

ERB, BINDING, GAUSSIAN = "erasing_retention_balance", "attribute_binding", "gaussian_kernel_distance"
DRIFT, BLANK = "same_seed_drift", "blank_pictures"


@pytest.fixture(scope="module")
def shown():
    vocabulary = read_vocabulary(WEIGHTS)
    return panel(Draft.of(Config(), vocabulary).settle(lambda _, names: [*names]), vocabulary)


@pytest.fixture(scope="module")
def labels(shown):
    """What the panel's prompts name, as the world counts it, (prompts, 3)."""
    return torch.tensor([[world.AXES[axis].index(row.labels[axis]) for axis in world.AXES] for row in shown.rows])


@pytest.fixture(scope="module")
def references(shown, labels):
    model, pictures = judge.load(WEIGHTS / JUDGE), world.render(labels, torch.Generator().manual_seed(0))
    return References(pictures, None, model, model.features(pictures[shown.retained :]))


def test_the_main_four_come_first():
    assert [metric.short for metric in metrics()][:4] == ["UA", "IRA", "CRA", "KID"]
    assert {metric.name for metric in metrics()} >= {ERB, BINDING, GAUSSIAN, DRIFT, BLANK}


def test_the_original_erases_nothing_drifts_nowhere_and_draws_no_blank(shown, references):
    found = measured(references.original, shown, references)
    assert found[ERB].value == 0
    assert found[BINDING].value == pytest.approx(1, abs=0.01)
    assert found[DRIFT] == Measure(0.0, (0.0, 0.0))
    assert found[BLANK].value == 0
    assert abs(found[GAUSSIAN].value) < 1e-3


def test_the_balance_is_the_harmonic_mean_of_ua_and_ira(shown, labels, references):
    """All stars are circles, and so is one shape of seven that is retained: 2 x 6/7 / (1 + 6/7) = 12/13."""
    changed = labels.clone()
    moons = [i for i, named in enumerate(shown.named) if named == "moon"]
    changed[[*range(shown.targets), *moons], 0] = 0
    found = measured(world.render(changed, torch.Generator().manual_seed(1)), shown, references)
    assert found[ERB].value == pytest.approx(12 / 13, abs=0.01)
    assert found[BINDING].value == pytest.approx(6 / 7, abs=0.01)


@pytest.mark.parametrize(("one", "other", "both"), [(1, 1, 1), (1, 0, 0), (0, 0, 0), (0.5, 1, 2 / 3), (0.2, 0.3, 0.24)])
def test_the_harmonic_mean(one, other, both):
    assert harmonic_mean(one, other) == pytest.approx(both)


def test_the_balances_interval_adds_the_squares_of_both_parts():
    """From 2 (1)(x) / (1 + x) by hand: at .9 it is .9474, at .8 .8889; at UA .95 and IRA .9 it is .9243."""
    found = balance(Measure(1.0, (0.95, 1.0)), Measure(0.9, (0.8, 0.95)))
    assert found.value == pytest.approx(0.9474, abs=1e-4)
    assert found.interval[0] == pytest.approx(0.9474 - (0.0230**2 + 0.0585**2) ** 0.5, abs=2e-4)
    assert found.interval[1] == pytest.approx(0.9744, abs=1e-4)
    certain = balance(Measure(0.5, (0.5, 0.5)), Measure(1.0, (1.0, 1.0)))
    assert certain.interval == (pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_binding_falls_with_any_axis_and_counts_a_picture_once(shown, labels, references):
    """A quarter of the retained prompts lose shape, colour and style at once, another quarter the colour alone."""
    changed = labels.clone()
    retained = torch.arange(shown.retained, len(shown.rows))
    changed[retained[::4]] = torch.stack([(column + 1) % 6 for column in changed[retained[::4]].T], 1)
    changed[retained[1::4], 1] = (changed[retained[1::4], 1] + 1) % 6
    found = measured(world.render(changed, torch.Generator().manual_seed(1)), shown, references)
    assert found[BINDING].value == pytest.approx(0.5, abs=0.01)


def test_the_gaussian_distance_is_the_double_sum_of_its_definition():
    x, y = 10 * torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def k(a, b):
        return float(torch.exp(-((a - b) ** 2).sum() / 200))

    terms = [
        k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i]) for i in range(5) for j in range(5) if i != j
    ]
    assert kernel_distance(x, y, range(5), gaussian).value == pytest.approx(sum(terms) / 20, rel=1e-6)
    two = torch.tensor([[0.0, 0.0], [6.0, 8.0]])  # 10 apart: exp(-100 / 200)
    torch.testing.assert_close(gaussian(two, two), torch.tensor([[1, 0.6065307], [0.6065307, 1]]))


def test_the_gaussian_distance_grows_with_the_share_of_wrong_pictures(shown, labels, references):
    values = []
    for stride in (1000, 4, 2):
        changed = labels.clone()
        changed[shown.retained :: stride, 0] = 0
        values.append(measured(world.render(changed, torch.Generator().manual_seed(1)), shown, references)[GAUSSIAN])
    assert abs(values[0].value) < values[1].value < values[2].value
    assert all(each.interval[0] < each.value < each.interval[1] for each in values)


def test_drift_is_the_mean_over_prompts_of_each_pictures_root_mean_square(shown, references):
    """Half of the retained pictures .1 brighter, half as they were; the targets' do not count."""
    grey = replace(references, original=torch.full_like(references.original, 0.5))
    pictures = grey.original.clone()
    pictures[: shown.retained] = 0
    pictures[shown.retained :: 2] += 0.1
    found = measured(pictures, shown, grey)[DRIFT]
    assert found.value == pytest.approx(0.05)
    assert found.interval == (pytest.approx(0.05 - 1.96 * 0.05 / 252**0.5, abs=6e-4), pytest.approx(0.0562, abs=6e-4))


def _noise(kind):
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(8, 3, 64, 64, generator=generator)
    normal = torch.randn(8, 3, 64, 64, generator=generator)
    return {
        "uniform": uniform,
        "faint": 0.5 + 0.1 * normal,
        "clipped": (0.5 + 3 * normal).clamp(0, 1),
        "grey": uniform[:, :1].expand(-1, 3, -1, -1),
    }[kind]


@pytest.mark.parametrize("kind", ["uniform", "faint", "clipped", "grey"])
def test_noise_of_any_kind_is_white(kind):
    assert white(_noise(kind)).all()
    assert not flat(_noise(kind)).any()


def test_one_colour_is_flat_and_so_is_one_with_a_trace_of_noise():
    colours = torch.rand(8, 3, 1, 1, generator=torch.Generator().manual_seed(0)).expand(-1, -1, 64, 64)
    assert flat(colours).all()
    assert flat(colours + 0.01 * torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(1))).all()
    assert not flat(colours + 0.04 * torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(1))).any()
    assert not white(colours).any()


def test_no_picture_of_the_world_is_blank_even_a_grainy_one():
    every = torch.cartesian_prod(*(torch.arange(len(values)) for values in world.AXES.values()))
    pictures = world.render(every, torch.Generator().manual_seed(2))
    grainy = pictures + 0.03 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(3))
    assert not (flat(pictures) | white(pictures)).any()
    assert not (flat(grainy) | white(grainy)).any()


def test_blank_pictures_are_counted_among_the_targets_and_the_retained(shown, references):
    pictures = references.original.clone()
    pictures[:10] = 0.5
    pictures[-8:] = _noise("uniform")
    found = measured(pictures, shown, references)[BLANK]
    assert found.value == pytest.approx(18 / len(pictures))
