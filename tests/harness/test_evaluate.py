"""What is evaluated: a run as it ends, and what other tools made of a model, beside an oracle that is named."""

import json
import shutil

import pytest
import torch

from harness import evaluate, unlearn
from harness.judging.attacks import completion
from harness.runs.files import load_tensors
from tests import tiny

FAST = ["--steps", "2", "--batch-size", "4", "--latents", "2", "--sampling-steps", "1", "--learning-rate", "0.01"]
FAST += tiny.UNOPPOSED


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A model with a judge and a vocabulary, and no oracle in its folder."""
    return tiny.judged_folder(tmp_path_factory.mktemp("source") / "model")


@pytest.fixture(scope="module")
def run(source):
    """A finished run on it that ended with an attack, and wrote the erased pipeline."""
    folder = source.parent / "run"
    flags = ["--attacks", "completion", "--save-pipeline"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(completion, "FRACTIONS", (0.5,))
        assert unlearn.main(["--model", str(source), "--output", str(folder), *FAST, *flags]) == 0
    return folder


def test_a_run_may_end_with_attacks_and_keeps_the_weights_that_were_attacked(run):
    content = json.loads((run / "metrics.json").read_text())
    row = content["attacks"]["completion"]
    assert (row["oracle"], row["excess"], row["interval"]) == (None, None, None)
    assert content["forgetting_gap"] is None
    assert str(run.parent) not in (run / "report.html").read_text()
    assert "--model model" in (run / "report.html").read_text()
    saved = tiny.StableDiffusionPipeline.from_pretrained(run / "pipeline", safety_checker=None)
    for name, tensor in load_tensors(run / "unet_delta.safetensors")[0].items():
        torch.testing.assert_close(saved.unet.state_dict()[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("made", ["pipeline", "unet_delta.safetensors"])
def test_what_a_tool_made_is_measured_as_the_run_itself_was(run, source, tmp_path, made, monkeypatch, capsys):
    """The metrics of the run are those of sampling with its options; here they are the defaults, so steps differ."""
    monkeypatch.setattr(completion, "FRACTIONS", (0.5,))
    flags = ["--original", str(source), "--attacks", "completion", "--pictures", "4", "--output", str(tmp_path / "out")]
    other = tiny.pipeline()
    with torch.no_grad():
        other.unet.conv_in.bias += 1
    other.save_pretrained(tmp_path / "oracle")
    assert evaluate.main([str(run / made), *flags, "--oracle", str(tmp_path / "oracle")]) == 0
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["attacks"]["completion"]["excess"] is not None
    assert content["unlearning_accuracy"]["oracle"] is not None
    assert content["forgetting_gap"]["over"] == ["completion"]
    assert (tmp_path / "out" / "report.html").is_file()
    assert content["verdict"] in capsys.readouterr().out


def test_an_oracle_that_is_the_original_or_the_erased_model_ends_with_one_line(run, source, capsys):
    assert evaluate.main([str(run), "--oracle", str(source), "--overwrite"]) == 2
    assert "equal to the original model, weight by weight" in capsys.readouterr().err
    assert evaluate.main([str(run), "--oracle", str(run), "--overwrite"]) == 2
    assert f"--oracle {run}: equal to the erased model, weight by weight; name another" in capsys.readouterr().err


def test_of_a_runs_options_an_evaluation_needs_none_that_are_of_the_training_alone(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("pipeline"))
    content = json.loads((other / "run.json").read_text())
    content["config"] |= {"track": ["wandb"], "watch": True, "stop_when": "UA>=1", "start": "gone.safetensors"}
    (other / "run.json").write_text(json.dumps(content))
    found = evaluate._options_of_run(evaluate.Evaluate(other))
    assert (found.track, found.watch, found.stop_when, found.start) == ((), False, "", "original")


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (f"paraphrase: [{'star ' * 99}]", "more than the tokenizer's limit of"),
        ("implicit: [a star]", "'implicit': 'a star' names 'star'"),
    ],
)
def test_a_users_prompt_that_cannot_be_used_is_refused_before_anything_is_sampled(
    run, tmp_path, capsys, kinds, message
):
    (tmp_path / "own.yaml").write_text(kinds)
    assert evaluate.main([str(run), "--prompts", str(tmp_path / "own.yaml"), "--overwrite"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "pictures before" not in said


def test_a_model_without_a_judge_cannot_be_attacked(tmp_path, capsys):
    folder = tiny.folder(tmp_path / "model")
    flags = ["--original", str(folder), "--target", "star"]
    assert evaluate.main([str(folder), *flags]) == 2
    assert "holds no judge and no vocabulary.json to tell their success" in capsys.readouterr().err
    assert unlearn.main(["--model", str(folder), "--target", "star", "--attacks", "all"]) == 2
    assert "--attacks: " in capsys.readouterr().err
