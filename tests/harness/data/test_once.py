"""Samples from the cache: equal to the last bit to those that would be made, and known by all that determines them."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler

from harness.config import Config
from harness.data import once
from harness.data.latents import encode, sample
from harness.data.once import about, finish_once, key_of, sample_once
from harness.models.layouts.narrow import exact, narrow, put
from harness.runs import cache, processes
from tests import tiny

PROMPTS = ("a star", "a circle")
OPTIONS = Config(sampling_steps=2, batch_size=1)
HARNESS = Path(once.__file__).parents[1]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The folder of a cache of this test's own."""
    monkeypatch.setenv("FDIV_CACHE", str(tmp_path))
    return tmp_path / "samples"


@pytest.fixture
def model():
    return tiny.model()


@pytest.fixture
def embeddings(model):
    return encode(model, [*PROMPTS, "a moon", ""])


@pytest.mark.parametrize("kind", tiny.PIPELINES)
@pytest.mark.parametrize("output", ["latent", "pt"])
def test_a_hit_is_bit_for_bit_what_sampling_gives(kind, output, monkeypatch):
    model = tiny.model(kind)
    embeddings = encode(model, [*PROMPTS, ""])
    fresh = sample(model, PROMPTS, embeddings, OPTIONS, 7, output)
    first = sample_once(model, PROMPTS, embeddings, OPTIONS, 7, output)
    monkeypatch.setattr(once, "sample", lambda *_: pytest.fail("sampled again"))
    again = sample_once(model, PROMPTS, embeddings, OPTIONS, 7, output)
    assert fresh.numpy().tobytes() == first.numpy().tobytes() == again.numpy().tobytes()
    assert (again.dtype, again.shape, again.device) == (fresh.dtype, fresh.shape, fresh.device)


def test_damaged_samples_are_made_again(model, embeddings, place):
    fresh = sample_once(model, PROMPTS, embeddings, OPTIONS, 7)
    (path,) = place.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert torch.equal(sample_once(model, PROMPTS, embeddings, OPTIONS, 7), fresh)
    assert torch.equal(sample_once(model, PROMPTS, embeddings, OPTIONS, 7), fresh)
    assert list(place.iterdir()) == [path]


def test_without_the_cache_nothing_is_read_or_written(model, embeddings, place, monkeypatch):
    for module in (cache, once):
        monkeypatch.setattr(module, "load" if module is cache else "about", lambda *_: pytest.fail("asked for"))
    sample_once(model, PROMPTS, embeddings, replace(OPTIONS, cache=False), 7)
    monkeypatch.setenv("FDIV_CACHE", "")
    sample_once(model, PROMPTS, embeddings, OPTIONS, 7)
    assert not place.exists()


def _change_weight(network):
    with torch.no_grad():
        next(network.parameters())[0] += 1


def _change_schedule(model):
    betas = tiny.BETAS | {"beta_end": 0.013}
    model.pipeline.scheduler = DDIMScheduler(**betas, clip_sample=False, set_alpha_to_one=False)


CHANGED_MODELS = {
    "denoiser": lambda model: _change_weight(model.network),
    "denoiser's precision": lambda model: model.network.to(torch.bfloat16),
    "denoiser's configuration": lambda model: model.network.register_to_config(attention_head_dim=4),
    "decoder": lambda model: _change_weight(model.pipeline.vae),
    "decoder's configuration": lambda model: model.pipeline.vae.register_to_config(scaling_factor=0.2),
    "schedule": _change_schedule,
}


def _key(model, embeddings, prompts=PROMPTS, options=OPTIONS, seed=7, output="latent"):
    return key_of(about(model, prompts, embeddings, options, seed, output))


@pytest.mark.parametrize("part", CHANGED_MODELS)
def test_another_model_has_another_key(model, embeddings, part):
    before = _key(model, embeddings)
    CHANGED_MODELS[part](model)
    assert _key(model, embeddings) != before


def test_another_denoiser_in_the_models_place_has_another_key(model, embeddings):
    before = _key(model, embeddings)
    oracle = tiny._unet()
    with model.replaced(oracle):
        assert _key(model, embeddings) != before
    assert _key(model, embeddings) == before


