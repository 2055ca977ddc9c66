"""A concept erased from a pipeline in memory: what the command line does, and nothing else of the pipeline touched."""

import inspect
import json
import os
import re
import signal
from dataclasses import fields, replace

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file

import fdiv
import harness
from harness import unlearn
from harness.config import Config, UsageError
from harness.erasure import callers
from harness.erasure.erase import OF_FILES, options_of
from harness.runs.command import parse
from harness.runs.folder import finished as run_of
from harness.runs.folder import options_of as kept_options
from tests import tiny

FEW = {"steps": 2, "batch_size": 2, "latents": 4, "sampling_steps": 1, "adversary_every": 0, "relearning_steps": 0}
STAR = {"target": "a star", "anchor": "a circle", "retain": ("a moon", "a ring"), **FEW}
KV = {"parameter_group": "cross-attention-kv"}


def _bits(pipeline):
    """Every tensor of a pipeline, as it is now."""
    return {
        (name, key): tensor.clone()
        for name, part in pipeline.components.items()
        if isinstance(part, torch.nn.Module)
        for key, tensor in part.state_dict().items()
    }


def _changed(before, after):
    assert before.keys() == after.keys()
    return {key for key in before if not torch.equal(before[key], after[key])}


@pytest.mark.parametrize("kind", tiny.PIPELINES)
def test_an_erasure_changes_the_denoiser_alone_and_is_undone_bit_for_bit(kind):
    pipe = tiny.PIPELINES[kind]().to(dtype=torch.bfloat16)
    component = tiny.model(kind).component
    network = getattr(pipe, component)
    network.train()
    before, scheduler, modes = _bits(pipe), pipe.scheduler, [each.training for each in network.modules()]
    grads = [each.requires_grad for each in network.parameters()]
    asked = {"sampling_steps": 2, "resolution": tiny.model(kind).resolution}  # two steps are PixArt's least
    erased = harness.erase(pipe, **STAR | asked, **KV)
    changed = _changed(before, _bits(pipe))
    assert changed
    layers = re.compile(tiny.READS_TEXT[kind])
    assert all(name == component and layers.search(key.rpartition(".")[0]) for name, key in changed)
    assert pipe.scheduler is scheduler
    assert [each.training for each in network.modules()] == modes
    assert [each.requires_grad for each in network.parameters()] == grads
    assert network.dtype == torch.bfloat16
    erased.undo()
    assert _changed(before, _bits(pipe)) == set()
    erased.strength(1.0)
    assert _changed(before, _bits(pipe)) == changed


def test_it_is_what_the_command_line_does(model, tmp_path, drawn):
    flags = ["--target", "a star", "--anchor", "a circle", "--retain", "a moon", "a ring", *tiny.UNOPPOSED]
    flags += ["--steps", "2", "--batch-size", "2", "--latents", "4", "--sampling-steps", "1"]
    assert unlearn.main(["--model", str(model), *flags, "--output", str(tmp_path / "run")]) == 0
    pipe = StableDiffusionPipeline.from_pretrained(model)
    erased = harness.erase(pipe, **STAR)
    erased.save(tmp_path / "saved")
    theirs, ours = ({file.name for file in (tmp_path / name).iterdir()} for name in ("run", "saved"))
    assert theirs == ours
    for name in ("unet_delta.safetensors", "metrics.json", "steps.jsonl", "prompts.json", "before_after.png"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "saved" / name).read_bytes(), name
    assert kept_options(tmp_path / "saved").model == str(model)
    assert run_of(tmp_path / "saved")["command"] == run_of(tmp_path / "run")["command"].replace(" --output run", "")
    state = pipe.unet.state_dict()
    assert all(torch.equal(state[k], each) for k, each in load_file(tmp_path / "run/unet_delta.safetensors").items())
    with pytest.raises(UsageError, match="saved: exists already"):
        erased.save(tmp_path / "saved")


