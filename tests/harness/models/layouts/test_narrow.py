"""Weights stored in bf16: the same bits of every picture, and nothing lost of what was read."""

import pytest
import torch
from safetensors.torch import load_file, save_file

import fdiv
from harness import unlearn
from harness.config import Config
from harness.data.latents import encode, sample
from harness.judging.references import ORACLES, load_oracle
from harness.loss.objective import Losses
from harness.models import load as models
from harness.models.edits import edit
from harness.models.layouts.narrow import LAYERS, Exact, aside, exact, is_narrow, narrow, put, widen
from harness.models.sampler import with_steps
from harness.models.weights import fingerprint, over
from harness.runs.checkpoint import Saved
from harness.train import Trainer
from tests import tiny

PROMPTS = ("a star", "a circle", "a moon")
KEY = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"


def _state(network):
    return {name: each.clone() for name, each in network.state_dict().items()}


def _layers(network):
    """Every weight of a layer but the first of all weights."""
    of_layers = [p for each in network.modules() if isinstance(each, LAYERS) for p in each.parameters(recurse=False)]
    return [weight for weight in of_layers if weight is not next(network.parameters())]


@pytest.mark.parametrize("kind", tiny.EVERY)
def test_layers_alone_are_stored_in_bf16_and_all_comes_back_as_it_was_read_and_laid_out(kind):
    network = tiny.model(kind).network
    before, strides = _state(network), {name: each.stride() for name, each in network.named_parameters()}
    narrow(network)
    assert {id(each) for each in network.parameters() if is_narrow(each)} == {id(each) for each in _layers(network)}
    assert network.dtype == torch.float32  # what a pipeline's call takes for the type of what goes in
    kept = Exact.of(network)
    assert kept.keys() == before.keys()
    assert all(torch.equal(kept[name], each) and kept[name].dtype == each.dtype for name, each in before.items())
    widen(network)
    assert all(torch.equal(each, before[name]) for name, each in network.state_dict().items())
    assert {name: each.stride() for name, each in network.named_parameters()} == strides


@pytest.mark.parametrize("kind", tiny.EVERY)
def test_a_network_samples_the_same_bits_however_it_is_stored(kind):
    model = tiny.model(kind)
    steps = max(2, model.fewest_steps)
    options = Config(precision="bf16", sampling_steps=steps, batch_size=2, cache=False, guidance_scale=3.0)
    embeddings = encode(model, [*PROMPTS, ""])
    expected = sample(model, PROMPTS, embeddings, options, 0, "pt")
    narrow(model.network)
    assert torch.equal(sample(model, PROMPTS, embeddings, options, 0, "pt"), expected)
    assert not torch.equal(sample(model, PROMPTS, embeddings, options, 1, "pt"), expected)


@torch.no_grad()
def test_of_weights_that_bf16_holds_nothing_waits():
    network = tiny.model().network
    for weight in network.parameters():
        weight.copy_(weight.bfloat16())
    before = _state(network)
    narrow(network)
    assert not any(vars(weight).get("exact") is not None for weight in network.parameters())
    assert all(torch.equal(Exact.of(network)[name], each) for name, each in before.items())
    put(network, {KEY: before[KEY] + 1e-4})  # and where it does not hold a new value, that waits
    assert torch.equal(exact(network.get_parameter(KEY)), before[KEY] + 1e-4)
    put(network, {KEY: before[KEY]})
    assert vars(network.get_parameter(KEY))["exact"] is None


def test_what_is_put_over_weights_is_kept_whole_and_goes_without_a_trace():
    model = tiny.model()
    before = _state(model.network)
    changed = {name: before[name] + torch.randn_like(before[name]) / 1024 for name in (KEY, "conv_in.bias")}
    narrow(model.network)
    stored = _state(model.network)
    with over(model, changed):
        state = Exact.of(model.network)
        assert all(torch.equal(state[name], changed.get(name, each)) for name, each in before.items())
        assert torch.equal(model.network.get_parameter(KEY), changed[KEY].bfloat16())
    assert all(torch.equal(each, stored[name]) for name, each in model.network.state_dict().items())
    assert all(torch.equal(Exact.of(model.network)[name], each) for name, each in before.items())


