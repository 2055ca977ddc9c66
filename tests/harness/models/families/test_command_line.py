"""Every family with a transformer through the command line: trained, resumed, exported, undone and evaluated."""

import json
import os
import signal

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from harness import evaluate, unlearn
from harness.export.__main__ import main as export
from harness.judging.attack import chosen_attacks
from harness.judging.attacks import inversion, noise_probe, null_text_inversion, prefix_tokens, relearning
from harness.models.path import is_flow
from harness.models.weights import ORIGINAL
from harness.runs.folder import DELTA
from harness.train import Trainer
from tests import tiny, tiny_transformers

KINDS = [kind for kind in tiny_transformers.PIPELINES if kind not in ("sd35", "schnell", "klein-distilled")]
FAST = ["--target", "star", "--steps", "3", "--batch-size", "2", "--latents", "2", "--sampling-steps", "2"]
FAST += ["--learning-rate", "0.02", "--adversary-every", "2", "--relearning-steps", "2"]
MORE = {kind: ["--max-sequence-length", str(tiny.SHORT)] for kind in KINDS if "pixart" not in kind}
MORE["flux2"][-1] = str(2 * tiny.SHORT)  # its system's message has most of the fewer
MORE["qwen-image"] += ["--resolution", str(tiny.SMALL)]


@pytest.fixture(scope="module", params=KINDS)
def trained(request, tmp_path_factory):
    """A model's folder and a finished run on it, the whole denoiser trained against both adversaries."""
    source = tiny.judged_folder(tmp_path_factory.mktemp(request.param) / "model", request.param)
    run = source.with_name("run")
    flags = ["--model", str(source), "--output", str(run), "--parameter-group", "text-paths", *FAST]
    flags += MORE.get(request.param, [])
    assert unlearn.main(flags) == 0
    return source, run, flags


