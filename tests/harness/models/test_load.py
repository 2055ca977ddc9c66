"""Loading: what is read, from where, and what is refused."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from diffusers import EDMEulerScheduler

from harness import unlearn
from harness.config import Config, UsageError
from harness.data import latents
from harness.models import load as models
from harness.models.family import families
from harness.models.sampler import few_steps
from harness.models.source import resolve
from tests import tiny


def test_a_missing_folder_a_file_and_a_folder_without_a_pipeline_are_told_apart(tmp_path):
    with pytest.raises(
        UsageError, match=r"no such folder; choices: a pipeline folder, a \.safetensors checkpoint, a hub id"
    ):
        resolve(str(tmp_path / "missing"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="a file; needed is a pipeline folder"):
        resolve(str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"no model_index\.json"):
        resolve(str(tmp_path))


def test_a_hub_id_is_passed_on_and_a_missing_one_is_one_line():
    assert resolve("someone/some-model") == "someone/some-model"
    with pytest.raises(UsageError, match="diffusers cannot load it") as caught:
        models.load("someone/some-model", torch.device("cpu"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_folder_with_broken_weights_is_one_line(tmp_path, part):
    folder = tiny.folder(tmp_path / "model")
    weights = next((folder / part).glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UsageError, match="diffusers cannot load it") as caught:
        models.load(folder, torch.device("cpu"))
    assert "\n" not in str(caught.value)


def _broken(tmp_path, how):
    """A tiny pipeline's folder with something wrong in it."""
    folder = tiny.folder(tmp_path / "model")
    unet, index = next((folder / "unet").glob("*.safetensors")), folder / "model_index.json"
    changes = {
        "part": lambda: shutil.rmtree(folder / "tokenizer"),
        "empty": lambda: unet.write_bytes(b""),
        "pointer": lambda: unet.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "cut": lambda: unet.write_bytes(unet.read_bytes()[:100]),
        "variant": lambda: unet.rename(unet.with_suffix(".fp16.safetensors")),
        "json": lambda: index.write_text('{"a": '),
        "list": lambda: index.write_text("[1]"),
        "optional": lambda: index.write_text(index.read_text().replace("{", '{"safety_checker": ["a", "B"],', 1)),
    }
    changes[how]()
    return folder


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("part", r"model_index\.json names tokenizer, but there is no folder \S+model/tokenizer$"),
        ("empty", r"unet/diffusion_pytorch_model\.safetensors \(0 bytes\) holds no safetensors: damaged, or a pointer"),
        ("pointer", r"model\.safetensors \(43 bytes\) holds no safetensors"),
        ("cut", r"model\.safetensors \(100 bytes\) holds no safetensors"),
        ("variant", r"unet has no weights without a variant; choices: --variant fp16$"),
        ("json", r"model/model_index\.json cannot be read as JSON: "),
        ("list", r"model/model_index\.json names no `_class_name`"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said_of_the_file_before_anything_is_loaded(tmp_path, how, message):
    with pytest.raises(UsageError, match=message):
        resolve(str(_broken(tmp_path, how)))


def test_a_variant_and_parts_that_no_erasure_needs_may_be_missing(tmp_path):
    folder = _broken(tmp_path, "variant")
    assert resolve(str(folder), "fp16") == folder
    with pytest.raises(UsageError, match=r"no weights of variant fp8; choices: --variant fp16$"):
        resolve(str(folder), "fp8")
    shutil.rmtree(folder)
    assert resolve(str(_broken(tmp_path, "optional"))) == folder


def test_an_empty_index_is_no_pipeline(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(UsageError, match=r"a None; choices: .*StableDiffusionPipeline, .*StableDiffusionXLPipeline"):
        models.load(tmp_path, torch.device("cpu"))


def test_an_inpainting_unet_and_an_unknown_prediction_type_are_refused(tmp_path):
    other = tiny.pipeline()
    other.unet.register_to_config(in_channels=9)
    other.unet.conv_in = torch.nn.Conv2d(9, 8, 3, padding=1)
    other.save_pretrained(tmp_path / "inpainting")
    with pytest.raises(UsageError, match="takes 9 channels where the VAE's latents have 4"):
        models.load(tmp_path / "inpainting", torch.device("cpu"))
    tiny.pipeline("flow").save_pretrained(tmp_path / "flow")
    with pytest.raises(UsageError, match="prediction type 'flow'; choices: epsilon, v_prediction, sample"):
        models.load(tmp_path / "flow", torch.device("cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_cuda_without_a_gpu_is_refused():
    with pytest.raises(UsageError, match="--device cuda: torch sees 0 GPUs here; choices: auto, cpu"):
        models.resolve_device("cuda")


def test_an_unknown_device_is_refused():
    with pytest.raises(UsageError, match="--device abacus: no such device"):
        models.resolve_device("abacus")


def test_loading_gives_fp32_whatever_the_folder_holds(tmp_path):
    tiny.pipeline().to(torch.float16).save_pretrained(tmp_path)
    loaded = models.load(Path(tmp_path), torch.device("cpu")).pipeline
    for part in (loaded.unet, loaded.vae, loaded.text_encoder):
        assert {parameter.dtype for parameter in part.parameters()} == {torch.float32}


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A hub cache that holds the tiny SD 1.x under a name and a revision, as an earlier download would have left it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))

    def put(name, revision="main"):
        held = tmp_path / f"models--{name.replace('/', '--')}"
        (held / "refs").mkdir(parents=True, exist_ok=True)
        (held / "refs" / revision).write_text("0" * 40)
        tiny.folder(held / "snapshots" / ("0" * 40))

    return put


def test_a_hub_model_is_read_offline_from_the_cache_at_its_revision(cached):
    cached("someone/tiny", "v2")
    loaded = models.load("someone/tiny", torch.device("cpu"), revision="v2", offline=True)
    assert _same_weights(loaded.network, tiny.pipeline().unet)
    with pytest.raises(UsageError, match="cannot load it"):
        models.load("someone/tiny", torch.device("cpu"), revision="v3", offline=True)


def test_a_variant_is_read_from_its_own_files(tmp_path):
    tiny.pipeline().save_pretrained(tmp_path, variant="fp16")
    assert list((tmp_path / "unet").glob("*.fp16.safetensors"))
    loaded = models.load(tmp_path, torch.device("cpu"), variant="fp16")
    assert _same_weights(loaded.network, tiny.pipeline().unet)
    with pytest.raises(UsageError, match="cannot load it"):
        models.load(tmp_path, torch.device("cpu"))


def test_a_single_file_checkpoint_is_the_pipeline_it_was_written_from(cached, tmp_path):
    cached(families()["StableDiffusionPipeline"].single_file_parts)
    source = resolve(str(tiny.single_file(tmp_path / "model.safetensors")))
    loaded, expected = models.load(source, torch.device("cpu"), offline=True).pipeline, tiny.pipeline()
    for part in ("unet", "vae", "text_encoder"):
        assert _same_weights(getattr(loaded, part), getattr(expected, part)), part


def test_a_single_file_without_its_configurations_in_the_cache_stays_offline(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="cannot load it"):
        models.load(tiny.single_file(tmp_path / "model.safetensors"), torch.device("cpu"), offline=True)


def _same_weights(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("name", ["model.ckpt", "model.bin", "folder"])
def test_pickled_weights_are_refused_unread_with_the_way_out(tmp_path, name):
    file, trace = tmp_path / name, tmp_path / "trace"
    if name == "folder":
        tiny.folder(file)
        (next((file / "unet").glob("*.safetensors"))).unlink()
        torch.save(Bomb(str(trace)), file / "unet" / "diffusion_pytorch_model.bin")
    else:
        torch.save(Bomb(str(trace)), file)
    with pytest.raises(UsageError, match=r"only safetensors are.*use_safetensors=False"):
        models.load(resolve(str(file)), torch.device("cpu"))
    assert not trace.exists()


def test_code_that_comes_with_a_model_never_runs(tmp_path):
    folder, trace = tiny.folder(tmp_path / "model"), tmp_path / "trace"
    index = json.loads((folder / "model_index.json").read_text())
    index["unet"] = ["mine", "Mine"]
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "unet" / "mine.py").write_text(f"open({str(trace)!r}, 'w')\nclass Mine: pass\n")
    with pytest.raises(UsageError, match="cannot load it"):
        models.load(folder, torch.device("cpu"))
    index["_class_name"] = ["mine", "Mine"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UsageError, match=r"choices: .*StableDiffusionPipeline, .*StableDiffusionXLPipeline"):
        models.load(folder, torch.device("cpu"))
    assert not trace.exists()


def test_a_schedule_without_betas_and_a_distilled_or_editing_unet_are_refused(tmp_path):
    edm = tiny.pipeline_xl()
    edm.register_modules(scheduler=EDMEulerScheduler())
    edm.save_pretrained(tmp_path / "edm")
    with pytest.raises(UsageError, match="EDMEulerScheduler has no beta_schedule"):
        models.load(tmp_path / "edm", torch.device("cpu"))
    distilled = tiny.pipeline()
    distilled.register_modules(unet=tiny._unet(time_cond_proj_dim=8))
    assert "a distilled model" in tiny.family(distilled).problem()
    distilled.register_modules(unet=tiny.pipeline_xl().unet)
    assert "additional embeddings of type 'text_time'" in tiny.family(distilled).problem()


def test_the_command_line_hands_on_where_a_model_is_read_from(monkeypatch, capsys):
    seen = []

    def load(*arguments):
        seen.append(arguments)
        raise UsageError("enough")

    monkeypatch.setattr(models, "load", load)
    flags = ["--variant", "fp16", "--revision", "v2", "--offline", "--device", "cpu"]
    assert unlearn.main(["--model", "someone/tiny", "--target", "a", "--anchor", "b", *flags]) == 2
    assert seen == [("someone/tiny", torch.device("cpu"), "fp16", "v2", True)]
    assert "enough" in capsys.readouterr().err


def test_a_length_is_for_text_encoders_that_have_none_of_their_own(tmp_path):
    model = models.told(tiny.model("pixart"), Config(max_sequence_length=5))
    assert model.encode(["a star"]).prompt_embeds.shape[1] == model.text_length == 5
    assert [limit for _, limit in model.token_limits()] == [5]
    assert models.told(tiny.model("pixart"), Config()).text_length == 120
    with pytest.raises(UsageError, match="StableDiffusionXLPipeline have lengths of their own, 77, 77; leave it out"):
        models.told(tiny.model("sdxl"), Config(max_sequence_length=100))


def test_a_resolution_is_drawn_as_the_pipelines_own_call_draws_it():
    for kind in ("sd1", "sdxl", "pixart", "sd3", "flux", "flux2", "klein", "qwen-image", "z-image"):
        model = models.told(tiny.model(kind), Config(resolution=8))
        embeddings = latents.encode(model, ["a star", ""])
        ours = latents.sample(model, ["a star"], embeddings, Config(sampling_steps=2, guidance_scale=1.0), seed=7)
        assert ours.shape == (1, *model.latent_shape(8))
        own_seed = torch.randint(2**62, (1,), generator=torch.Generator().manual_seed(7)).item()
        generator = torch.Generator().manual_seed(own_seed)
        with few_steps(model.pipeline):
            told = {"num_inference_steps": 2, "guidance_scale": 1.0, "generator": generator}
            theirs = tiny.call(model, "a star", **told)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_resolution_that_a_model_cannot_draw_is_refused():
    for pixels in (12, 24):
        with pytest.raises(
            UsageError, match=rf"--resolution {pixels}: must be a multiple of 8 up to the model's own 16"
        ):
            models.told(tiny.model(), Config(resolution=pixels))