def test_nothing_reaches_the_device_in_fp32_that_is_read_in_bf16(monkeypatch):
    model, seen = tiny.model("flux"), []
    monkeypatch.setattr(type(model.network), "to", lambda network, device: seen.append(_types(network)))
    for precision in ("fp32", "bf16"):
        models.ready(model, torch.device("cpu"), precision)
    assert seen == [{torch.float32}, {torch.bfloat16}]


def _types(network):
    return {weight.dtype for weight in _layers(network)}


def test_while_prompts_are_read_the_narrow_weights_are_not_on_the_device(monkeypatch):
    """A CPU stands for both places, so what is asked to go to it is counted."""
    model, cpu, gone, seen = tiny.model("flux"), torch.Tensor.cpu, [], []
    narrow(model.network)
    before, read = _state(model.network), type(model).encode
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: gone.append(tensor.data_ptr()) or cpu(tensor))
    monkeypatch.setattr(type(model), "encode", lambda *given: seen.extend(gone) or read(*given))
    encode(model, ["a star"])
    assert seen == [weight.data_ptr() for weight in _layers(model.network)]
    assert all(torch.equal(each, before[name]) for name, each in model.network.state_dict().items())


@pytest.mark.gpu
def test_aside_frees_the_gpu_and_comes_back():
    network = models.ready(tiny.model("flux"), torch.device("cuda"), "bf16").network
    before, held = _state(network), torch.cuda.memory_allocated()
    size = sum(weight.numel() * 2 for weight in _layers(network))
    with aside(network):
        assert network.device.type == "cuda"
        assert torch.cuda.memory_allocated() <= held - size
    assert all(torch.equal(each, before[name]) for name, each in network.state_dict().items())


@pytest.mark.gpu
def test_what_bf16_leaves_out_is_still_known_on_a_gpu():
    """It hangs on a parameter, of which a module could make another one when it moves."""
    model = tiny.model("flux")
    before = _state(model.network)
    kept = Exact.of(models.ready(model, torch.device("cuda"), "bf16").network)
    assert all(torch.equal(kept[name].cpu(), each) for name, each in before.items())


def _pipeline(folder):
    other = tiny.pipeline()
    with torch.no_grad():
        other.unet.get_parameter(KEY).mul_(1.01)
    other.save_pretrained(folder)


def _lora(folder):
    out, width = tiny.model().network.get_parameter(KEY).shape
    factors = {"A": torch.full((2, width), 0.01), "B": torch.ones(out, 2)}
    named = {f"unet.{KEY.replace('weight', f'lora_{each}.weight')}": factor for each, factor in factors.items()}
    save_file(named, folder / "lora.safetensors")


def _weights(folder):
    save_file({KEY: tiny.model().network.get_parameter(KEY).detach() * 1.01}, folder / "some.safetensors")


def _oracle(folder):
    _pipeline(folder)
    (folder / ORACLES).mkdir()
    (folder / "unet").rename(folder / ORACLES / "star")


