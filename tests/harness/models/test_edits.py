"""What another tool made of a model is put over it as that tool meant it, and taken off again bit for bit."""

from contextlib import nullcontext

import pytest
import torch
from safetensors.torch import save_file

from harness.config import UsageError
from harness.models.edits import check_other, edit
from harness.models.weights import fingerprint
from tests import tiny

KEY = "mid_block.resnets.0.conv1.weight"


def _state(model):
    return fingerprint(model.network.state_dict())


@pytest.mark.parametrize("prefix", ["", "unet."])
def test_some_of_the_weights_stand_in_their_place_for_a_while(tmp_path, prefix):
    model = tiny.model()
    before, shape = _state(model), model.network.state_dict()[KEY].shape
    save_file({prefix + KEY: torch.ones(shape), "elephant": torch.ones(2)}, tmp_path / "partial.safetensors")
    over, said = edit(model, "--oracle", tmp_path / "partial.safetensors")
    assert str(said) == "1 of 2 tensors fit"
    with over():
        assert (model.network.state_dict()[KEY] == 1).all()
        assert _state(model) != before
    assert _state(model) == before


def test_a_pipelines_denoiser_stands_in_for_the_models_own(tmp_path):
    model, other = tiny.model(), tiny.pipeline()
    with torch.no_grad():
        other.unet.conv_in.bias += 1
    other.save_pretrained(tmp_path / "erased")
    over, _ = edit(model, "erased model:", tmp_path / "erased")
    before = _state(model)
    with over():
        assert fingerprint(model.network.state_dict()) == fingerprint(other.unet.state_dict())
    assert _state(model) == before


def test_a_lora_is_read_by_the_pipelines_own_loader(tmp_path):
    model, place = tiny.model(), "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    width, inner = 16, model.network.state_dict()[f"{place}.weight"].shape[0]
    factors = {f"unet.{place}.lora_A.weight": torch.ones(2, width), f"unet.{place}.lora_B.weight": torch.ones(inner, 2)}
    save_file(factors, tmp_path / "lora.safetensors")
    over, said = edit(model, "erased model:", tmp_path / "lora.safetensors")
    assert str(said) == str(edit(model, "erased model:", tmp_path)[1]) == "a LoRA: 2 of 2 factors fit"
    noisy, steps = torch.ones(1, 4, 8, 8), torch.tensor([5])
    words = torch.linspace(-1, 1, 77 * 16).view(1, 77, 16)  # not all alike, or keys would make no difference
    with torch.no_grad():
        before = model.network(noisy, steps, words).sample
        with over():
            assert not torch.equal(model.network(noisy, steps, words).sample, before)
        assert torch.equal(model.network(noisy, steps, words).sample, before)


def _foreign(tmp_path):
    save_file({"elephant": torch.ones(2)}, tmp_path / "foreign.safetensors")
    return tmp_path / "foreign.safetensors"


def _foreign_lora(tmp_path):
    save_file({"unet.elephant.lora_A.weight": torch.ones(2, 2)}, tmp_path / "foreign.safetensors")
    return tmp_path / "foreign.safetensors"


def _other_family(tmp_path):
    return tiny.folder(tmp_path / "xl", "sdxl")


def _other_size(tmp_path):
    pipeline = tiny.pipeline()
    pipeline.register_modules(unet=tiny._unet(sample_size=16))
    pipeline.save_pretrained(tmp_path / "large")
    return tmp_path / "large"


def _folder_of(*names):
    def make(tmp_path):
        for name in names:
            save_file({"elephant": torch.ones(2)}, tmp_path / name)
        return tmp_path

    return make


def _other_encoder(tmp_path):
    pipeline = tiny.pipeline()
    with torch.no_grad():
        next(iter(pipeline.text_encoder.parameters())).add_(1)
    pipeline.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def _not_finite(tmp_path):
    save_file({KEY: torch.full(tiny.model().network.state_dict()[KEY].shape, torch.nan)}, tmp_path / "nan.safetensors")
    return tmp_path / "nan.safetensors"


