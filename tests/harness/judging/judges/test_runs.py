"""Runs that a named judge judges, on the miniature without its vocabulary: to a training it is any other model."""

import json
import shutil

import pytest

from harness import evaluate, unlearn
from harness.config import WEIGHTS
from harness.judging import panel
from tests import judges, tiny

TEMPLATES = "a red [{}|shape] in plain style\na yellow [{}|shape] in plain style\n"
WORDS = ["--judge-words", "star=a star", "circle=a circle", "moon=a moon"]
"""The names are those that the tiny CLIP has read."""
FAST = ["--steps", "2", "--batch-size", "6", "--latents", "2", "--parameter-group", "cross-attention-kv"]
FAST += ["--sampling-steps", "4"]  # of the miniature; a tiny CLIP sees the same in them as in 8
FAST += tiny.UNOPPOSED


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the bare miniature as `model`, and a file of templates."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(WEIGHTS, folder / "model", ignore=shutil.ignore_patterns("vocabulary.json", "judge", "oracle"))
    (folder / "templates.txt").write_text(TEMPLATES)
    return folder


@pytest.fixture(autouse=True)
def _few_pictures(monkeypatch):
    monkeypatch.setattr(panel, "JUDGED", 6)


def _flags(place, judge):
    flags = ["--model", str(place / "model"), "--prompts", str(place / "templates.txt"), "--target", "star"]
    flags += ["--anchor", "circle", "--retain", "a red moon in plain style", *FAST]
    return [*flags, "--judge", judge]


def _metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def run(place, clip):
    """A run that a CLIP judges, and stops."""
    flags = [*_flags(place, f"clip:{clip}"), *WORDS, "--stop-when", "IRA>=.5", "--evaluate-every", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panel, "JUDGED", 6)
        assert unlearn.main([*flags, "--output", str(place / "run")]) == 0
    return place / "run"


def test_a_clip_judges_a_run_and_stops_it(run, clip):
    content = _metrics(run)
    names = ["unlearning_accuracy", "in_domain_retain_accuracy", "clip_score", "clip_accuracy", "retained_clip_score"]
    names += ["retained_clip_accuracy", "clip_maximum_mean_discrepancy", "same_seed_drift", "verdict"]
    assert content.keys() >= {*names}
    assert not content.keys() & {"cross_domain_retain_accuracy", "attribute_binding", "kernel_inception_distance"}
    assert content["unlearning_accuracy"]["original"] < 0.3
    assert content["clip_accuracy"]["original"] > 0.7
    assert content["retained"].keys() == {"circle", "moon"}
    summary = json.loads((run / "run.json").read_text())
    assert summary["stopped"]["step"] == 1
    assert "the conditions hold" in summary["stopped"]["reason"]
    page = (run / "report.html").read_text()
    assert f"--judge clip:{clip.name}" in page
    assert "clip maximum mean discrepancy" in page
    assert str(clip.parent) not in page


def test_its_evaluation_asks_its_judge_and_draws_a_users_prompts_by_kind(run, place):
    own = place / "kinds.yaml"
    own.write_text('implicit: ["a red shape of five points"]\nparaphrase: ["a picture of a red star in plain style"]\n')
    flags = ["--attacks", "prompt_ladder", "--prompts", str(own), "--pictures", "4", "--output", str(place / "ladder")]
    assert evaluate.main([str(run), *flags]) == 0
    concept = _metrics(place / "ladder")["attacks"]["prompt_ladder"]["concepts"]["star"]
    kinds = [point["setting"]["prompt"] for point in concept["curve"]]
    assert kinds == ["name", "several", "superclass", "empty", "implicit", "paraphrase"]
    by_kind = dict(zip(kinds, concept["curve"], strict=True))
    assert by_kind["paraphrase"]["rates"]["original"]["rate"] >= 0.75
    assert by_kind["implicit"]["rates"]["erased"]["count"] == 4
    page = (place / "ladder" / "report.html").read_text()
    assert "prompt implicit" in page
    assert "prompt paraphrase" in page
    assert "explicit implicit gap: original" in page


def test_another_judge_may_evaluate_it(run, place, classifier):
    flags = ["--judge", f"classifier:{classifier}", "--judge-words", "circle", "moon", "--attacks", "none"]
    assert evaluate.main([str(run), *flags, "--output", str(place / "again")]) == 0
    content = _metrics(place / "again")
    assert "clip_score" not in content
    assert content["unlearning_accuracy"]["original"] < 0.3
    assert content["kernel_inception_distance"]["original"] == 0


def test_a_judge_that_cannot_tell_target_from_anchor_is_refused_before_training_with_its_accuracy(
    place, tmp_path, capsys
):
    folder = judges.clip_folder(tmp_path / "random", steps=0)
    assert unlearn.main([*_flags(place, f"clip:{folder}"), *WORDS, "--output", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "cannot tell 'star' from what is kept on the original's own pictures" in said
    assert "(accuracy 0." in said
    assert "erase:" not in said
    assert not (tmp_path / "run").exists()
