"""The metrics of a judge that reads texts, on embeddings of which every cosine is known by hand."""

import pytest
import torch

from harness.judging.comparison import measured
from harness.judging.metrics.clip.clip_score import score
from harness.judging.panel import Panel, Row
from harness.judging.references import References
from harness.prompts.words import CONCEPT, Words

CS, CA, RCS, RCA = "clip_score", "clip_accuracy", "retained_clip_score", "retained_clip_accuracy"
CMMD = "clip_maximum_mean_discrepancy"
TEXTS = {"a star": [1.0, 0.0], "moon": [0.0, 1.0], "ring": [-1.0, 0.0]}


class Plane:
    """A CLIP whose embeddings are the picture's first two levels, and those of TEXTS."""

    words = Words({CONCEPT: ("star", "moon", "ring")}, {}, {"star": "a star"})

    def features(self, pictures):
        return pictures[:, :2, 0, 0]

    def text_features(self, texts):
        return torch.tensor([TEXTS[text] for text in texts])

    def values(self, pictures):
        return {CONCEPT: ["star"] * len(pictures)}


def _pictures(*embeddings):
    pictures = torch.zeros(len(embeddings), 3, 4, 4)
    pictures[:, :2] = torch.tensor(embeddings)[..., None, None]
    return pictures


def _rows(*names):
    return tuple(Row(f"a {name}", name, {CONCEPT: name}, frozenset({CONCEPT})) for name in names)


SHOWN = Panel(_rows("star", "star", "star", "star", "moon", "moon", "ring", "ring"), 4)
ORIGINAL = _pictures([1, 0], [1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [-1, 0], [-1, 0])
ERASED = _pictures([0.6, 0.8], [0.8, 0.6], [-0.6, 0.8], [-1.0, 0.0], [0, 1], [0.8, 0.6], [-1, 0], [0.6, -0.8])
"""Cosines with the star: .6, .8, -.6, -1; with the moon .8, .6, .8, 0; what is kept: moon 1, .6, ring 1, -.6."""


def _measured(pictures, judge=None):
    judge = judge or Plane()
    return measured(pictures, SHOWN, References(ORIGINAL, None, judge, judge.features(ORIGINAL[SHOWN.retained :])))


def test_the_score_stretches_cosines_and_cuts_off_those_below_zero():
    torch.testing.assert_close(score(torch.tensor([0.3, 0.0, -0.2])), torch.tensor([0.75, 0.0, 0.0]))


def test_scores_and_accuracies_are_their_definitions_by_hand():
    found = _measured(ERASED)
    assert found[CS].value == pytest.approx(2.5 * (0.6 + 0.8) / 4)
    assert found[CA].value == 0.25  # the second alone is nearer to the star than to moon and ring
    assert found[RCS].value == pytest.approx(2.5 * (1 + 0.6 + 1) / 4)
    assert found[RCA].value == 0.5  # the second moon is nearer to the star, and so is the second ring
    for name in (CS, CA, RCS, RCA):
        low, high = found[name].interval
        assert low <= found[name].value <= high


def test_the_original_is_all_right_and_at_no_distance_to_itself():
    found = _measured(ORIGINAL)
    assert (found[CS].value, found[CA].value, found[RCS].value, found[RCA].value) == (2.5, 1.0, 2.5, 1.0)
    assert found[CMMD].value == 0


def test_cmmd_is_a_thousand_times_the_double_sum_over_pairs_of_different_prompts():
    x, y = (Plane().features(each[4:]).double() for each in (ERASED, ORIGINAL))

    def k(a, b):
        return float(torch.exp(-((a - b) ** 2).sum() / 200))

    terms = [
        k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i]) for i in range(4) for j in range(4) if i != j
    ]
    assert _measured(ERASED)[CMMD].value == pytest.approx(1000 * sum(terms) / 12, rel=1e-3)


def test_a_judge_that_reads_texts_has_no_other_distance_and_others_have_none_of_these():
    class Plain:
        features = Plane.features
        values = Plane.values

    clip, plain = _measured(ERASED), _measured(ERASED, Plain())
    distances = {"kernel_inception_distance", "gaussian_kernel_distance"}
    assert clip.keys() >= {CS, CA, RCS, RCA, CMMD}
    assert not clip.keys() & distances
    assert not plain.keys() & {CS, CA, RCS, RCA, CMMD}
    assert plain.keys() >= distances


def test_a_judge_without_features_has_no_distance():
    class Blind:
        values = Plane.values

        def features(self, pictures):
            return pictures.new_zeros(len(pictures), 0)

    assert not _measured(ERASED, Blind()).keys() & {"kernel_inception_distance", "gaussian_kernel_distance"}


def test_with_inception_kid_is_by_its_features_whoever_judges():
    class Levels:
        def features(self, pictures):
            return pictures[:, :1, 0, 0]

    judge = Plane()
    references = References(ORIGINAL, None, judge, judge.features(ORIGINAL[4:]), Levels())
    x, y = [0.0, 0.8, -1.0, 0.6], [0.0, 0.0, -1.0, -1.0]
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]

    def k(a, b):
        return (a * b + 1) ** 3

    terms = [k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i]) for i, j in pairs]
    found = measured(ERASED, SHOWN, references)
    assert found["kernel_inception_distance"].value == pytest.approx(sum(terms) / 12, rel=1e-4)
