"""What a fine-tuning leaves as it was."""

import pytest
import torch

from harness.attacking.fine_tuning import Captioned, Tuning, fine_tuned
from harness.models.family import Conditioning
from harness.models.layouts.narrow import Exact, narrow
from tests import tiny


def test_numbers_drawn_afterwards_are_the_same_and_other_gpus_are_left_alone(monkeypatch):
    """Where there are several, torch warns of all being asked for the state of their generators."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.get_rng_state())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: None)
    model = tiny.model()
    given = Captioned(torch.zeros(1, *model.latent_shape(16)), Conditioning(torch.zeros(1, 16, 16)))
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with fine_tuned(model, Tuning("lora", 1e-3), given, "fp32", 5):
        assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("group", ["full", "lora"])
def test_weights_are_what_they_were_and_stored_as_they_were(group):
    model = tiny.model()
    narrow(model.network)
    before, types = dict(Exact.of(model.network)), _types(model)
    given = Captioned(torch.zeros(1, *model.latent_shape(16)), Conditioning(torch.zeros(1, 16, 16)))
    with fine_tuned(model, Tuning(group, 1e-3), given, "bf16", 5) as train:
        train(2)
        assert _types(model) != types
    after = Exact.of(model.network)
    assert all(torch.equal(after[name], each) for name, each in before.items())
    assert _types(model) == types


def _types(model):
    return {name: weight.dtype for name, weight in model.network.named_parameters()}
