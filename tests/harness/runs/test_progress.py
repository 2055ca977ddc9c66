"""What is said of a run while it runs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness import evaluate, unlearn
from harness.runs import progress
from harness.runs.progress import Phase
from tests import tiny

FAST = ["--batch-size", "2", "--latents", "4", "--sampling-steps", "1", "--target", "star", *tiny.UNOPPOSED]


def _phases(said):
    """The places, counts and names in the lines that begin a phase."""
    lines = re.findall(r"^(\d) of (\d), ([a-z ]+): \S.* \(\d+ s so far\)$", said.replace("\r", "\n"), re.MULTILINE)
    return [(int(place), int(count), name) for place, count, name in lines]


def test_a_run_and_an_evaluation_say_each_phase_once_and_in_order(judged, tmp_path, capsys):
    flags = ["--model", str(judged), *FAST, "--steps", "2", "--output", str(tmp_path / "run")]
    assert unlearn.main(flags) == 0
    expected = [phase for phase in Phase if phase is not Phase.ATTACKS]
    assert _phases(capsys.readouterr().err) == [(i, 6, name) for i, name in enumerate(expected, 1)]
    asked = ["--attacks", "completion", "prompt_ladder", "--pictures", "4"]
    assert evaluate.main([str(tmp_path / "run"), *asked]) == 0
    said = capsys.readouterr().err
    expected = [Phase.LOADING, Phase.ORIGINAL, Phase.ERASED, Phase.ATTACKS, Phase.ATTACKS, Phase.REPORT]
    assert _phases(said) == [(place, 5, phase) for place, phase in zip((1, 2, 3, 4, 4, 5), expected, strict=True)]
    assert "attacks: completion, 1 of 2" in said
    assert "attacks: prompt ladder, 2 of 2" in said


def test_watching_shows_the_forgetting_keeps_it_and_changes_no_weight(judged, tmp_path, capsys):
    flags = ["--model", str(judged), *FAST, "--steps", "5"]
    assert unlearn.main([*flags, "--output", str(tmp_path / "plain")]) == 0
    assert "UA=" not in capsys.readouterr().err
    watching = ["--watch", "--evaluate-every", "2", "--output", str(tmp_path / "watched")]
    assert unlearn.main([*flags, *watching]) == 0
    said = capsys.readouterr().err
    assert "accuracies every 2 steps" in said
    rows = [json.loads(line) for line in (tmp_path / "watched" / "steps.jsonl").read_text().splitlines()]
    measured = {row["step"]: row["measured"] for row in rows if "measured" in row}
    assert list(measured) == [2, 4]
    shown = ", ".join(f"{name}={value:.2f}" for name, value in measured[4].items())
    assert shown.startswith("UA=")
    assert re.search(rf"erase: 100%.* 5/5 .*{re.escape(shown)}", said)
    for file in ("unet_delta.safetensors", "metrics.json"):
        assert (tmp_path / "plain" / file).read_bytes() == (tmp_path / "watched" / file).read_bytes()


def test_nothing_is_said_where_nobody_asked_for_a_course(capsys):
    progress.begin(Phase.LOADING, "a model")
    assert list(progress.bar([1, 2], "two things")) == [1, 2]
    assert capsys.readouterr().err == ""


def test_a_phase_that_was_left_out_cannot_begin():
    with progress.course([], Phase.REPORT), pytest.raises(ValueError, match="not in tuple"):
        progress.begin(Phase.REPORT, "")


def test_something_is_said_before_torch_is_imported(judged, tmp_path):
    script = (
        "import sys\nfrom harness import unlearn\nfrom harness.runs import progress\n"
        "def begin(phase, what):\n    print(phase, 'torch' in sys.modules)\n    sys.exit(9)\n"
        "progress.begin = begin\nunlearn.main(sys.argv[1:])\n"
    )
    arguments = ["--model", str(judged), "--output", str(tmp_path / "run")]
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=root)
    assert (done.returncode, done.stdout) == (9, "loading False\n"), done.stderr
