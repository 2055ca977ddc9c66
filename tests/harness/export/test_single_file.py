"""The erased model as one file in the original layout, read by diffusers and key by key."""

import json
import re

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import infer_diffusers_model_type
from safetensors.torch import load_file

from harness.export.__main__ import main as export
from harness.models import load as models
from harness.models.edits import edit
from harness.models.layouts.original import unet_names
from tests import readers, tiny

FILE = "without-a-star.safetensors"


def _by_key(pipeline):
    """Every weight by the key that the published rules give it."""
    parts = {
        "model.diffusion_model.": readers.unet(pipeline.unet),
        "first_stage_model.": readers.autoencoder(pipeline.vae),
    }
    text = {name.removeprefix("text_model."): each for name, each in pipeline.text_encoder.named_parameters()}
    if hasattr(pipeline, "text_encoder_2"):
        parts["conditioner.embedders.0.transformer.text_model."] = text
        parts["conditioner.embedders.1.model."] = readers.open_clip(pipeline.text_encoder_2)
    elif pipeline.text_encoder.config.hidden_act == "gelu":
        parts["cond_stage_model.model."] = readers.open_clip(pipeline.text_encoder)
    else:
        parts["cond_stage_model.transformer.text_model."] = text
    return {prefix + name: each for prefix, part in parts.items() for name, each in part.items()}


@pytest.mark.parametrize("kind", tiny.UNETS)
def test_it_holds_every_weight_and_draws_the_same_in_diffusers(runs, call, kind, tmp_path):
    source, run = runs(kind)
    code, folder, printed = call(run, "--format", "single-file")
    assert code == 0
    expected = readers.pipeline(source)
    expected.unet.load_state_dict(load_file(run / "unet_delta.safetensors"), strict=False)
    stored, by_key = load_file(folder / FILE), _by_key(expected)
    assert stored.keys() == by_key.keys()
    assert all(torch.equal(tensor, by_key[name]) for name, tensor in stored.items())
    assert re.search(r"a single-file: (\d+) of \1 tensors fit", printed.out)
    opened = type(expected).from_single_file(str(folder / FILE), config=str(folder / "without-a-star"))
    assert torch.equal(readers.sample(opened, "pt"), readers.sample(expected, "pt"))
    model = models.load(folder / FILE, torch.device("cpu"))
    torch.testing.assert_close(readers.sample(model.pipeline), readers.sample(expected), rtol=1e-4, atol=1e-4)

    _, fit = edit(models.load(source, torch.device("cpu")), "erased model:", folder / FILE)
    names = expected.unet.state_dict()
    assert str(fit) == f"a checkpoint's denoiser, nothing else of it: {len(names)} of {len(names)} tensors fit"


@pytest.mark.parametrize(("kind", "dtype", "most"), [("sd2", "fp16", 0.05), ("sdxl", "bf16", 0.5)])
def test_it_is_written_in_a_narrow_type(runs, call, kind, dtype, most):
    code, folder, printed = call(runs(kind)[1], "--format", "single-file", "--dtype", dtype)
    assert code == 0
    assert {str(each.dtype) for each in load_file(folder / FILE).values()} == {
        {"fp16": "torch.float16", "bf16": "torch.bfloat16"}[dtype]
    }
    assert 0 < float(re.search(r"by\s+at\s+most ([\d.e+-]+) \(latents\);", printed.out)[1]) < most


def test_no_place_of_this_machine_is_in_anything_that_is_shared(runs, call):
    source, run = runs("sd1", "lora", "--save-pipeline")
    code, single, _ = call(run, "--format", "single-file", output="single")
    assert code == 0
    _, pipeline, _ = call(run, "--format", "pipeline", output="pipeline")
    for folder in (single, pipeline, run / "pipeline"):
        assert "sd1 without" in (folder / "README.md").read_text()
        for file in folder.rglob("*"):
            assert not file.is_file() or str(source.parent).encode() not in file.read_bytes(), file
    assert export([str(pipeline), "--undo"]) == 0
    for file in pipeline.rglob("*.json"):
        assert "_name_or_path" not in json.loads(file.read_text()), file


FULL = {
    "v1": {"cross_attention_dim": 768},
    "v2": {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True},
    "xl_base": {
        "block_out_channels": (320, 640, 1280), "attention_head_dim": (5, 10, 20), "use_linear_projection": True,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), "cross_attention_dim": 2048,
        "transformer_layers_per_block": (1, 2, 10), "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
    },
}  # fmt: skip


@pytest.mark.parametrize(("kind", "count"), [("v1", 686), ("v2", 686), ("xl_base", 1680)])
def test_of_full_size_the_keys_are_those_of_the_published_checkpoints(kind, count):
    with init_empty_weights():
        network = UNet2DConditionModel(**FULL[kind])
    names = unet_names(network)
    keys = {f"model.diffusion_model.{names[name]}": each for name, each in network.state_dict().items()}
    assert len(keys) == count
    assert {names[name] for name in network.state_dict()} == readers.unet(network).keys()
    if kind != "xl_base":  # which diffusers knows by its text encoder
        assert infer_diffusers_model_type(keys) == kind
        assert keys["model.diffusion_model.output_blocks.11.1.proj_out.weight"].shape[0] == 320
    else:
        place = "model.diffusion_model.middle_block.1.transformer_blocks.9.attn2.to_k.weight"
        assert keys[place].shape == (1280, 2048)
        assert keys["model.diffusion_model.label_emb.0.0.weight"].shape == (1280, 2816)