def test_what_is_given_back_shows_what_was_found(judged, tmp_path, drawn):
    pipe = DiffusionPipeline.from_pretrained(judged, safety_checker=None)
    erased = harness.erase(pipe, target="star", **FEW)
    assert 0 <= erased.metrics["unlearning_accuracy"]["erased"] <= 1
    assert erased.summary["target"] == "star"
    assert [row["step"] for row in erased.steps] == [1, 2]
    assert "unlearning accuracy" in str(erased)
    assert str(erased).endswith(erased.metrics["verdict"])
    assert isinstance(erased.pictures(), Image.Image)
    page = erased.report(tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    with pytest.raises(UsageError, match="no folder"):
        erased.report(tmp_path / "nowhere" / "page.html")


def test_strength_is_between_the_two_and_refused_beyond():
    pipe = tiny.pipeline()
    before = _bits(pipe)
    erased = harness.erase(pipe, **STAR, **KV)
    whole = _bits(pipe)
    erased.strength(0.25)
    for key, tensor in _bits(pipe).items():
        assert torch.allclose(tensor, torch.lerp(before[key].float(), whole[key].float(), 0.25), atol=1e-7), key
    with pytest.raises(UsageError, match=r"strength 2: must be from 0 to 1\.5"):
        erased.strength(2)


def test_adapters_of_the_callers_stay_and_those_of_the_erasure_are_multiplied_out():
    from peft import LoraConfig

    pipe = tiny.pipeline()
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_k", "to_v"], init_lora_weights=False), "mine")
    before = _bits(pipe)
    erased = harness.erase(pipe, **STAR, parameter_group="lora", rank=2)
    changed = {key for _, key in _changed(before, _bits(pipe))}
    assert any("attn2.to_k.base_layer.weight" in key for key in changed)
    assert not any("lora" in key for key in changed)
    assert pipe.unet.active_adapters() == ["mine"]
    assert any(".lora_B." in name for name in erased.outcome.trained)
    erased.strength(0.5)
    erased.undo()
    assert _changed(before, _bits(pipe)) == set()


def test_what_is_offloaded_stays_so_and_is_erased_where_it_lies():
    from accelerate import cpu_offload

    plain, pipe = tiny.pipeline(), tiny.pipeline()
    cpu_offload(pipe.unet, torch.device("cpu"))
    hooks = [getattr(module, "_hf_hook", None) for module in pipe.unet.modules()]
    assert pipe.unet.conv_in.weight.is_meta
    harness.erase(plain, **STAR)
    erased = harness.erase(pipe, **STAR)
    assert [getattr(module, "_hf_hook", None) for module in pipe.unet.modules()] == hooks
    assert pipe.unet.conv_in.weight.is_meta
    pictures = []
    for each in (plain, pipe):
        each.set_progress_bar_config(disable=True)
        given = {"num_inference_steps": 2, "output_type": "pt", "generator": torch.Generator().manual_seed(0)}
        pictures.append(each("a star", **given).images)
    assert torch.equal(*pictures)
    erased.undo()
    original = callers.values(tiny.pipeline(), "unet", erased.outcome.changed)
    assert all(torch.equal(original[k], each) for k, each in callers.values(pipe, "unet", original).items())


def test_a_group_that_is_offloaded_is_erased_too():
    pipe = tiny.pipeline()
    pipe.unet.enable_group_offload(onload_device=torch.device("cpu"), offload_type="leaf_level")
    before = _bits(pipe)
    assert harness.erase(pipe, **STAR, **KV).summary["trained_weights"] > 0
    assert _changed(before, _bits(pipe))


def test_an_attribute_is_erased_within_a_concept():
    pipe = tiny.pipeline()
    before = _bits(pipe)
    erased = harness.erase(pipe, target="a star", within="a shape", retain=("a moon",), **FEW, **KV)
    assert erased.summary["ledger"][0]["anchor_guidance"] == -1.0
    assert all("a shape" in prompt for prompt in erased.outcome.concepts.erased[0].target_prompts)
    assert _changed(before, _bits(pipe))


def test_a_callback_sees_every_step_and_may_stop():
    seen = []

    def callback(step, what):
        seen.append((step, len(what.s)))
        return "that is enough" if step == 3 else step == 1  # which is no text

    erased = harness.erase(tiny.pipeline(), **STAR | {"steps": 5}, callback=callback)
    assert seen == [(1, 2), (2, 2), (3, 2)]
    assert erased.summary["stopped"] == {"step": 3, "reason": "that is enough"}
    with pytest.raises(UsageError, match="callback 3: must be a function"):
        harness.erase(tiny.pipeline(), **STAR, callback=3)


def _boom(step, _):
    raise RuntimeError("of the callback's own")


def _press(step, _):
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("callback", "error"), [(_boom, RuntimeError), (_press, KeyboardInterrupt)])
def test_an_error_or_a_signal_leaves_the_pipeline_as_it_came(callback, error):
    pipe = tiny.pipeline()
    before, handler = _bits(pipe), signal.getsignal(signal.SIGINT)
    with pytest.raises(error):
        harness.erase(pipe, **STAR, callback=callback)
    assert _changed(before, _bits(pipe)) == set()
    assert signal.getsignal(signal.SIGINT) is handler


