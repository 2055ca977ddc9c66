"""What a run is going to do, without reading a weight."""

import re

import pytest

from harness import unlearn
from harness.config import Config
from harness.erasure.outlook import group_sizes
from harness.models import load as models
from harness.models.denoiser import Denoiser
from harness.plan import Plan
from tests import tiny


@pytest.mark.parametrize("kind", tiny.PIPELINES)
def test_the_sizes_of_groups_are_what_trains(kind, tmp_path):
    folder = tiny.folder(tmp_path / "model", kind)
    plan = Plan.of(Config(model=str(folder), target="a cat", rank=3, parameter_group="cross-attention-kv"))
    sizes = group_sizes(plan)
    model = models.load(folder, models.resolve_device("cpu"))
    assert sizes.keys() == model.parameter_groups.keys()
    for group in sizes.keys() - {"lora"}:
        assert sizes[group] == sum(each.numel() for each in model.parameters_of(group).values())
    if "lora" in sizes:
        assert sizes["lora"] == sum(each.numel() for each in Denoiser(model, "lora", rank=3).trained.values())


def test_a_dry_run_reads_no_weight_and_writes_nothing(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(models, "load", lambda *_, **__: pytest.fail("weights were read"))
    flags = [
        "--model",
        str(model),
        "--target",
        "a star",
        "--anchor",
        "a circle",
        "--retain",
        "a moon",
        "--latents",
        "4",
    ]
    assert unlearn.main([*flags, "--sampling-steps", "2", "--dry-run", "--output", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert '"a star" led towards "a circle" with kl, 300 steps.' in said
    assert "1 prompts retained: 'a moon'" in said
    judged, kept = (
        int(number) for number in re.search(r", (\d+) before, as many after and (\d+) to train", said).groups()
    )
    assert kept == 2 * 4
    assert f"by {2 * 2 * (2 * judged + kept)} forward passes" in said
    assert "weights train (full); the groups: cross-attention-kv " in said


def test_a_model_that_gets_no_empty_prompt_samples_in_half_the_passes(tmp_path, capsys):
    for kind, passes in (("sd3", 2), ("flux", 1)):
        folder = tiny.folder(tmp_path / kind, kind)
        flags = [
            "--model",
            str(folder),
            "--target",
            "a star",
            "--anchor",
            "a circle",
            "--retain",
            "a moon",
            "--dry-run",
        ]
        assert unlearn.main([*flags, "--sampling-steps", "3"]) == 0
        count, told = re.search(r"(\d+) pictures are .* by ([\d,]+) forward", capsys.readouterr().out).groups()
        assert int(told.replace(",", "")) == 3 * passes * int(count)