def _open(folder):
    pipeline = DiffusionPipeline.from_pretrained(folder, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    return tiny.family(pipeline)


def _sample(model):
    return tiny.call(model, "a star", num_inference_steps=2, generator=torch.Generator().manual_seed(5))


def test_a_run_that_a_signal_ends_goes_on_to_the_same_files(trained, tmp_path, monkeypatch):
    _, run, flags = trained
    step = Trainer.take_step

    def interrupted(self):
        os.kill(os.getpid(), signal.SIGTERM) if self.step == 1 else None
        return step(self)

    monkeypatch.setattr(Trainer, "take_step", interrupted)
    assert unlearn.main([*flags, "--output", str(tmp_path / "run")]) == 143
    assert unlearn.main(["--resume", str(tmp_path / "run")]) == 0
    for name in (DELTA, "steps.jsonl", "metrics.json"):
        assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes(), name


def test_delta_pipeline_and_lora_agree_in_diffusers_own_hands_and_the_pipeline_is_undone(trained, tmp_path, capsys):
    source, run, _ = trained
    forms, patched = ["delta", "pipeline"], _open(source)
    if hasattr(patched.pipeline, "load_lora_weights"):
        forms.append("lora")
    for form in forms:
        assert export([str(run), "--format", form, "--rank", "64", "--output", str(tmp_path / form)]) == 0
    changed = load_file(tmp_path / "delta" / DELTA)
    assert all(torch.equal(changed[name], tensor) for name, tensor in load_file(run / DELTA).items())
    samples = [_sample(patched)]
    patched.network.load_state_dict(changed, strict=False)
    samples += [_sample(patched), _sample(_open(tmp_path / "pipeline"))]
    assert not torch.allclose(samples[0], samples[1], rtol=1e-3, atol=1e-3)
    assert torch.equal(samples[1], samples[2])
    if "lora" in forms:
        adapted = _open(source)
        adapted.pipeline.load_lora_weights(tmp_path / "lora")
        whole = all(tensor.ndim == 2 for tensor in changed.values())  # biases and normalisations have no place in it
        assert ("lora of rank 64 in fp32, without 0.00%" in capsys.readouterr().out) == whole
        assert torch.linalg.norm(_sample(adapted) - samples[1]) < torch.linalg.norm(samples[0] - samples[1])
    assert (tmp_path / "pipeline" / ORIGINAL).is_file()
    assert export([str(tmp_path / "pipeline"), "--undo"]) == 0
    assert torch.equal(_sample(_open(tmp_path / "pipeline")), samples[0])


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_train_and_are_exported_without_loss_or_are_refused_with_the_groups_there_are(kind, tmp_path, capsys):
    source = tiny.folder(tmp_path / "model", kind)
    flags = ["--model", str(source), "--parameter-group", "lora", "--output", str(tmp_path / "run"), *FAST]
    flags += [*MORE.get(kind, []), *tiny.UNOPPOSED]
    code = unlearn.main([*flags, "--anchor", "a circle", "--retain", "a moon"])
    if "lora" not in tiny.model(kind).parameter_groups:
        assert code == 2
        assert "lora: selects no weight of this denoiser; the groups and their sizes:" in capsys.readouterr().err
        return
    assert code == 0
    assert export([str(tmp_path / "run"), "--format", "lora", "--output", str(tmp_path / "lora")]) == 0
    assert "without 0.00%" in capsys.readouterr().out
    adapted, original = _open(source), _open(source)
    adapted.pipeline.load_lora_weights(tmp_path / "lora")
    assert not torch.allclose(_sample(adapted), _sample(original), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("flags", [["--start", "closed-form"], ["--closed-form-every", "1"]], ids=" ".join)
def test_closed_forms_are_refused_where_keys_and_values_read_what_layers_made_of_embeddings(tmp_path, capsys, flags):
    source = tiny.folder(tmp_path / "model", "sana")
    asked = "--start closed-form" if "--start" in flags else "--closed-form-every"
    flags = ["--model", str(source), "--parameter-group", "cross-attention-kv", *FAST, *flags]
    assert unlearn.main([*flags, "--output", str(tmp_path / "run")]) == 2
    assert f"{asked}: keys and values of a SanaTransformer2DModel read what other layers" in capsys.readouterr().err


def test_every_attack_runs_on_a_run(trained, tmp_path, monkeypatch):
    _, run, _ = trained
    for module, headline in ((inversion, 1), (prefix_tokens, 1), (relearning, relearning.HEADLINE | {"steps": 1})):
        monkeypatch.setattr(module, "STEPS", (0, 1))
        monkeypatch.setattr(module, "HEADLINE", headline)
    monkeypatch.setattr(noise_probe, "STEPS", 2)
    monkeypatch.setattr(null_text_inversion, "STEPS", 2)
    flags = ["--attacks", "all", "--pictures", "4", "--output", str(tmp_path / "evaluated")]
    assert evaluate.main([str(run), *flags]) == 0
    content = json.loads((tmp_path / "evaluated" / "metrics.json").read_text())
    assert set(content["attacks"]) == {attack.name for attack in chosen_attacks(("all",))}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in tiny.SISTERS])
def test_what_a_family_cannot_do_is_one_line(kind, tmp_path, capsys):
    source = tiny.folder(tmp_path / "model", kind)
    flags = ["--model", str(source), "--anchor", "a circle", "--retain", "a moon", *FAST]
    assert unlearn.main([*flags, "--start", "closed-form"]) == 2
    assert "keys and values of a" in capsys.readouterr().err
    assert unlearn.main([*flags, "--max-sequence-length", "3", "--retain", "a red moon and a star"]) == 2
    assert "more than the tokenizer's limit of" in capsys.readouterr().err
    if not is_flow(tiny.model(kind).pipeline.scheduler):
        assert unlearn.main([*flags, "--scale", "sde"]) == 2
        assert "--scale sde: of flow matching alone, which" in capsys.readouterr().err
    assert unlearn.main([*flags, "--max-sequence-length", "513"]) == 2
    assert "--max-sequence-length 513: must be 0 for the pipeline's own, or up to 512" in capsys.readouterr().err
