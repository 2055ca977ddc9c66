"""Runs on a judged model: many concepts at once, one after another, and until a condition holds."""

import html
import json
import re

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from harness import unlearn
from harness.data import latents
from harness.export.__main__ import main as export
from harness.judging.metric import metric_rows, metrics
from harness.prompts.templates import bank
from tests import tiny

FAST = ["--steps", "2", "--batch-size", "2", "--latents", "4", "--sampling-steps", "1", *tiny.UNOPPOSED]


def _erase(judged, output, *flags):
    assert (
        unlearn.main(["--model", str(judged), *FAST, "--learning-rate", "0.05", *flags, "--output", str(output)]) == 0
    )
    return json.loads((output / "run.json").read_text())


def _unet(folder):
    return UNet2DConditionModel.from_pretrained(folder / "unet").state_dict()


def test_a_continued_run_keeps_what_was_erased_lists_it_and_can_be_undone_to_the_original(judged, tmp_path, capsys):
    """First all cross-attention, then its keys and values alone: the rest of the first erasure must travel along, to
    the last bit where the second computes in bf16."""
    first = _erase(judged, tmp_path / "first", "--target", "star", "--parameter-group", "cross-attention")
    flags = ["--continue", str(tmp_path / "first"), "--target", "yellow", "--save-pipeline", "--precision", "bf16"]
    flags += ["--parameter-group", "cross-attention-kv", "--closed-form-every", "1"]
    summary = _erase(judged, tmp_path / "second", *flags)
    assert [entry["target"] for entry in first["ledger"]] == ["star"]
    assert [(entry["target"], entry["anchor"]) for entry in summary["ledger"]] == [
        ("star", "retained"),
        ("yellow", "retained"),
    ]
    assert all(0 <= entry["now"] <= 1 for entry in summary["ledger"])
    assert summary["ledger"][0]["when_erased"] == first["ledger"][0]["when_erased"]
    assert 'Ledger: "star": unlearning accuracy' in capsys.readouterr().out
    one, two = (load_file(tmp_path / name / "unet_delta.safetensors") for name in ("first", "second"))
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]) != bool(re.search(r"to_[kv]", name))
    original, erased = _unet(judged), _unet(tmp_path / "second" / "pipeline")
    assert all(torch.equal(erased[name], two.get(name, original[name])) for name in original)
    assert export([str(tmp_path / "second"), "--undo"]) == 0
    restored = _unet(tmp_path / "second" / "pipeline")
    assert all(torch.equal(restored[name], original[name]) for name in original)
    assert export([str(tmp_path / "second"), "--format", "delta"]) == 0


def test_with_every_default_a_run_is_continued_against_adversaries_and_what_was_erased_is_held(judged, tmp_path):
    """By its prompts, under which the second run retains what the first one left."""
    first = _erase(judged, tmp_path / "first", "--target", "star", "--steps", "1")
    flags = ["--adversary-every", "1", "--relearning-steps", "2"]
    _erase(judged, tmp_path / "second", "--continue", str(tmp_path / "first"), "--target", "outline", *flags)
    kept = json.loads((tmp_path / "second" / "prompts.json").read_text())
    assert first["config"]["origin"] == "target"
    lost = {prompt for prompt in kept["retain_prompts"] if "star" in prompt}
    assert lost
    assert not any(kept["general"].get(prompt, "") for prompt in lost)
    assert not any("outline" in prompt for prompt in kept["retain_prompts"])
    one, two = (load_file(tmp_path / name / "unet_delta.safetensors") for name in ("first", "second"))
    assert one.keys() == two.keys() == _unet(judged).keys()


def test_each_of_several_concepts_is_named_with_its_own_anchor(judged, tmp_path, capsys):
    (tmp_path / "two.yaml").write_text("- {target: star, anchor: superclass}\n- {target: outline, anchor: plain}\n")
    run = _erase(judged, tmp_path / "run", "--concepts", str(tmp_path / "two.yaml"))
    said = '"star" led towards "shape"; "outline" led towards "plain"'
    assert said in capsys.readouterr().out
    assert run["directions"] == [["star", 'towards "shape"'], ["outline", 'towards "plain"']]
    assert export([str(tmp_path / "run")]) == 0
    assert said in (tmp_path / "run" / "export" / "delta" / "README.md").read_text()
    assert html.escape(said) in (tmp_path / "run" / "report.html").read_text().replace("&#34;", "&quot;")


def test_a_name_with_dollars_is_no_formula(model, tmp_path, drawn):
    flags = ["--model", str(model), "--target", "A$AP Rocky", "--anchor", "Ke$ha", *FAST]
    assert unlearn.main([*flags, "--output", str(tmp_path / "run")]) == 0


def test_what_took_the_place_of_an_erased_concept_cannot_be_erased_after_it(judged, tmp_path, capsys):
    _erase(judged, tmp_path / "first", "--target", "star", "--anchor", "circle")
    flags = ["--continue", str(tmp_path / "first"), "--target", "circle", *FAST]
    assert unlearn.main([*flags, "--output", str(tmp_path / "second")]) == 2
    assert "--target 'circle': put in the place of 'star' by a run that this one" in capsys.readouterr().err