def test_what_bf16_leaves_out_of_a_weight_has_another_key(model, embeddings):
    """Pictures are the same then, but not what an attack makes that trains."""
    options = replace(OPTIONS, precision="bf16")
    narrow(model.network)
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    weight = model.network.get_parameter(name)
    before, stored = _key(model, embeddings, options=options), weight.detach().clone()
    assert not torch.equal(exact(weight), stored.float())
    put(model.network, {name: stored.float()})
    assert torch.equal(weight, stored)
    assert _key(model, embeddings, options=options) != before


def test_a_distilled_pipeline_of_the_same_networks_has_another_key():
    model = tiny.model("klein")
    embeddings = encode(model, [*PROMPTS, ""])
    before = _key(model, embeddings)
    model.pipeline.register_to_config(is_distilled=not model.pipeline.config.is_distilled)
    assert _key(model, embeddings) != before


def test_other_prompts_seeds_and_options_have_other_keys(model, embeddings):
    asked = [
        {}, {"prompts": PROMPTS[::-1]}, {"prompts": PROMPTS[:1]}, {"prompts": ("a star", "a moon")}, {"seed": 8},
        {"output": "pt"}, *({"options": replace(OPTIONS, **{name: value})} for name, value in {
            "sampling_steps": 3, "guidance_scale": 2.0, "precision": "bf16", "batch_size": 2,
        }.items()),
    ]  # fmt: skip
    assert {
        name
        for each in asked[6:]
        for name in vars(each["options"])
        if vars(each["options"])[name] != vars(OPTIONS)[name]
    } == set(once.OPTIONS)
    assert len({_key(model, embeddings, **each) for each in asked}) == len(asked)
    moved = embeddings | {"": embeddings["a moon"]}
    assert _key(model, moved) != _key(model, embeddings)


def test_pictures_finished_from_elsewhere_otherwise_or_with_other_prompts_have_other_keys(model, embeddings, place):
    clean = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def finished(clean=clean, fraction=0.8, prompts=PROMPTS, options=OPTIONS, seed=7):
        return finish_once(model, clean, fraction, prompts, embeddings, options, seed)

    first = finished()
    assert torch.equal(finished(), first)
    assert len(list(place.iterdir())) == 1
    asked = [{"clean": clean + 1}, {"clean": clean.flip(0)}, {"fraction": 0.5}, {"prompts": PROMPTS[::-1]}, {"seed": 8},
             {"options": replace(OPTIONS, guidance_scale=2.0)}]  # fmt: skip
    for count, each in enumerate(asked, start=2):
        assert not torch.equal(finished(**each), first)
        assert len(list(place.iterdir())) == count
    sample_once(model, PROMPTS, embeddings, OPTIONS, 7)
    assert len(list(place.iterdir())) == len(asked) + 2
    _change_weight(model.network)
    assert not torch.equal(finished(), first)


def test_what_changes_no_sample_changes_no_key(model, embeddings):
    others = replace(OPTIONS, steps=3, learning_rate=0.1, divergence="kl", seed=9, target="moon", cache=False)
    assert _key(model, embeddings, options=others) == _key(model, embeddings)
    assert _key(tiny.model(), embeddings) == _key(model, embeddings)


COMPUTERS = {
    "threads": (torch, "get_num_threads", lambda: 99),
    "processes": (processes, "count", lambda: 2),
    "processor": (once, "_processor", lambda: "another"),
    "instructions": (torch.backends.cpu, "get_cpu_capability", lambda: "another"),
    "versions": (once.metadata, "version", lambda name: "9"),
    "sources": (once, "sources", lambda: "another"),
}


@pytest.mark.parametrize("what", COMPUTERS)
def test_whatever_else_computes_has_another_key(model, embeddings, monkeypatch, what):
    before = _key(model, embeddings)
    monkeypatch.setattr(*COMPUTERS[what])
    assert _key(model, embeddings) != before


def _imported(file):
    """The harness's parts that a file imports, of its own package too."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [f"{node.module}.{each.name}" if node.module == "harness" else node.module for each in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("harness."))


def test_the_sources_that_the_key_knows_import_none_that_it_does_not():
    files = [file for part in once.SAMPLING for file in (*HARNESS.glob(f"{part}.py"), *HARNESS.glob(f"{part}/**/*.py"))]
    assert len(files) > 50
    assert {part for file in files for part in _imported(file)} <= {*once.SAMPLING}
    assert {*_imported(HARNESS / "train.py")} - {*once.SAMPLING} == {"loss", "show"}  # which are left out
