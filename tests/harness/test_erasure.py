"""What the project must show: the embedded model's default concept disappears and the rest stays."""

import json

import pytest

from harness import prepare, unlearn


def _metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_the_default_erases_the_star_and_keeps_the_rest(tmp_path, monkeypatch):
    """With half of the real default's steps and latents, and a third of its sampling steps and of the prompts that it
    is judged on; the slow test below runs it in full."""
    whole = prepare.panel
    monkeypatch.setattr(prepare, "panel", lambda *given: whole(*given).every(3)[1])
    fewer = ["--sampling-steps", "6", "--steps", "150", "--latents", "48"]
    assert unlearn.main([*fewer, "--output", str(tmp_path / "run")]) == 0
    metrics = _metrics(tmp_path / "run")
    assert metrics["unlearning_accuracy"]["original"] <= 0.1
    assert metrics["unlearning_accuracy"]["erased"] >= 0.9
    assert metrics["unlearning_accuracy"]["oracle"] >= 0.9
    for name in ("in_domain_retain_accuracy", "cross_domain_retain_accuracy"):
        assert metrics[name]["erased"] >= metrics[name]["original"] - 0.05


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_default_command_reaches_its_targets(tmp_path, seed):
    assert unlearn.main(["--seed", str(seed), "--output", str(tmp_path / "run")]) == 0
    metrics = _metrics(tmp_path / "run")
    assert metrics["unlearning_accuracy"]["erased"] >= 0.95
    for name in ("in_domain_retain_accuracy", "cross_domain_retain_accuracy"):
        assert metrics[name]["erased"] >= metrics[name]["original"] - 0.03
    seconds = json.loads((tmp_path / "run" / "run.json").read_text())["seconds"]["whole"]
    assert seconds <= 180


@pytest.mark.slow
def test_a_style_is_erased_with_flags_alone(tmp_path):
    assert unlearn.main(["--target", "mosaic", "--output", str(tmp_path / "run")]) == 0
    metrics = _metrics(tmp_path / "run")
    assert metrics["unlearning_accuracy"]["erased"] >= 0.95
    assert metrics["in_domain_retain_accuracy"]["erased"] >= metrics["in_domain_retain_accuracy"]["original"] - 0.03
    assert metrics["unlearning_accuracy"]["oracle"] is None
