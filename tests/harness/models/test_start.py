"""A run that starts from another tool's weights: what fits is taken, and what cannot be is one line."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness import unlearn
from harness.config import Config, UsageError, check
from harness.models import edits
from harness.models.edits import check_start, read_tensors, starting_weights
from harness.models.source import starting_file
from harness.runs.files import load_tensors
from tests import tiny

KEY = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"


def _theirs(path, model, *names, prefix=""):
    """A partial UNet as ESD writes it, of these parameters, all of them one."""
    state = model.network.state_dict()
    save_file({prefix + name: torch.ones(state[name].shape) for name in names}, path)
    return path


def test_a_partial_unet_is_read_once_and_becomes_a_run(model, tmp_path, monkeypatch):
    theirs = _theirs(tmp_path / "esd.safetensors", tiny.model(), KEY, prefix="unet.")
    flags = ["--model", str(model), "--target", "a star", "--anchor", "a circle", "--retain", "a moon"]
    flags += ["--start", str(theirs), "--steps", "0", "--parameter-group", "cross-attention-kv", "--origin", "anchor"]
    flags += ["--latents", "2", "--sampling-steps", "1", "--output", str(tmp_path / "run")]
    read = []
    monkeypatch.setattr(edits, "load_tensors", lambda path: read.append(path) or load_tensors(path))
    assert unlearn.main(flags) == 0
    assert read == [theirs]
    written, original = load_file(tmp_path / "run" / "unet_delta.safetensors"), tiny.model().network.state_dict()
    assert (written[KEY] == 1).all()
    assert all(torch.equal(each, original[name]) for name, each in written.items() if name != KEY)


def test_weights_outside_of_the_group_are_refused(tmp_path):
    of = tiny.model()
    theirs = _theirs(tmp_path / "esd.safetensors", of, KEY, "conv_in.weight")
    assert starting_weights(of, Config(start=str(theirs))).keys() == {KEY, "conv_in.weight"}
    assert starting_weights(of, Config(start="closed-form")) == {}
    message = r"1 of its 2 weights, such as conv_in\.weight, do not train in --parameter-group cross-attention-kv"
    with pytest.raises(UsageError, match=message):
        check_start(of, Config(start=str(theirs), parameter_group="cross-attention-kv"))
    check_start(of, Config(start=str(theirs)))
    save_file({"elephant": torch.ones(2)}, tmp_path / "foreign.safetensors")
    for read in (check_start, starting_weights):
        with pytest.raises(UsageError, match=r"--start .*: none of its 1 tensors fits"):
            read(of, Config(start=str(tmp_path / "foreign.safetensors")))
    (tmp_path / "page.safetensors").write_text("<html>")
    with pytest.raises(UsageError, match=r"page\.safetensors: cannot be read as safetensors"):
        check_start(of, Config(start=str(tmp_path / "page.safetensors")))


@pytest.mark.parametrize("name", ["delta.bin", "esd.pt"])
def test_pickles_are_refused_with_the_way_out(tmp_path, name):
    """Which a delta of concept-ablation's takes: it converts to what starts a run."""
    state = {"unet": {KEY: torch.ones(16, 16)}}
    torch.save(state, tmp_path / name)
    for read in (lambda place: starting_file(str(place)), lambda place: read_tensors("erased model:", place)):
        with pytest.raises(UsageError, match=r"only safetensors are.*weights_only=True.*state\['unet'\].*save_file"):
            read(tmp_path / name)
    safe = torch.load(tmp_path / name, map_location="cpu", weights_only=True)
    save_file(safe["unet"], tmp_path / "NEW.safetensors")
    assert read_tensors("erased model:", tmp_path / "NEW.safetensors").keys() == {KEY}


def test_another_word_and_adapters_are_refused():
    with pytest.raises(UsageError, match="--start closed: no such file; choices: original, closed-form, or a"):
        starting_file("closed")
    assert starting_file("closed-form") is None
    with pytest.raises(UsageError, match=r"--start esd\.safetensors: changes weights, where --parameter-group lora"):
        check(Config(start="esd.safetensors", parameter_group="lora"))
