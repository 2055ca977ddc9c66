"""An exported pipeline made the original again, bit for bit, or left alone."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.export import formats
from harness.export.__main__ import main as export
from tests import readers


def _equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("kind", "group", "dtype"),
    [("sd1", "cross-attention-kv", "fp32"), ("sd1", "lora", "bf16"), ("sdxl", "lora", "bf16")],
)
def test_undoing_restores_the_original_weights_bit_for_bit_and_leaves_what_someone_else_put_there(
    runs, call, kind, group, dtype
):
    source, run = runs(kind, group)
    _, folder, _ = call(run, "--format", "pipeline", "--dtype", dtype, "--strength", "0.7")
    original = readers.pipeline(source).to(formats.DTYPES[dtype])
    erased = readers.pipeline(folder).to(formats.DTYPES[dtype])
    assert not _equal(erased.unet.state_dict(), original.unet.state_dict())
    (folder / "unet" / "mine.txt").write_text("mine")
    assert export([str(folder), "--undo"]) == 0
    assert (folder / "unet" / "mine.txt").read_text() == "mine"
    restored = readers.pipeline(folder).to(formats.DTYPES[dtype])
    assert _equal(restored.unet.state_dict(), original.unet.state_dict())
    stored = load_file(next((folder / "unet").glob("*.safetensors")))
    assert {tensor.dtype for tensor in stored.values()} == {formats.DTYPES[dtype]}


def test_adapters_that_were_trained_in_bf16_are_written_as_they_are(runs, call):
    _, run = runs("sdxl", "lora", "--precision", "bf16")
    code, folder, printed = call(run, "--format", "lora")
    assert (code, printed.err.count("error")) == (0, 0)
    trained, written = load_file(run / "unet_adapters.safetensors"), load_file(folder / formats.LORA)
    found = {name.removeprefix("unet."): each for name, each in written.items()}
    assert _equal({name.replace(".default.", "."): each for name, each in trained.items()}, found)


def test_a_runs_own_pipeline_is_undone_too_and_only_once(runs, tmp_path, capsys):
    source, run = runs("sd1", "lora", "--save-pipeline")
    shutil.copytree(run, tmp_path / "run")
    assert export([str(tmp_path / "run"), "--undo"]) == 0
    restored, original = readers.pipeline(tmp_path / "run" / "pipeline"), readers.pipeline(source)
    assert _equal(restored.unet.state_dict(), original.unet.state_dict())
    assert export([str(tmp_path / "run"), "--undo"]) == 2
    assert "no exported pipeline with an original.safetensors" in capsys.readouterr().err


def test_weights_changed_after_the_export_are_not_undone(runs, call, capsys):
    _, folder, _ = call(runs()[1], "--format", "pipeline")
    file = next((folder / "unet").glob("*.safetensors"))
    weights = load_file(file)
    weights["conv_in.bias"][0] += 1e-6
    save_file(weights, file, {"format": "pt"})
    before = file.read_bytes()
    assert export([str(folder), "--undo"]) == 2
    assert "changed after the export; nothing was undone" in capsys.readouterr().err
    assert file.read_bytes() == before