@pytest.mark.parametrize("make", [_pipeline, _lora, _weights, _oracle])
def test_what_others_made_of_a_model_computes_the_same_bits_however_it_is_stored(tmp_path, make):
    make(tmp_path)
    outputs, states = [], []
    for precision in ("fp32", "bf16"):
        model = models.ready(tiny.model(), torch.device("cpu"), precision)
        own = _state(model.network)
        if make is _oracle:
            over = model.replaced(load_oracle(model, tmp_path, "star"))
        else:
            place = next(tmp_path.glob("some*"), tmp_path)
            over = edit(model, "--oracle", place)[0]()
        with over, torch.no_grad(), model.arithmetic("bf16"):
            told = model.encode([PROMPTS[0]])
            outputs.append(model.predict(model.network, torch.ones(1, 4, 8, 8), torch.tensor([5]), told))
            assert all(is_narrow(each) == (precision == "bf16") for each in _layers(model.network))
            state = {name: each for name, each in Exact.of(model.network).items() if ".lora_" not in name}
            states.append(fingerprint(state))
        assert all(torch.equal(each, own[name]) for name, each in model.network.state_dict().items())
    assert torch.equal(*outputs)
    assert states[0] == states[1]


def test_an_oracle_is_laid_out_as_the_model_is_and_so_remains_when_its_sampler_is_asked_for(tmp_path):
    """Of the same numbers laid out otherwise a convolution makes others, and a cache would not know which."""
    _oracle(tmp_path)
    model = tiny.model()
    network = load_oracle(model, tmp_path, "star")

    def strides(network):
        return {name: each.stride() for name, each in network.named_parameters()}

    assert strides(network) == strides(model.network)
    with model.replaced(network):
        with_steps(model, 2)
    assert strides(network) == strides(model.network)


@pytest.mark.parametrize(("kind", "group"), [("flux", "lora"), ("sd1", "full")])
def test_a_training_goes_on_from_a_checkpoint_to_the_same_bits(kind, group):
    model = tiny.model(kind)
    narrow(model.network)
    before, losses = dict(Exact.of(model.network)), Losses.of([fdiv.divergence("kl")], [1.0], "closed_form")
    options = Config(steps=2, batch_size=2, parameter_group=group, precision="bf16", adversary_every=0)
    sampled = tiny.sampled(model)
    trainer = Trainer(model, sampled, losses, options)
    trainer.take_step()
    values, tensors = trainer.saved()
    saved = Saved(dict(values), {name: each.clone() for name, each in tensors.items()})
    trainer.take_step()
    whole = {name: each.clone() for name, each in trainer.denoiser.weights().items()}
    trainer.denoiser.restore()
    assert all(torch.equal(each, before[name]) for name, each in Exact.of(model.network).items())
    trainer = Trainer(model, sampled, losses, options, saved)
    trainer.take_step()
    assert all(torch.equal(each, whole[name]) for name, each in trainer.denoiser.weights().items())
    assert not torch.equal(whole[min(whole)], saved.tensors[f"trained/{min(whole)}"])


RUN = ["--target", "star", "--anchor", "circle", "--steps", "3", "--batch-size", "2", "--latents", "4"]
RUN += ["--sampling-steps", "2", "--learning-rate", "1e-3", "--precision", "bf16", "--no-cache", "--retain-weight", "1"]


@pytest.mark.parametrize("group", ["cross-attention-kv", "full"])
def test_a_run_is_the_same_bit_for_bit_however_its_denoiser_is_stored(judged, tmp_path, monkeypatch, group):
    """Steps against adversaries, the pictures before and after, and what is relearnt afterwards."""
    flags = ["--model", str(judged), *RUN, "--parameter-group", group, "--relearning-steps", "2", "--save-pipeline"]
    assert unlearn.main([*flags, "--output", str(tmp_path / "narrow")]) == 0
    monkeypatch.setattr(models, "narrow", lambda network: None)
    assert unlearn.main([*flags, "--output", str(tmp_path / "wide")]) == 0
    for file in ("unet_delta.safetensors", "metrics.json", "steps.jsonl", "pipeline/original.safetensors"):
        assert (tmp_path / "narrow" / file).read_bytes() == (tmp_path / "wide" / file).read_bytes(), file
    one, other = (
        load_file(tmp_path / name / "pipeline/unet/diffusion_pytorch_model.safetensors") for name in ("narrow", "wide")
    )
    assert all(torch.equal(one[name], other[name]) for name in other)
