"""A user's own prompts: seen before and after, and nothing else is another for them."""

import json

import pytest

import harness
from harness import evaluate, unlearn
from harness.config import Config, UsageError
from harness.plan import MOST_SHOWN, Plan
from tests import tiny

FAST = ["--batch-size", "2", "--latents", "4", "--sampling-steps", "1", "--steps", "2", *tiny.UNOPPOSED]
MINE = ["a red star on the moon", "two hearts"]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A file of two prompts."""
    path = tmp_path_factory.mktemp("own") / "mine.txt"
    path.write_text("\n" + "\n\n".join(MINE) + "\n")
    return path


def test_they_are_seen_in_a_run_and_change_nothing_that_is_trained_or_measured(judged, own, tmp_path, capsys):
    flags = ["--model", str(judged), *FAST]
    assert unlearn.main([*flags, "--output", str(tmp_path / "plain")]) == 0
    assert unlearn.main([*flags, "--show", str(own), "--output", str(tmp_path / "run")]) == 0
    for file in ("unet_delta.safetensors", "metrics.json", "steps.jsonl", "prompts.json"):
        assert (tmp_path / "plain" / file).read_bytes() == (tmp_path / "run" / file).read_bytes(), file
    listed = json.loads((tmp_path / "run" / "pictures" / "pictures.json").read_text())["pictures"]
    shown = [entry for entry in listed if entry["file"].startswith("show-")]
    assert [(entry["model"], entry["prompt"]) for entry in shown] == [
        (model, prompt) for model in ("original", "erased") for prompt in MINE
    ]
    before, after = ((tmp_path / "run" / "pictures" / f"show-000-{each}.png") for each in ("original", "erased"))
    assert before.read_bytes() != after.read_bytes()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<h3>own prompts</h3>" in page
    assert page.count(f'title="{MINE[0]}"') == 2
    assert "own prompts" not in (tmp_path / "plain" / "report.html").read_text()
    capsys.readouterr()

    assert evaluate.main([str(tmp_path / "run"), "--attacks", "none", "--output", str(tmp_path / "again")]) == 0
    assert MINE[1] in (tmp_path / "again" / "report.html").read_text()
    theirs = tmp_path / "theirs.txt"
    theirs.write_text("a green ring\n")
    asked = [str(tmp_path / "run"), "--attacks", "none", "--show", str(theirs), "--output", str(tmp_path / "other")]
    assert evaluate.main(asked) == 0
    page = (tmp_path / "other" / "report.html").read_text()
    assert "a green ring" in page
    assert MINE[1] not in page
    assert "note" not in capsys.readouterr().err


def test_a_run_whose_prompts_are_gone_is_evaluated_without_them(judged, own, tmp_path, capsys):
    copy = tmp_path / "mine.txt"
    copy.write_bytes(own.read_bytes())
    assert unlearn.main(["--model", str(judged), *FAST, "--show", str(copy), "--output", str(tmp_path / "run")]) == 0
    copy.unlink()
    assert evaluate.main([str(tmp_path / "run"), "--attacks", "none"]) == 0
    assert f"note: {copy}, which the run was to show, is not there any more" in capsys.readouterr().err


def test_from_python_they_are_an_option_and_one_that_is_trained_on_is_noted(tmp_path, capsys):
    path = tmp_path / "mine.txt"
    path.write_text("a photo of a star\n")
    few = {"steps": 1, "batch_size": 2, "latents": 4, "sampling_steps": 1, "adversary_every": 0, "relearning_steps": 0}
    erased = harness.erase(tiny.pipeline(), target="a star", anchor="a circle", show=str(path), **few)
    assert "note: --show: 1 of its prompts are trained on or retained too" in capsys.readouterr().err
    shown = erased.outcome.examined.seen.shown
    assert shown.panel.prompts == ("a photo of a star",)
    assert list(shown.pictures) == ["original", "erased"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read as text: .Errno 2"),
        ("\n \n", "holds no line"),
        ("a moon\n" * (MOST_SHOWN + 1), f"{MOST_SHOWN + 1} prompts, and a sheet has room for {MOST_SHOWN}"),
        (b"\xff\xfe\x00", "cannot be read as text"),
    ],
)
def test_a_file_without_prompts_is_refused_before_a_model_is_read(tmp_path, text, message):
    path = tmp_path / "mine.txt"
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UsageError, match=f"^--show {path}: .*{message}"):
        Plan.of(Config(show=path))


def test_a_prompt_that_the_text_encoder_would_cut_off_is_refused(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("a moon " * 60)
    with pytest.raises(UsageError, match=rf"^--show {path}: prompt 'a moon .*limit of 77; shorten it$"):
        harness.erase(tiny.pipeline(), target="a star", anchor="a circle", show=path, steps=1)
