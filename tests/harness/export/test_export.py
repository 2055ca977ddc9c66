"""One erasure in many formats: opened again by diffusers itself and compared with the weights that were trained."""

import errno
import json
import re
import shutil

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file

from harness import unlearn
from harness.export import formats
from harness.export.__main__ import main as export
from harness.models import load as models
from harness.models.weights import fingerprint
from harness.show.card import Written, model_card
from tests import readers, tiny


def _equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _said(printed):
    return float(re.search(r"by\s+at\s+most ([\d.e+-]+) \(latents\);", printed.out)[1])


FAMILIES = list(tiny.UNETS)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_runs_own_pipeline_opens_in_diffusers_own_class_and_samples(runs, kind):
    """From the command line: every family, adapters too."""
    source, run = runs(kind, "lora", "--save-pipeline")
    erased, original = readers.pipeline(run / "pipeline"), readers.pipeline(source)
    assert type(erased) is type(original)
    assert erased.unet.state_dict().keys() == original.unet.state_dict().keys()
    assert not torch.equal(readers.sample(erased), readers.sample(original))
    assert erased("a star", num_inference_steps=2, output_type="pt").images.shape == (1, 3, 16, 16)


@pytest.mark.parametrize("kind", FAMILIES)
def test_delta_pipeline_and_lora_agree_in_diffusers_own_hands(runs, call, kind, tmp_path):
    (source, run), at = runs(kind), tmp_path
    for form in ("delta", "pipeline", "lora"):
        assert call(run, "--format", form, "--rank", "64", output=form)[0] == 0
    trained = load_file(run / "unet_delta.safetensors")
    patched, exported, adapted = readers.pipeline(source), readers.pipeline(at / "pipeline"), readers.pipeline(source)
    patched.unet.load_state_dict(load_file(at / "delta" / "unet_delta.safetensors"), strict=False)
    assert _equal(exported.unet.state_dict(), patched.unet.state_dict())
    assert all(torch.equal(exported.unet.state_dict()[name], trained[name]) for name in trained)
    adapted.load_lora_weights(at / "lora")
    samples = [readers.sample(each) for each in (patched, exported, adapted, readers.pipeline(source))]
    assert torch.equal(samples[0], samples[1])
    torch.testing.assert_close(samples[2], samples[0], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(samples[3], samples[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", FAMILIES)
def test_adapters_are_exported_without_loss(runs, call, kind):
    source, run = runs(kind, "lora", "--save-pipeline")
    code, folder, printed = call(run, "--format", "lora", "--rank", "1")
    assert code == 0
    assert "without 0.00% of the change's norm" in printed.out
    adapted = readers.pipeline(source)
    adapted.load_lora_weights(folder)
    torch.testing.assert_close(
        readers.sample(adapted), readers.sample(readers.pipeline(run / "pipeline")), rtol=1e-4, atol=1e-4
    )


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
    adapted, frozen = readers.pipeline(source), readers.pipeline(source).unet.state_dict()
    adapted.load_lora_weights(folder)
    adapted.unet.fuse_lora()
    adapted.unet.unload_lora()
    trained = load_file(run / "unet_delta.safetensors")
    for name in ("conv_in.weight", "mid_block.resnets.0.conv1.weight", "time_embedding.linear_1.weight"):
        assert not torch.equal(trained[name], frozen[name])
        torch.testing.assert_close(adapted.unet.state_dict()[name], trained[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("group", ["cross-attention-kv", "lora"])
def test_the_strength_goes_from_the_original_to_the_trained_weights_and_beyond(runs, call, group):
    source, run = runs("sd1", group)
    frozen = readers.pipeline(source).unet.state_dict()
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
    assert group == "lora" or _equal(written["1"], load_file(run / "unet_delta.safetensors"))


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
    assert (metadata["target"], metadata["strength"], metadata["base"]) == ("a star", "0.5", "sd1")
    model = models.load(source, torch.device("cpu"))
    assert metadata["original_sha256"] == fingerprint(model.parameters_of("cross-attention-kv"))
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: diffusers\n")
    for words in ('"a star" led towards "a circle"', "`kl`", "strength 0.5", "stay under its licence"):
        assert words in card
    assert "base_model" not in card


def test_a_card_has_the_metrics_and_a_hub_models_name():
    config = {"model": "someone/model", "objective": "closed_form", "parameter_group": "lora", "steps": 1, "seed": 0}
    summary = {"target": "a", "anchor": "b", "divergence": "kl", "config": config | {"learning_rate": 0.1}}
    text = model_card(summary, {"unlearning_accuracy": {"original": 0.1, "erased": 0.9}}, Written("lora"))
    assert "base_model: someone/model\n" in text
    assert "| unlearning accuracy | 0.1000 | 0.9000 |" in text


def test_a_card_opens_a_pipeline_without_t5_and_says_with_how_many_tokens_it_was_measured(tmp_path):
    model = tiny.model("sd35")
    config = {"model": "x", "objective": "closed_form", "parameter_group": "lora", "steps": 1, "seed": 0}
    config |= {"learning_rate": 0.1, "max_sequence_length": 7}
    summary = {"target": "a", "anchor": "b", "divergence": "kl", "config": config}
    text = model_card(summary, {}, Written("pipeline", absent=model.absent))
    assert "Measured with `max_sequence_length=7`, which a pipeline's call has to be told." in text
    model.pipeline.save_pretrained(tmp_path)
    code = re.search(r"```python\n(.*?)\n```", text, re.DOTALL)[1].replace("THIS_FOLDER", str(tmp_path))
    found = {"DiffusionPipeline": DiffusionPipeline}
    exec(code, found)
    assert found["pipeline"].text_encoder_3 is None


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


@pytest.mark.parametrize("reason", ["offline mode is enabled", "401 Client Error\nInvalid user token"])
def test_a_hub_that_cannot_be_reached_or_refuses_is_one_line_and_loses_nothing(runs, call, monkeypatch, reason):
    def create_repo(*_, **__):
        raise ConnectionError(reason) if "offline" in reason else RuntimeError(reason)

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", create_repo)
    code, folder, printed = call(runs()[1], "--push-to-hub", "me/mine")
    assert code == 2
    last = printed.err.splitlines()[-1]
    assert last.startswith(f"error: --push-to-hub me/mine: not uploaded: {' '.join(reason.split())}; what was written")
    assert last.endswith(f"`hf upload me/mine {folder}` uploads it")
    assert "Traceback" not in printed.err
    assert (folder / "unet_delta.safetensors").is_file()


def test_a_name_that_is_none_on_the_hub_is_refused_before_any_work(runs, call):
    code, folder, printed = call(runs()[1], "--push-to-hub", "mine")
    assert code == 2
    assert "--push-to-hub mine: no name on the hub; needed is OWNER/NAME" in printed.err
    assert not folder.exists()


@pytest.mark.parametrize("kind", FAMILIES[:1])
def test_adapters_have_a_file_name_of_their_own_and_older_runs_are_read(runs, call, kind, tmp_path):
    """Under the name of changed weights they changed nothing, silently."""
    _, run = runs(kind, "lora", "--save-pipeline")
    assert not (run / "unet_delta.safetensors").exists()
    older = shutil.copytree(run, tmp_path / "older")
    (older / "unet_adapters.safetensors").rename(older / "unet_delta.safetensors")
    written = []
    for each in (run, older):
        code, folder, _ = call(each, "--format", "delta", output=f"{each.name}-delta")
        assert code == 0
        written.append(load_file(folder / "unet_delta.safetensors"))
    assert _equal(*written)
    (run / "unet_adapters.safetensors").rename(tmp_path / "kept")
    try:
        assert "no finished run, which has a run.json and a unet_delta" in call(run)[2].err
    finally:
        (tmp_path / "kept").rename(run / "unet_adapters.safetensors")
