"""The embedded models: shipped weights, their quality, and the builder."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

import harness
from harness.config import EMBEDDED, WEIGHTS, Config
from harness.judging.references import load_oracle
from harness.miniature import build, judge, parts, sd3, training, unet, world
from harness.miniature.__main__ import main
from harness.miniature.recipe import JUDGE
from harness.models.family import families
from harness.models.load import load, told
from harness.plan import Plan

TINY = {"judge_steps": 2, "text_steps": 2, "autoencoder_steps": 2, "denoiser_steps": 2, "pictures": 100}
TINY |= {"renders": 200, "samples": 4}


@pytest.fixture(scope="module", params=EMBEDDED)
def shipped(request):
    """The folder of an embedded miniature, and its model as a run has it."""
    plan = Plan.of(Config(model=request.param))
    return plan.folder, told(load(plan.source, torch.device("cpu")), plan.options)


def test_they_are_genuine_pipelines_that_diffusers_loads_unchanged():
    unet, flow = (families()[name].pipeline_class for name in ("StableDiffusionPipeline", "StableDiffusion3Pipeline"))
    pipeline = unet.from_pretrained(WEIGHTS)
    assert isinstance(pipeline.tokenizer, CLIPTokenizer)
    assert isinstance(pipeline.text_encoder, CLIPTextModel)
    assert isinstance(pipeline.vae, AutoencoderKL)
    assert isinstance(pipeline.unet, UNet2DConditionModel)
    assert isinstance(pipeline.scheduler, DDIMScheduler)
    assert pipeline.vae.config.latent_channels == 4
    assert pipeline.vae_scale_factor == 8
    assert any(name.endswith("attn2.to_k.weight") for name in pipeline.unet.state_dict())
    pipeline = flow.from_pretrained(EMBEDDED["miniature-flow"], text_encoder_3=None, tokenizer_3=None)
    assert isinstance(pipeline.transformer, SD3Transformer2DModel)
    assert isinstance(pipeline.scheduler, FlowMatchEulerDiscreteScheduler)


@pytest.mark.parametrize(("name", "most"), [("miniature", 24), ("miniature-flow", 16)])
def test_weights_are_safetensors_of_so_many_mebibytes_at_most_with_the_oracles(name, most):
    files = [file for file in EMBEDDED[name].rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= most * 2**20
    assert {file.suffix for file in files} <= {".json", ".safetensors", ".txt"}


def test_an_installed_package_finds_its_weights_from_anywhere(tmp_path):
    code = "from harness.config import EMBEDDED; print([(w / 'oracle/star').is_dir() for w in EMBEDDED.values()])"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    if "No module named 'harness'" in done.stderr:
        pytest.skip("the package is not installed, only run from its folder")
    assert done.stdout == "[True, True]\n", done.stderr


@pytest.mark.parametrize("folder", EMBEDDED.values(), ids=EMBEDDED)
def test_the_recorded_quality_is_what_must_be_reached_before_shipping(folder):
    quality = json.loads((folder / "quality.json").read_text())
    assert min(quality["samples"].values()) >= 0.95
    assert min(quality["judge_on_renders"].values()) >= 0.995


def test_the_judge_is_right_on_held_out_renders():
    shares = judge.held_out_accuracy(judge.load(WEIGHTS / JUDGE), seed=99, count=1_000)
    assert set(shares) == set(world.AXES)
    assert min(shares.values()) >= 0.995
    judges = [load_file(folder / JUDGE) for folder in EMBEDDED.values()]
    assert all(torch.equal(judges[0][name], judges[1][name]) for name in judges[0])


def test_guided_samples_show_what_the_prompt_names(shipped):
    assert min(_accuracy(*shipped, seed=7, samples=48).values()) >= 0.9


@pytest.mark.slow
def test_960_guided_samples_reach_the_recorded_quality(shipped):
    assert min(_accuracy(*shipped, seed=1).values()) >= 0.95


def _accuracy(folder, model, **options):
    kind = "sd3" if model.component == sd3.COMPONENT else "unet"
    options = build.Build(output=folder, denoiser=kind, **options)
    return build.sample_accuracy(model.pipeline, judge.load(folder / JUDGE), options)


def test_the_oracle_fits_the_pipeline_and_never_draws_a_star(shipped):
    folder, model = shipped
    original = model.network
    with model.replaced(load_oracle(model, folder, "star")):
        assert model.network is not original
        prompts = [f"a {colour} star in plain style" for colour in world.AXES["colour"]] * 4
        generator = torch.Generator().manual_seed(0)
        given = {"max_sequence_length": model.text_length} if model.text_length else {}
        pictures = model.pipeline(
            prompts, num_inference_steps=20, guidance_scale=3.0, output_type="pt", generator=generator, **given
        )
    assert model.network is original
    shapes = judge.load(WEIGHTS / JUDGE).values(pictures.images)["shape"]
    assert shapes.count("star") <= 0.1 * len(shapes)
    assert load_oracle(model, folder, "moon") is None
    assert load_oracle(model, None, "star") is None


def _places(folder):
    """What in a folder's files names a folder of some machine; weights say it in their header, if anywhere."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    texts = {file: file.read_text() for file in files if file.suffix in (".json", ".txt")}
    for file in (file for file in files if file.suffix == ".safetensors"):
        with safe_open(file, "pt") as weights:
            texts[file] = json.dumps(weights.metadata())
    return [file for file, text in texts.items() if re.search(r"""_name_or_path|["'](/[\w.-]+){2}|[A-Z]:\\""", text)]


