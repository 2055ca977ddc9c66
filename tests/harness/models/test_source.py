"""What is no model to erase from: one line that says why, and what to do."""

import json

import diffusers
import pytest
import torch
from safetensors.torch import save_file

from harness.config import UsageError
from harness.models import load as models
from harness.models.family import families
from harness.models.source import OTHER_PIPELINES, resolve, why_not
from tests import tiny


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("StableDiffusion3ControlNetPipeline", "a picture that says where things are; name the model that it steers"),
        ("FluxControlPipeline", "a picture that says where things are"),
        ("FluxFillPipeline", "it takes a picture besides the prompt; name a text-to-image model"),
        ("FluxKontextPipeline", "it takes a picture besides the prompt"),
        ("StableDiffusion3InpaintPipeline", "it takes a picture besides the prompt"),
        ("SanaVideoPipeline", "it makes videos; name a text-to-image model"),
        ("SanaSprintPipeline", "it is distilled to a few steps of a kind of their own; name the model"),
        ("StableDiffusion3PAGPipeline", "another use of a text-to-image pipeline's parts"),
        ("QwenImageEditPipeline", "it takes a picture besides the prompt"),
        ("QwenImageEditPlusPipeline", "it takes a picture besides the prompt"),
        ("QwenImageInpaintPipeline", "it takes a picture besides the prompt"),
        ("QwenImageControlNetPipeline", "a picture that says where things are"),
        ("QwenImageLayeredPipeline", "it draws the layers of a picture"),
        ("QwenImageImg2ImgPipeline", "another use of a text-to-image pipeline's parts"),
        ("ZImageOmniPipeline", "it takes a picture besides the prompt"),
        ("ZImageInpaintPipeline", "it takes a picture besides the prompt"),
        ("ZImageControlNetPipeline", "a picture that says where things are"),
        ("Flux2KleinInpaintPipeline", "it takes a picture besides the prompt"),
        ("Flux2KleinKVPipeline", "it takes a picture besides the prompt"),
        ("ChromaPipeline", "its family has no file in harness/models/families yet"),
    ],
)
def test_another_kind_of_pipeline_is_told_why_it_is_none_and_what_to_name(tmp_path, kind, why):
    assert hasattr(diffusers, kind)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    with pytest.raises(UsageError, match=f"a {kind}: .*{why}.*; choices: .*StableDiffusionPipeline") as caught:
        models.load(tmp_path, torch.device("cpu"))
    assert "\n" not in str(caught.value)


def test_no_reason_is_given_against_a_family_that_is_loaded():
    assert all(not why_not(kind) for kind in families())
    assert len(OTHER_PIPELINES) == len({why_not(kind) for kind in dir(diffusers) if kind.endswith("Pipeline")} - {""})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "of FLUX.1, .*FluxPipeline.from_single_file"),
        ("double_stream_modulation_img.lin.weight", "the denoiser of FLUX.2, .*from_single_file.*save_pretrained"),
        ("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "of Stable Diffusion 3, .*from_single_file"),
        ("conditioner.embedders.1.model.ln_final.weight", "of Stable Diffusion XL, .*from_single_file"),
        ("blocks.0.cross_attn.kv_linear.weight", "of PixArt or SANA, which is read as a folder alone"),
        ("transformer_blocks.0.txt_mod.1.weight", "the denoiser of Qwen-Image, .*from_single_file.*save_pretrained"),
        ("transformer_blocks.0.txt_mod.1.lora_down.weight", "a LoRA, which is no model"),
        ("context_refiner.0.attention.qkv.weight", "the denoiser of Z-Image, .*from_single_file.*save_pretrained"),
        ("control_model.input_hint_block.0.bias", "a ControlNet; name the model that it steers"),
        ("lora_unet_mid_block.lora_down.weight", "a LoRA, which is no model"),
    ],
)
def test_a_single_file_of_something_else_is_told_what_it_is_and_what_to_do(tmp_path, name, said):
    save_file({name: torch.zeros(1)}, tmp_path / "one.safetensors")
    with pytest.raises(UsageError, match=said):
        resolve(str(tmp_path / "one.safetensors"))


def test_quantised_weights_are_refused_in_a_file_and_in_a_folder(tmp_path):
    save_file({"weight": torch.zeros(1).to(torch.float8_e4m3fn)}, tmp_path / "eight.safetensors")
    save_file({"weight.absmax": torch.zeros(1)}, tmp_path / "four.safetensors")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    folder = tiny.folder(tmp_path / "folder", "pixart")
    file = folder / "transformer" / "config.json"
    file.write_text(
        json.dumps(json.loads(file.read_text()) | {"quantization_config": {"quant_method": "bitsandbytes"}})
    )
    for place in ("eight.safetensors", "four.safetensors", "model.gguf", "folder"):
        with pytest.raises(UsageError, match=r"weights are quantised, .*; name the checkpoint that it was made from"):
            resolve(str(tmp_path / place))


def test_a_pipeline_in_memory_that_is_quantised_is_refused():
    model = tiny.model("sd3")
    model.network.register_to_config(quantization_config={"quant_method": "bitsandbytes"})
    with pytest.raises(UsageError, match="it: its weights are quantised"):
        models.placed(model, "it", torch.device("cpu"))
