"""Parameter groups, and the frozen prediction without a second network."""

import copy
import re

import pytest
import torch

from harness.models.denoiser import Denoiser
from harness.models.layouts.narrow import Exact, narrow, widen
from harness.models.load import restrain_cudnn
from tests import tiny


def _groups():
    """Every family with every group it has."""
    kinds = [*tiny.PIPELINES, "sd35"]
    return [(kind, group) for kind in kinds for group in tiny.model(kind).parameter_groups]


@torch.no_grad()
def _inputs(model=None, n=3):
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(n, *(model or tiny.model()).latent_shape(16), generator=generator)
    conditioning = (model or tiny.model()).encode(["a star", "a red circle", "a moon"])
    return noisy, torch.tensor([1, 500, 999]), conditioning


def _stored(model, precision):
    """The model as a run in that precision has it."""
    if precision == "bf16":
        narrow(model.network)
    return model


def _disturb(denoiser):
    with torch.no_grad():
        for parameter in denoiser.trained.values():
            parameter.add_(torch.randn_like(parameter))


@pytest.mark.parametrize(("kind", "group"), _groups())
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_frozen_prediction_equals_a_second_networks_to_the_last_bit(kind, group, precision):
    model = tiny.model(kind)
    second = copy.deepcopy(model.network).eval().requires_grad_(False)  # torch picks CPU kernels by it
    denoiser = Denoiser(_stored(model, precision), group, precision)
    inputs = _inputs(model)
    _disturb(denoiser)
    frozen = denoiser.frozen_denoiser(*inputs)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        expected = model.predict(second, *inputs).float()
        assert torch.equal(frozen, expected)
        assert not torch.equal(denoiser(*inputs), expected)
    denoiser.restore()
    restored, original = Exact.of(model.network), second.state_dict()
    assert restored.keys() == original.keys()
    assert all(torch.equal(restored[name], original[name]) for name in original)


@pytest.mark.parametrize(("kind", "group"), _groups())
def test_a_parameter_group_trains_its_own_weights_alone(kind, group):
    model = tiny.model(kind)
    denoiser = Denoiser(model, group)
    denoiser.frozen_denoiser(*_inputs(model))
    denoiser(*_inputs(model)).square().mean().backward()
    with_gradient = _with_gradient(model.network)
    assert with_gradient == set(denoiser.trained)
    effective = _effective(kind)
    if group == "cross-attention-kv":
        places = {name for name, _ in model.network.named_modules() if re.search(tiny.READS_TEXT[kind], name)}
        assert {name.rpartition(".")[0] for name in with_gradient} == places
        assert places
    if group == "attention":
        assert with_gradient == {name for name in effective if re.search(r"\.att(n\d?|ention)\.", name)}
    if group == "full":
        assert with_gradient == effective
    if group == "lora":
        ends = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
        ends += ("to_qkv_mlp_proj", "attn.to_out")  # of FLUX.2
        layers = [name for name in effective if name.removesuffix(".weight").endswith(ends)]
        assert len(with_gradient) == 2 * len(layers)


def _with_gradient(network):
    return {name for name, parameter in network.named_parameters() if parameter.grad is not None}


def _effective(kind):
    """The names of all weights that an output depends on: the last block of some families has others too."""
    model = tiny.model(kind)
    model.predict(model.network, *_inputs(model)).square().mean().backward()
    return _with_gradient(model.network)


def test_the_groups_grow_from_keys_and_values_to_everything():
    sizes = [
        len(tiny.model().parameters_of(group))
        for group in ("cross-attention-kv", "cross-attention", "attention", "full")
    ]
    assert sizes == sorted(set(sizes))


def test_adapters_have_the_rank_asked_for_and_start_as_no_change():
    model = tiny.model()
    before = model.predict(model.network, *_inputs(model))
    denoiser = Denoiser(model, "lora", rank=3)
    assert {min(parameter.shape) for parameter in denoiser.trained.values()} == {3}
    assert torch.equal(denoiser(*_inputs(model)), before)


@pytest.mark.parametrize("group", ["cross-attention-kv", "lora", "full"])
def test_what_trains_is_fp32_and_starts_from_the_weights_as_they_were_read(group):
    """So a bf16 run's steps are taken from what no rounding has touched, and are not rounded away."""
    model = tiny.model()
    before = {name: each.clone() for name, each in model.network.state_dict().items()}
    narrow(model.network)
    types = {name: each.dtype for name, each in model.network.named_parameters()}
    denoiser = Denoiser(model, group, "bf16")
    assert {each.dtype for each in denoiser.trained.values()} == {torch.float32}
    left = {name: p for name, p in model.network.named_parameters() if name not in denoiser.trained}
    assert all(each.dtype == types[name.replace(".base_layer.", ".")] for name, each in left.items())
    assert all(torch.equal(each, before[name]) for name, each in denoiser.frozen.items())
    if group != "lora":
        assert all(torch.equal(each, before[name]) for name, each in denoiser.trained.items())
    _disturb(denoiser)
    denoiser.restore()
    assert {name: each.dtype for name, each in model.network.named_parameters()} == types
    widen(model.network)
    assert all(torch.equal(each, before[name]) for name, each in model.network.state_dict().items())


def test_only_the_groups_own_tensors_are_kept_twice():
    model = tiny.model()
    own = {parameter.data_ptr() for parameter in model.network.parameters()}
    assert {tensor.data_ptr() for tensor in Denoiser(model, "lora").frozen.values()} <= own
    denoiser = Denoiser(tiny.model(), "cross-attention-kv")
    assert denoiser.frozen.keys() == denoiser.trained.keys()


@pytest.mark.parametrize("kind", tiny.PIPELINES)
def test_activations_computed_again_change_no_gradient_and_restoring_ends_it(kind):
    gradients = {}
    for again in (False, True):
        model = tiny.model(kind)
        denoiser = Denoiser(model, "cross-attention-kv", checkpointing=again)
        error = denoiser(*_inputs(model)).square().mean()
        gradients[again] = torch.autograd.grad(error, list(denoiser.trained.values()))
        assert model.network.is_gradient_checkpointing == again
        denoiser.restore()
        assert not model.network.is_gradient_checkpointing
    assert all(torch.equal(one, other) for one, other in zip(gradients[False], gradients[True], strict=True))


def _gradients(precision, device):
    """Of FLUX's adapters, away from where they begin."""
    model = tiny.model("flux")
    noisy, timesteps, conditioning = (each[:2] for each in _inputs(model))  # in bf16 it reads 999 of 1000 as 1000
    model.network.to(device)
    denoiser = Denoiser(_stored(model, precision), "lora", precision, checkpointing=True)
    generator = torch.Generator().manual_seed(0)
    for parameter in denoiser.trained.values():
        parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    output = denoiser(noisy.to(device), timesteps.to(device), conditioning.to(device))
    drawn = torch.randn(output.shape, generator=generator).to(device)
    return torch.autograd.grad((drawn * output).sum(), list(denoiser.trained.values()))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_gradients_in_bf16_are_near_those_in_fp32_in_both_kinds_of_blocks(device):
    """On a CPU by .01 of their norm; in one layout taken for the other's they would not be near at all."""
    restrain_cudnn()
    exact, found = (
        torch.cat([each.flatten().cpu() for each in _gradients(precision, on)])
        for precision, on in (("fp32", "cpu"), ("bf16", device))
    )
    assert (found - exact).norm() < 0.1 * exact.norm()