def test_no_shipped_or_built_file_names_a_folder_of_the_machine_that_made_it(built, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"_name": str(tmp_path)}))
    assert _places(tmp_path) == [tmp_path / "config.json"]
    assert _places(Path(harness.__file__).parent) == []
    assert _places(built[0]) == []


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    return folder, build.build(build.Build(output=folder, **TINY))


def test_the_builder_trains_every_part_and_measures_it(built):
    folder, quality = built
    assert set(quality) == {"judge_on_renders", "samples"}
    assert StableDiffusionPipeline.from_pretrained(folder).unet is not None
    for part in ("vocabulary.json", "quality.json", "judge/judge.safetensors"):
        assert (folder / part).is_file()


def test_an_interrupted_build_keeps_the_parts_that_stand_and_ends_as_any_with_its_seed(built, tmp_path, monkeypatch):
    folder, _ = built
    with monkeypatch.context() as patched:
        patched.setattr(unet, "train", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build.build(build.Build(output=tmp_path, **TINY))
    for part in ("train_autoencoder", "train_text_encoder", "train_tokenizer"):
        monkeypatch.setattr(parts, part, lambda *_, part=part: pytest.fail(f"{part} ran again"))
    monkeypatch.setattr(judge, "train", lambda *_: pytest.fail("the judge was trained again"))
    build.build(build.Build(output=tmp_path, **TINY))
    files = sorted(folder.rglob("*.safetensors"))
    assert {file.parent.name for file in files} == {"judge", "text_encoder", "vae", "unet"}
    for file in files:
        again = load_file(tmp_path / file.relative_to(folder))
        assert all(torch.equal(tensor, again[name]) for name, tensor in load_file(file).items()), file


def test_an_oracle_is_built_around_another_miniatures_encoders(built, tmp_path):
    folder, _ = built
    build.build(build.Build(output=tmp_path, without=("star",), encoders=folder, **TINY))
    for part in ("vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        ours, theirs = load_file(tmp_path / part), load_file(folder / part)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    ours, theirs = (load_file(at / "unet" / "diffusion_pytorch_model.safetensors") for at in (tmp_path, folder))
    assert any(not torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.fixture(scope="module")
def flow(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow")
    return folder, build.build(build.Build(output=folder, denoiser="sd3", encoders=built[0], **TINY))


def test_the_flow_miniature_is_a_genuine_stable_diffusion_3_around_the_same_encoders(built, flow):
    folder, quality = flow
    assert set(quality["samples"]) == set(world.AXES)
    assert (folder / JUDGE).read_bytes() == (built[0] / JUDGE).read_bytes()
    pipeline = StableDiffusion3Pipeline.from_pretrained(folder, text_encoder_3=None, tokenizer_3=None)
    assert isinstance(pipeline.transformer, SD3Transformer2DModel)
    theirs = CLIPTextModel.from_pretrained(built[0] / "text_encoder").state_dict()
    for encoder in (pipeline.text_encoder, pipeline.text_encoder_2):
        assert torch.equal(encoder.text_projection.weight, torch.eye(64))
        ours = {name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}
        assert all(torch.equal(ours[name.removeprefix("text_model.")], tensor) for name, tensor in theirs.items())
    assert _places(folder) == []


def test_a_run_reads_as_many_tokens_of_a_missing_t5_as_the_flow_miniature_was_trained_with(flow):
    plan = Plan.of(Config(model=str(flow[0])))
    assert plan.options.max_sequence_length == sd3.CALL["max_sequence_length"] == 1
    assert Plan.of(replace(plan.options, max_sequence_length=5)).options.max_sequence_length == 5


def test_a_denoisers_training_that_is_interrupted_goes_on_bit_for_bit(built, flow, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "KEEP_EVERY", 1)
    options = build.Build(output=tmp_path, denoiser="sd3", encoders=built[0], **TINY)
    with monkeypatch.context() as patched:
        drawn = []

        def once(*arguments):
            drawn.append(None)
            return batch(*arguments) if len(drawn) == 1 else (_ for _ in ()).throw(KeyboardInterrupt)

        batch = sd3.batch
        patched.setattr(sd3, "batch", once)
        with pytest.raises(KeyboardInterrupt):
            build.build(options)
    assert (tmp_path / "transformer.resume").is_file()
    build.build(options)
    assert not (tmp_path / "transformer.resume").exists()
    file = "transformer/diffusion_pytorch_model.safetensors"
    ours, whole = load_file(tmp_path / file), load_file(flow[0] / file)
    assert all(torch.equal(ours[name], whole[name]) for name in whole)


def test_an_unknown_concept_to_leave_out_is_refused_with_the_choices(tmp_path, capsys):
    assert main(["build", "--output", str(tmp_path / "x"), "--without", "elephant"]) == 2
    assert "--without 'elephant': choices: circle, square" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--without", *world.AXES["shape"]], "--without: leaves no shape to draw"),
        (["--device", "cuda:99"], "--device cuda:99: torch sees"),
        (["--encoders", "/no/such/folder"], "no miniature there"),
    ],
    ids=["axis", "device", "encoders"],
)
def test_a_build_that_cannot_work_is_refused_before_it_starts(tmp_path, capsys, flags, message):
    assert main(["build", "--output", str(tmp_path / "x"), *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_parts_that_other_options_built_are_not_reused(built, capsys):
    folder, _ = built
    assert main(["build", "--output", str(folder), "--without", "star"]) == 2
    assert re.search(r"built with another --without .*--denoiser-steps", capsys.readouterr().err)
