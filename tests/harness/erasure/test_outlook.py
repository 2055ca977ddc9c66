"""What a run is going to do, without reading a weight."""

import json
import re

import pytest

from harness import unlearn
from harness.config import Config
from harness.erasure.outlook import group_sizes
from harness.models import load as models
from harness.models.denoiser import Denoiser
from harness.plan import Plan
from tests import tiny

STAR = ["--target", "a star", "--anchor", "a circle", "--retain", "a moon"]


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
    flags = ["--model", str(model), *STAR, "--latents", "4"]
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
    assert f"The time is not known: in {tmp_path} is no run of this model, group and loop on such" in said


def test_pictures_of_a_users_own_prompts_are_counted_too(model, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("a hat\na cat\n")
    flags = ["--model", str(model), *STAR, "--sampling-steps", "1", "--dry-run"]
    counts = []
    for more in ([], ["--show", str(tmp_path / "mine.txt")]):
        assert unlearn.main([*flags, *more]) == 0
        said = capsys.readouterr().out
        counts.append(int(re.search(r"(\d+) pictures are sampled", said)[1]))
    assert counts[1] == counts[0] + 2 * 2
    assert "to train on, 4 of --show, by" in said


def test_what_is_led_away_from_itself_is_named_once_and_what_nothing_holds_is_said(model, tmp_path, capsys):
    flags = ["--model", str(model), "--target", "a star", "--preset", "sd15-object"]
    assert unlearn.main([*flags, "--dry-run", "--output", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert '"a star" led away from itself with kl, 1000 steps.' in said
    assert "16 prompts of the target: 'a photo of a star'; 'a picture of a star beside" in said
    assert "Nothing is retained.\n" in said


def test_the_time_is_told_by_an_earlier_run_of_the_same_loop(finished, capsys):
    flags, folder, _ = finished
    seconds = json.loads((folder / "run.json").read_text())["seconds"]

    def said(*more):
        assert unlearn.main([*flags, *more, "--dry-run", "--output", str(folder.with_name("next"))]) == 0
        return capsys.readouterr().out

    expected = seconds["training"] * (4000 * 4) / (25 * 2)
    printed = said("--steps=4000", "--batch-size=4")
    ((number, unit),) = re.findall(rf"About ([\d.]+) (s|min|h) of training, by {folder}: ", printed)
    assert float(number) * {"s": 1, "min": 60, "h": 3600}[unit] == pytest.approx(expected, rel=0.06)
    for other in (
        ["--parameter-group", "full"],
        ["--precision", "bf16"],
        ["--relearning-steps", "3"],
        ["--resolution", "32"],
        ["--device", "cuda:7"],
    ):
        assert "The time is not known" in said(*other)


def test_a_model_that_gets_no_empty_prompt_samples_in_half_the_passes(tmp_path, capsys):
    for kind, passes in (("sd3", 2), ("flux", 1), ("klein", 2), ("klein-distilled", 1)):
        folder = tiny.folder(tmp_path / kind, kind)
        assert unlearn.main(["--model", str(folder), *STAR, "--dry-run", "--sampling-steps", "3"]) == 0
        count, told = re.search(r"(\d+) pictures are .* by ([\d,]+) forward", capsys.readouterr().out).groups()
        assert int(told.replace(",", "")) == 3 * passes * int(count)