def test_weights_are_put_in_all_or_not_at_all(monkeypatch):
    pipe, write = tiny.pipeline(), callers.write
    before = _bits(pipe)

    def interrupted(pipeline, component, weights):
        write(pipeline, component, dict(list(weights.items())[:3]))
        monkeypatch.setattr(callers, "write", write)
        raise KeyboardInterrupt

    monkeypatch.setattr(callers, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        harness.erase(pipe, **STAR)
    assert _changed(before, _bits(pipe)) == set()


def test_torch_is_left_in_its_mode_and_draws_the_numbers_it_would_have_drawn(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    torch.backends.cuda.enable_cudnn_sdp(True)  # as it is by default
    during = []

    def note(step, seen):
        during.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.cudnn_sdp_enabled()))

    pipe = tiny.pipeline()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with torch.no_grad():
        harness.erase(pipe, **STAR, callback=note)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.rand(3), expected)
    assert set(during) == {(False, False)}  # fp32 is fp32, in convolutions too, and attention is not cuDNN's
    assert torch.backends.cudnn.allow_tf32
    assert torch.backends.cuda.cudnn_sdp_enabled()


def test_of_two_erasures_the_second_is_undone_first():
    pipe = tiny.pipeline()
    before = _bits(pipe)
    first = harness.erase(pipe, **STAR)
    second = harness.erase(pipe, **STAR | {"target": "a heart"})
    with pytest.raises(UsageError, match="changed after this erasure, by another one perhaps"):
        first.undo()
    second.undo()
    first.undo()
    assert _changed(before, _bits(pipe)) == set()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "--steps 0: must be a count from 1"),
        ({"steps": "many"}, "--steps 'many': must be a int"),
        ({"steps": True}, "--steps True: must be a int"),
        ({"objective": "magic"}, "--objective 'magic': must be one of closed_form, variational"),
        ({"retain": "a moon"}, "--retain 'a moon': must be a tuple of texts"),
        ({"concept_type": "thing"}, "--concept-type 'thing': must be one of object, style"),
        ({"output": "there"}, "output: an option of the command line; here the pipeline is given"),
        ({"divergance": "kl"}, "divergance: no option; did you mean divergence"),
        ({"zzz": 1}, "zzz: no option; see help"),
        ({"anchor": "a star"}, "equal to the target"),
        ({"prompts": "/no/file"}, "--prompts /no/file: cannot be read"),
        ({"divergence": "helinger"}, "unknown divergence 'helinger'"),
        ({"device": "cuda:99"}, "--device cuda:99: torch sees"),
        ({"stop_when": "UA>=0.9"}, "holds no judge"),
    ],
)
def test_what_cannot_be_used_is_refused_before_any_work(monkeypatch, options, message):
    monkeypatch.setattr(callers, "copied", lambda *_: pytest.fail("the pipeline was copied"))
    with pytest.raises((UsageError, fdiv.UnknownDivergence), match=message.replace("(", r"\(")):
        harness.erase(tiny.pipeline(), **STAR | options)