def _damaged_index(tmp_path):
    (tiny.folder(tmp_path / "damaged") / "model_index.json").write_text("{")
    return tmp_path / "damaged"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_not_finite, f"{KEY} holds numbers that are not finite"),
        (_damaged_index, "cannot be read as JSON"),
        (lambda folder: tiny.folder(folder / "v", "sd2"), "prediction_type v_prediction, the original's epsilon"),
        (_foreign, "none of its 1 tensors fits this denoiser"),
        (_foreign_lora, "LoRA for this model|none of its 1 tensors fits"),
        (_other_family, "a StableDiffusionXLPipeline, the original is a StableDiffusionPipeline"),
        (_other_size, "its denoiser has sample_size 16, the original's 8"),
        (
            _other_encoder,
            "another text_encoder than the original's; only denoisers are compared, beside the same .* for",
        ),
        (
            _folder_of("a.safetensors", "b.safetensors"),
            "this folder holds 2 .safetensors files, of which none is pytorch",
        ),
        (_folder_of(), "needed is a run folder, .*; this folder holds none"),
        (
            _folder_of("a.safetensors", "pytorch_lora_weights.safetensors"),
            "pytorch_lora_weights.*none of its 1 tensors",
        ),
        (lambda folder: folder / "elephant.bin", "needed is a run folder, a pipeline folder"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, make, message):
    with pytest.raises(UsageError, match=message):
        edit(tiny.model(), "--oracle", make(tmp_path))


def test_an_oracle_that_is_the_original_is_refused(tmp_path):
    model, folder = tiny.model(), tiny.folder(tmp_path / "same")
    same, _ = edit(model, "--oracle", folder)
    with pytest.raises(UsageError, match=r"--oracle .*same: equal to the original model, weight by weight"):
        check_other(model, f"--oracle {folder}", same, {"original": nullcontext})


def test_an_oracle_that_is_the_erased_model_is_refused_whatever_it_was_written_as(tmp_path):
    model, other = tiny.model(), tiny.pipeline()
    with torch.no_grad():
        other.unet.conv_in.bias += 1
    other.save_pretrained(tmp_path / "erased")
    save_file({"unet.conv_in.bias": other.unet.conv_in.bias.data}, tmp_path / "partial.safetensors")
    erased, oracle = (edit(model, "--oracle", tmp_path / name)[0] for name in ("erased", "partial.safetensors"))
    known = {"original": nullcontext, "erased": erased}
    with pytest.raises(UsageError, match=r"^--oracle x: equal to the erased model, weight by weight; name another one"):
        check_other(model, "--oracle x", oracle, known)
    check_other(model, "--oracle x", oracle, {"original": nullcontext})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_pipeline_that_was_saved_in_half_precision_has_the_same_parts(tmp_path, dtype):
    """Its other parts are the original's as they were rounded, so they are not others; its denoiser is its own."""
    model = tiny.model()
    tiny.pipeline().to(dtype).save_pretrained(tmp_path / "half")
    over, said = edit(model, "erased model:", tmp_path / "half")
    assert str(said) == "a pipeline's denoiser"
    with over():
        kept = {each.dtype for each in model.network.state_dict().values()}
        weight = model.network.state_dict()[KEY]
        assert torch.equal(weight, weight.to(dtype).float())
    assert kept == {torch.float32}
    assert not torch.equal(model.network.state_dict()[KEY], weight)
    (tmp_path / "moved").mkdir()
    other = tiny.pipeline()
    with torch.no_grad():
        other.vae.decoder.conv_out.bias += 0.1
    other.to(dtype).save_pretrained(tmp_path / "moved")
    with pytest.raises(UsageError, match="another vae than the original's"):
        edit(model, "erased model:", tmp_path / "moved")
