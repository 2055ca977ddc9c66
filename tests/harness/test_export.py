"""One erasure three ways: each opened again by diffusers itself and compared with the weights that were trained."""

import errno
import json
import re
import shutil

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from harness import unlearn
from harness.export import formats
from harness.export.__main__ import main as export
from harness.models import load as models
from harness.models.weights import fingerprint
from harness.show.card import model_card
from tests import tiny

FAST = ["--steps", "3", "--batch-size", "2", "--latents", "2", "--sampling-steps", "2", "--learning-rate", "0.02"]
CONCEPTS = ["--target", "a star", "--anchor", "a circle", "--retain", "a moon", *tiny.UNOPPOSED]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished runs by family and parameter group, each made once, by the command line."""
    folder = tmp_path_factory.mktemp("runs")
    made = {}

    def run(kind="sd1", group="cross-attention-kv", *flags):
        if (kind, group, flags) not in made:
            source = folder / kind if (folder / kind).exists() else tiny.folder(folder / kind, kind)
            out = folder / f"{kind}-{group}{len(flags)}"
            arguments = ["--model", str(source), "--parameter-group", group, "--output", str(out), *CONCEPTS, *FAST]
            assert unlearn.main([*arguments, *flags]) == 0
            made[kind, group, flags] = source, out
        return made[kind, group, flags]

    return run


@pytest.fixture
def call(capsys, tmp_path):
    """Export by the command line; gives the exit code, the folder, and what was printed."""

    def export_(run, *flags, output="out"):
        code = export([str(run), "--output", str(tmp_path / output), *flags])
        return code, tmp_path / output, capsys.readouterr()

    return export_


def _open(folder):
    pipeline = DiffusionPipeline.from_pretrained(folder, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _state(pipeline):
    return pipeline.unet.state_dict()


def _sample(pipeline):
    generator = torch.Generator().manual_seed(5)
    return pipeline("a star", num_inference_steps=2, output_type="latent", generator=generator).images


def _equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _said(printed):
    return float(re.search(r"by at\s+most ([\d.e+-]+) \(latents\);", printed.out)[1])


FAMILIES = list(tiny.UNETS)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_runs_own_pipeline_opens_in_diffusers_own_class_and_samples(runs, kind):
    """From the command line: every family, adapters too."""
    source, run = runs(kind, "lora", "--save-pipeline")
    erased, original = _open(run / "pipeline"), _open(source)
    assert type(erased) is type(original)
    assert _state(erased).keys() == _state(original).keys()
    assert not torch.equal(_sample(erased), _sample(original))
    assert erased("a star", num_inference_steps=2, output_type="pt").images.shape == (1, 3, 16, 16)


@pytest.mark.parametrize("kind", FAMILIES)
def test_delta_pipeline_and_lora_agree_in_diffusers_own_hands(runs, call, kind, tmp_path):
    (source, run), at = runs(kind), tmp_path
    for form in ("delta", "pipeline", "lora"):
        assert call(run, "--format", form, "--rank", "64", output=form)[0] == 0
    trained = load_file(run / "unet_delta.safetensors")
    patched, exported, adapted = _open(source), _open(at / "pipeline"), _open(source)
    patched.unet.load_state_dict(load_file(at / "delta" / "unet_delta.safetensors"), strict=False)
    assert _equal(_state(exported), _state(patched))
    assert all(torch.equal(_state(exported)[name], trained[name]) for name in trained)
    adapted.load_lora_weights(at / "lora")
    samples = [_sample(each) for each in (patched, exported, adapted, _open(source))]
    assert torch.equal(samples[0], samples[1])
    torch.testing.assert_close(samples[2], samples[0], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(samples[3], samples[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", FAMILIES)
def test_adapters_are_exported_without_loss(runs, call, kind):
    source, run = runs(kind, "lora", "--save-pipeline")
    code, folder, printed = call(run, "--format", "lora", "--rank", "1")
    assert code == 0
    assert "without 0.00% of the change's norm" in printed.out
    adapted = _open(source)
    adapted.load_lora_weights(folder)
    torch.testing.assert_close(_sample(adapted), _sample(_open(run / "pipeline")), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["delta", "pipeline", "lora"])
def test_the_difference_printed_is_that_of_the_samples(runs, call, form):
    _, _, printed = call(runs()[1], "--format", form, "--rank", "64")
    assert _said(printed) == 0 if form != "lora" else 0 < _said(printed) < 1e-4


def test_a_truncated_lora_says_how_much_it_leaves_out(runs, call):
    said = []
    for rank in ("1", "3", "64"):
        code, _, printed = call(runs()[1], "--format", "lora", "--rank", rank, output=rank)
        assert code == 0
        said.append((float(re.search(r"without ([\d.]+)% of", printed.out)[1]), _said(printed)))
    assert said == sorted(said, reverse=True)
    assert said[0][0] > 1
    assert said[0][1] > 100 * said[-1][1]


def test_biases_count_as_left_out_of_a_lora(runs, call):
    code, _, printed = call(runs("sd1", "cross-attention")[1], "--format", "lora", "--rank", "64")
    assert code == 0
    assert float(re.search(r"without ([\d.]+)% of", printed.out)[1]) > 1


def test_convolutions_are_adapted_too(runs, call):
    source, run = runs("sd1", "full")
    code, folder, _ = call(run, "--format", "lora", "--rank", "64")
    assert code == 0
    adapted, frozen = _open(source), _state(_open(source))
    adapted.load_lora_weights(folder)
    adapted.unet.fuse_lora()
    adapted.unet.unload_lora()
    trained = load_file(run / "unet_delta.safetensors")
    for name in ("conv_in.weight", "mid_block.resnets.0.conv1.weight", "time_embedding.linear_1.weight"):
        assert not torch.equal(trained[name], frozen[name])
        torch.testing.assert_close(_state(adapted)[name], trained[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("group", ["cross-attention-kv", "lora"])
def test_the_strength_goes_from_the_original_to_the_trained_weights_and_beyond(runs, call, group):
    source, run = runs("sd1", group)
    frozen = _state(_open(source))
    written = {}
    for strength in ("0", "0.5", "1", "1.5"):
        code, folder, _ = call(run, "--strength", strength, output=strength)
        assert code == 0
        written[strength] = load_file(folder / formats.DELTA)
    for name in written["0"]:
        assert torch.equal(written["0"][name], frozen[name])
        change = written["1"][name] - frozen[name]
        torch.testing.assert_close(written["0.5"][name], frozen[name] + change / 2)
        torch.testing.assert_close(written["1.5"][name], frozen[name] + change * 1.5)
    trained = load_file(run / "unet_delta.safetensors")
    assert group == "lora" or _equal(written["1"], trained)


@pytest.mark.parametrize(
    ("kind", "group", "dtype"),
    [("sd1", "cross-attention-kv", "fp32"), ("sd1", "lora", "bf16"), ("sdxl", "lora", "bf16")],
)
def test_undoing_restores_the_original_weights_bit_for_bit_and_leaves_what_someone_else_put_there(
    runs, call, kind, group, dtype
):
    source, run = runs(kind, group)
    _, folder, _ = call(run, "--format", "pipeline", "--dtype", dtype, "--strength", "0.7")
    original = _open(source).to(formats.DTYPES[dtype])
    erased = _open(folder).to(formats.DTYPES[dtype])
    assert not _equal(_state(erased), _state(original))
    (folder / "unet" / "mine.txt").write_text("mine")
    assert export([str(folder), "--undo"]) == 0
    assert (folder / "unet" / "mine.txt").read_text() == "mine"
    restored = _open(folder).to(formats.DTYPES[dtype])
    assert _equal(_state(restored), _state(original))
    stored = load_file(next((folder / "unet").glob("*.safetensors")))
    assert {tensor.dtype for tensor in stored.values()} == {formats.DTYPES[dtype]}


@pytest.mark.parametrize("flags", [["--format", "delta"], ["--undo"]])
def test_a_damaged_file_is_one_line(runs, tmp_path, capsys, flags):
    _, run = runs()
    copy = shutil.copytree(run, tmp_path / "run")
    assert export([str(copy), "--format", "pipeline", "--output", str(copy / "pipeline")]) == 0
    file = copy / ("unet_delta.safetensors" if "delta" in flags else "pipeline/original.safetensors")
    file.write_bytes(file.read_bytes()[:-50])
    capsys.readouterr()
    assert export([str(copy), *flags]) == 2
    assert re.match(f"error: {file}: cannot be read as safetensors: .*\n$", capsys.readouterr().err)


@pytest.mark.parametrize("content", ["{}", "[]", "3", "{"])
def test_a_damaged_summary_is_one_line(runs, tmp_path, capsys, content):
    _, run = runs()
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "run.json").write_text(content)
    capsys.readouterr()
    for command, flags in ((export, [str(copy)]), (unlearn.main, ["--continue", str(copy), "--target", "a moon"])):
        assert command(flags) == 2
        assert re.match(f"error: {copy / 'run.json'}: (damaged|cannot be read as JSON)", capsys.readouterr().err)


def test_a_full_disk_is_one_line(runs, call, monkeypatch):
    _, run = runs()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    code, folder, printed = call(run)
    assert code == 4
    assert "the disk is full" in printed.err
    assert not folder.exists()


def test_a_runs_own_pipeline_is_undone_too_and_only_once(runs, tmp_path, capsys):
    source, run = runs("sd1", "lora", "--save-pipeline")
    shutil.copytree(run, tmp_path / "run")
    assert export([str(tmp_path / "run"), "--undo"]) == 0
    assert _equal(_state(_open(tmp_path / "run" / "pipeline")), _state(_open(source)))
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


@pytest.mark.parametrize(("form", "dtype"), [("delta", "fp16"), ("lora", "bf16")])
def test_half_precision_is_written_and_its_difference_is_said(runs, call, form, dtype):
    code, folder, printed = call(runs()[1], "--format", form, "--dtype", dtype, "--rank", "64")
    assert code == 0
    tensors = load_file(next(folder.glob("*.safetensors")))
    assert {tensor.dtype for tensor in tensors.values()} == {formats.DTYPES[dtype]}
    assert 0 < _said(printed) < 0.5


def test_files_say_what_they_are(runs, call):
    source, run = runs()
    _, folder, _ = call(run, "--strength", "0.5")
    with safe_open(folder / formats.DELTA, "pt") as file:
        metadata = file.metadata()
    assert (metadata["target"], metadata["strength"], metadata["base"]) == ("a star", "0.5", str(source))
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: diffusers\n")
    for words in ('"a star" led towards "a circle"', "`kl`", "strength 0.5", "stay under its licence"):
        assert words in card
    assert "base_model" not in card


def test_a_card_has_the_metrics_and_a_hub_models_name():
    config = {"model": "someone/model", "objective": "closed_form", "parameter_group": "lora", "steps": 1, "seed": 0}
    summary = {"target": "a", "anchor": "b", "divergence": "kl", "config": config | {"learning_rate": 0.1}}
    text = model_card(summary, {"unlearning_accuracy": {"original": 0.1, "erased": 0.9}}, "lora", 1.0)
    assert "base_model: someone/model\n" in text
    assert "| unlearning accuracy | 0.1000 | 0.9000 |" in text


def test_a_file_that_does_not_sample_as_the_trained_model_is_refused(runs, call, monkeypatch):
    write = formats.write

    def spoilt(erasure, changed, options, folder):
        return write(erasure, {name: 1.1 * each for name, each in changed.items()}, options, folder)

    monkeypatch.setattr(formats, "write", spoilt)
    code, folder, printed = call(runs()[1])
    assert code == 2
    assert "delta: samples differ from the trained model's by" in printed.err
    assert not folder.exists()


def test_another_model_than_the_runs_is_refused_before_anything_is_written(runs, call, tmp_path):
    other = tiny.pipeline()
    with torch.no_grad():
        next(p for name, p in other.unet.named_parameters() if "attn2.to_k" in name).add_(1e-6)
    other.save_pretrained(tmp_path / "other")
    code, folder, printed = call(runs()[1], "--model", str(tmp_path / "other"))
    assert code == 2
    assert "not the weights that" in printed.err
    assert not folder.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--strength", "1.6"], "--strength 1.6"),
        (["--strength", "nan"], "--strength nan"),
        (["--rank", "0"], "--rank 0"),
    ],
)
def test_numbers_out_of_range_are_refused(runs, call, flags, message):
    code, _, printed = call(runs()[1], *flags)
    assert code == 2
    assert message in printed.err


def test_no_run_and_an_existing_output_are_refused(runs, call, tmp_path):
    assert "no finished run, which has a run.json" in call(tmp_path)[2].err
    (tmp_path / "there").mkdir()
    assert "exists already; choose another folder" in call(runs()[1], output="there")[2].err


def test_nothing_is_uploaded_unless_asked_and_then_what_was_written(runs, call, monkeypatch):
    calls = []

    class Hub:
        def create_repo(self, name, **options):
            calls.append((name, options["private"]))

        def upload_folder(self, repo_id, folder_path):
            calls.append((repo_id, sorted(file.name for file in folder_path.iterdir())))

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    assert call(runs()[1])[0] == 0
    assert calls == []
    assert call(runs()[1], "--push-to-hub", "me/mine", output="pushed")[0] == 0
    assert calls == [("me/mine", True), ("me/mine", ["README.md", "unet_delta.safetensors"])]


def test_a_run_names_the_weights_it_started_from(runs):
    source, run = runs()
    model = models.load(source, torch.device("cpu"))
    with safe_open(run / "unet_delta.safetensors", "pt") as file:
        recorded = file.metadata()["original_sha256"]
    assert recorded == fingerprint(model.parameters_of("cross-attention-kv"))
    assert json.loads((run / "run.json").read_text())["config"]["parameter_group"] == "cross-attention-kv"