def test_other_pipelines_and_weights_that_cannot_be_read_are_refused():
    with pytest.raises(UsageError, match=r"the pipeline given: a str; choices: .*StableDiffusionPipeline"):
        harness.erase("a folder", target="a star")
    pipe = tiny.pipeline()
    pipe.unet.register_parameter("added", torch.nn.Parameter(torch.zeros(1)))
    with pytest.raises(UsageError, match=r"its unet has not the weights .* such as added; unload"):
        harness.erase(pipe, **STAR)
    pipe = tiny.pipeline()
    pipe.unet.conv_in.to("meta")
    with pytest.raises(UsageError, match=r"unet\.conv_in\.\w+ cannot be read: it is quantised, or kept on disk"):
        harness.erase(pipe, **STAR)


def test_a_process_of_several_is_sent_to_the_command_line(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="works in one process"):
        harness.erase(tiny.pipeline(), **STAR)


def test_the_signature_and_the_help_are_those_of_the_options():
    shown = inspect.signature(harness.erase).parameters
    usable = {field.name: field for field in fields(Config) if field.name not in OF_FILES}
    assert list(shown) == ["pipe", *usable, "preset", "callback"]
    assert all(shown[name].default == field.default for name, field in usable.items())
    for name in usable:
        assert f"\n    {name}: " in harness.erase.__doc__
    assert "Optimiser steps;" in harness.erase.__doc__


def test_a_preset_is_the_command_lines(capsys):
    given = {"target": "a star", "steps": 9}
    expected = parse(["--preset", "sdxl-style", "--target", "a star", "--steps", "9", "--model", "somewhere"])
    assert options_of(given, "somewhere", "sdxl-style") == expected
    assert capsys.readouterr().err.count("note: --preset sdxl-style (Stable Diffusion XL, a style) is ESD-x") == 2
    with pytest.raises(UsageError, match="--preset esd: no such recipe"):
        harness.erase(tiny.pipeline(), preset="esd", **STAR)


def test_a_run_says_which_recipe_it_follows(tmp_path):
    erased = harness.erase(
        tiny.pipeline(), preset="uce", target="a star", retain=["a moon"], latents=2, sampling_steps=1
    )
    assert erased.summary["presets"].keys() == {"uce"}
    page = erased.report(tmp_path / "report.html").read_text()
    assert "recipe uce" in page
    assert "UCE (arXiv 2308.14761)" in page


def test_options_from_python_are_checked_by_the_command_too(model, tmp_path):
    """It had sampled for minutes, and left a folder behind, before an IndexError said that there was no step."""
    options = Config(model=str(model), target="a star", output=tmp_path / "run", steps=0)
    with pytest.raises(UsageError, match="--steps 0: must be a count from 1"):
        unlearn.run(options)
    with pytest.raises(UsageError, match="--parameter-group 'kv': must be one of cross-attention-kv"):
        unlearn.run(replace(options, steps=1, parameter_group="kv"))
    assert list(tmp_path.iterdir()) == []


def test_a_saved_erasure_can_be_exported(model, tmp_path):
    from harness.export import __main__ as export

    harness.erase(StableDiffusionPipeline.from_pretrained(model), **STAR).save(tmp_path / "run")
    assert export.main([str(tmp_path / "run")]) == 0
    assert (tmp_path / "run/export/delta/unet_delta.safetensors").is_file()
    assert json.loads((tmp_path / "run/run.json").read_text())["seconds"]["whole"] > 0
