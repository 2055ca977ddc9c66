"""LoRAs and whole differences as ComfyUI and the web UIs read them, and diffusers where it can."""

import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from harness.export import formats
from harness.models.edits import edit
from tests import readers, tiny

FILE = "without-a-star.safetensors"
FAMILIES = list(tiny.UNETS)


def _patched(source, file):
    """A pipeline changed by a file as ComfyUI changes it, every key of which found a place."""
    pipeline, tensors = readers.pipeline(source), load_file(file)
    assert sorted(readers.apply(pipeline.unet, tensors)) == sorted(tensors)
    return pipeline


def _trained(source, run):
    pipeline = readers.pipeline(source)
    pipeline.unet.load_state_dict(load_file(run / "unet_delta.safetensors"), strict=False)
    return pipeline


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_runs_adapters_draw_the_same_in_diffusers_and_by_comfyuis_rules(runs, call, kind):
    source, run = runs(kind, "lora", "--save-pipeline")
    code, folder, printed = call(run, "--format", "kohya", "--rank", "1")
    assert code == 0
    assert "without 0.00% of the change's norm" in printed.out
    tensors = load_file(folder / FILE)
    factors = sum(name.endswith(("lora_up.weight", "lora_down.weight")) for name in tensors)
    assert f"a LoRA: {factors} of {factors} factors fit" in printed.out
    adapted, expected = readers.pipeline(source), readers.sample(readers.pipeline(run / "pipeline"), "pt")
    adapted.load_lora_weights(folder, weight_name=FILE)
    for each in (adapted, _patched(source, folder / FILE)):
        torch.testing.assert_close(readers.sample(each, "pt"), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(readers.sample(readers.pipeline(source), "pt"), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("kind", "group"), [("sd1", "full"), ("sd2", "cross-attention-kv"), ("sdxl", "full")])
def test_differences_are_the_whole_change(runs, call, kind, group):
    """Of every weight and bias, but for the last digit: the sum of a weight and a difference is rounded once more."""
    source, run = runs(kind, group)
    code, folder, printed = call(run, "--format", "diff")
    assert code == 0
    trained = load_file(run / "unet_delta.safetensors")
    assert f"differences: {len(trained)} of {len(trained)} tensors fit" in printed.out
    assert "without 0.00% of the change's norm" in printed.out
    patched, expected = _patched(source, folder / FILE), _trained(source, run)
    for name, weight in expected.unet.state_dict().items():
        torch.testing.assert_close(patched.unet.state_dict()[name], weight, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(readers.sample(patched, "pt"), readers.sample(expected, "pt"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_every_convolution_and_linear_layer_of_a_whole_unet_has_a_name_that_diffusers_knows(runs, call, kind):
    source, run = runs(kind, "full")
    code, folder, printed = call(run, "--format", "kohya", "--rank", "64")
    assert code == 0
    modules = [m for m in readers.pipeline(source).unet.modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)]
    assert f"a LoRA: {2 * len(modules)} of {2 * len(modules)} factors fit" in printed.out
    adapted = readers.pipeline(source)
    adapted.load_lora_weights(folder, weight_name=FILE)
    patched = _patched(source, folder / FILE)
    torch.testing.assert_close(readers.sample(adapted), readers.sample(patched), rtol=1e-4, atol=1e-4)


def test_a_rank_is_said_with_what_it_leaves_out(runs, call):
    source, run = runs()
    said = {}
    for rank in ("1", "3"):
        code, folder, printed = call(run, "--format", "kohya", "--rank", rank, output=rank)
        assert code == 0
        assert f"kohya of rank {rank} in fp32" in printed.out
        said[rank] = float(re.search(r"without ([\d.]+)% of", printed.out)[1])
        patched, expected, original = _patched(source, folder / FILE), _trained(source, run), readers.pipeline(source)
        whole = left = 0.0
        for name, weight in expected.unet.state_dict().items():
            left += (patched.unet.state_dict()[name] - weight).square().sum().item()
            whole += (original.unet.state_dict()[name] - weight).square().sum().item()
        assert said[rank] == pytest.approx(100 * (left / whole) ** 0.5, abs=0.006)
        assert f"leaves out {said[rank]:.2f}% of its norm" in (folder / "README.md").read_text()
    assert said["1"] > said["3"] > 0


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_a_narrow_type_is_said_with_what_it_rounds_away(runs, call, dtype):
    """Less of differences than of whole weights, of which the change is a small part."""
    _, run = runs()
    said = {}
    for form in ("diff", "delta"):
        code, folder, printed = call(run, "--format", form, "--dtype", dtype, output=form)
        assert code == 0
        assert f"{form} in {dtype}" in printed.out
        assert {each.dtype for each in load_file(next(folder.glob("*.safetensors"))).values()} == {
            formats.DTYPES[dtype]
        }
        said[form] = float(re.search(r"without ([\d.]+)% of", printed.out)[1])
    assert 0 < said["diff"] < said["delta"] < 5


def test_numbers_beyond_a_narrow_type_are_refused(runs, call, monkeypatch):
    differences = formats.lowrank.left_out
    monkeypatch.setattr(formats.lowrank, "left_out", lambda *each: float("inf") * (1 + differences(*each)))
    code, folder, printed = call(runs()[1], "--format", "diff", "--dtype", "fp16")
    assert code == 2
    assert "--dtype fp16: too narrow for these weights" in printed.err
    assert not folder.exists()


@pytest.mark.parametrize(("form", "lost"), [("diff", "none of its 8 tensors fits"), ("kohya", "none of its")])
def test_a_file_of_which_nothing_fits_is_an_error(runs, call, monkeypatch, form, lost):
    monkeypatch.setattr(formats.kohya, "differences", lambda model, changes: _elsewhere(changes))
    monkeypatch.setattr(formats.kohya, "adapters", lambda model, factors: _elsewhere(factors))
    code, folder, printed = call(runs()[1], "--format", form)
    assert code == 2
    assert re.search(f"--format {form}: .*({lost}|no LoRA for this model)", printed.err)
    assert not folder.exists()


def _elsewhere(tensors):
    ends = {"lora_A.weight": "lora_down.weight", "lora_B.weight": "lora_up.weight"}
    named = {}
    for i, (name, each) in enumerate(sorted(tensors.items())):
        place = f"lora_unet_nowhere_{i // 2 if 'lora_' in name else i}"
        named[f"{place}.{next((new for old, new in ends.items() if name.endswith(old)), 'diff')}"] = each
    return named


def test_a_part_that_does_not_fit_is_an_error_too(runs, call, monkeypatch):
    whole = formats.kohya.differences
    monkeypatch.setattr(
        formats.kohya, "differences", lambda *each: whole(*each) | {"lora_unet_nowhere.diff": torch.ones(2)}
    )
    code, _, printed = call(runs()[1], "--format", "diff")
    assert code == 2
    assert re.search(r"diff: read back, differences: (\d+) of (?!\1)\d+ tensors fit; nothing was written", printed.err)


def test_a_file_says_the_models_name_and_digest_and_not_its_place(runs, call):
    source, run = runs()
    _, folder, _ = call(run, "--format", "kohya")
    with safe_open(folder / FILE, "pt") as file:
        metadata = file.metadata()
    with safe_open(run / "unet_delta.safetensors", "pt") as file:
        assert metadata["original_sha256"] == file.metadata()["original_sha256"]
    assert metadata["base"] == "sd1"
    assert str(source.parent).encode() not in (folder / FILE).read_bytes()
    card = (folder / "README.md").read_text()
    assert f'pipeline.load_lora_weights("THIS_FOLDER", weight_name="{FILE}")' in card
    assert f"In ComfyUI `{FILE}` goes into `models/loras`" in card


def test_what_anyone_wrote_so_is_read_by_evaluate(tmp_path):
    model = tiny.model("sdxl")
    key, bias = "lora_unet_input_blocks_3_1_norm.diff", "lora_unet_input_blocks_3_1_norm.diff_b"
    save_file({key: torch.ones(16), bias: torch.full((16,), 2.0)}, tmp_path / "their.safetensors")
    before = {name: each.clone() for name, each in model.network.state_dict().items()}
    over, fit = edit(model, "erased model:", tmp_path / "their.safetensors")
    assert str(fit) == "differences: 2 of 2 tensors fit"
    with over():
        name = "down_blocks.1.attentions.0.norm"
        assert torch.equal(model.network.state_dict()[f"{name}.weight"], before[f"{name}.weight"] + 1)
        assert torch.equal(model.network.state_dict()[f"{name}.bias"], before[f"{name}.bias"] + 2)
    assert all(torch.equal(each, before[name]) for name, each in model.network.state_dict().items())