def test_every_concept_has_a_latent_or_the_run_is_refused(judged, tmp_path, capsys):
    (tmp_path / "two.yaml").write_text("- {target: star}\n- {target: outline}\n")
    flags = ["--model", str(judged), "--concepts", str(tmp_path / "two.yaml"), *FAST, "--latents", "1"]
    assert unlearn.main([*flags, "--output", str(tmp_path / "run")]) == 2
    assert "--latents 1: fewer than the 2 concepts" in capsys.readouterr().err


def test_a_target_that_the_text_encoder_reads_as_its_anchor_is_refused(model, tmp_path, monkeypatch, capsys):
    encode = latents.encode

    def alike(*arguments):
        found = encode(*arguments)
        return dict.fromkeys(found, next(iter(found.values()), None))

    monkeypatch.setattr(latents, "encode", alike)
    flags = ["--model", str(model), "--target", "a star", "--anchor", "a circle", *FAST, "--scale", "unit"]
    assert unlearn.main([*flags, "--output", str(tmp_path / "run")]) == 2
    assert "--anchor 'a circle': the text encoder reads it as it does 'a star'" in capsys.readouterr().err


def test_retained_prompts_that_nobody_asked_for_need_not_fit(tmp_path):
    short = tiny.pipeline()
    short.tokenizer.model_max_length = 14
    short.save_pretrained(tmp_path / "model")
    (tmp_path / "prompts.txt").write_text("{}\na big {}\n")
    flags = ["--model", str(tmp_path / "model"), "--target", "star", "--anchor", "circle", *FAST]
    output = ["--output", str(tmp_path / "run"), "--prompts", str(tmp_path / "prompts.txt")]
    assert unlearn.main([*flags, *output]) == 0
    kept = json.loads((tmp_path / "run" / "prompts.json").read_text())["retain_prompts"]
    assert 2 < len(kept) < 2 * 16 + 2
    assert all(len(short.tokenizer(prompt).input_ids) <= 14 for prompt in kept)


def test_a_run_on_other_weights_cannot_be_continued(judged, model, tmp_path, capsys):
    _erase(judged, tmp_path / "first", "--target", "star")
    flags = ["--model", str(model), "--target", "a cat", "--continue", str(tmp_path / "first"), *FAST]
    other = tiny.pipeline()
    torch.nn.init.normal_(other.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2.to_k.weight)
    other.save_pretrained(tmp_path / "other")
    flags[1] = str(tmp_path / "other")
    assert unlearn.main([*flags, "--output", str(tmp_path / "second")]) == 2
    assert "not the weights that" in capsys.readouterr().err
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize("group", [[], ["--parameter-group", "cross-attention-kv", "--closed-form-every", "3"]])
def test_many_concepts_train_at_once_each_with_its_own_divergence(judged, tmp_path, group):
    (tmp_path / "many.yaml").write_text(
        "- {target: star, divergence: squared_hellinger}\n- {target: yellow, weight: 2, anchor: near}\n"
    )
    flags = ["--steps", "12", "--adversary-every", "5", "--relearning-steps", "4", *group]
    summary = _erase(judged, tmp_path / "run", "--concepts", str(tmp_path / "many.yaml"), *flags)
    assert [entry["divergence"] for entry in summary["ledger"]] == ["squared_hellinger", "kl"]
    assert (summary["target"], summary["ledger"][0]["anchor"]) == ("star, yellow", "retained")
    content = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert list(metric_rows(content)) == [metric.name for metric in metrics() if "clip" not in metric.name]


@pytest.mark.parametrize(
    ("rule", "reason"), [(["--stop-when", "UA>=0"], "the conditions hold: UA"), (["--stop-when", "UA>=0,CRA>=1"], "")]
)
def test_a_run_stops_once_its_conditions_hold_and_not_before(judged, tmp_path, rule, reason, capsys):
    flags = ["--target", "star", "--evaluate-every", "2", "--steps", "5", "--retention-budget", "1"]
    summary = _erase(judged, tmp_path / "run", *flags, "--learning-rate", "1e-9", *rule)
    rows = [json.loads(line) for line in (tmp_path / "run" / "steps.jsonl").read_text().splitlines()]
    if reason:
        assert summary["stopped"]["step"] == rows[-1]["step"] == 2
        assert summary["stopped"]["reason"].startswith(reason)
        assert "Stopped at step 2: the conditions hold" in capsys.readouterr().out
    else:
        assert summary["stopped"] is None
        assert rows[-1]["step"] == 5
        assert "--stop-when UA>=0,CRA>=1 was never met: all 5 steps were taken." in capsys.readouterr().out


def test_a_general_model_retains_the_neighbours_of_its_target(model, tmp_path):
    flags = ["--model", str(model), *FAST, "--target", "Van Gogh", "--concept-type", "style", "--anchor", "near"]
    assert unlearn.main([*flags, "--output", str(tmp_path / "run")]) == 0
    summary = json.loads((tmp_path / "run" / "run.json").read_text())
    assert summary["anchor"] in bank("style").retain
    assert summary["prompts"]["retained"] >= 16 * len(bank("style").templates)
