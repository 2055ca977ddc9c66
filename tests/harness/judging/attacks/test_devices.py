"""Attacks on a GPU that is not there: no operation mixes devices, which on a CPU alone nothing would show."""

from contextlib import nullcontext

import pytest

from harness.judging.attack import attacks
from harness.judging.attacks import completion, inversion, noise_probe, null_text_inversion, prefix_tokens, relearning
from harness.models.family import Family
from harness.models.path import GaussianPath
from tests import tiny
from tests.devices import GPU, Devices
from tests.harness.judging.attacks.conftest import Bright, attacked_by

MADE_UP = 0
"""Every number that is asked for: the place in its schedule that a sampler begins at, too."""


@pytest.fixture(autouse=True)
def _short_and_known(monkeypatch):
    """Made-up numbers will not do for a schedule; bf16 is not there."""
    monkeypatch.setattr(GaussianPath, "timesteps", 1000)
    monkeypatch.setattr(Family, "arithmetic", lambda *_: nullcontext())
    monkeypatch.setattr(noise_probe, "STEPS", 2)
    monkeypatch.setattr(null_text_inversion, "STEPS", 2)
    monkeypatch.setattr(null_text_inversion, "UPDATES", (0, 1))
    monkeypatch.setattr(null_text_inversion, "HEADLINE", null_text_inversion.HEADLINE | {"updates": 1})
    monkeypatch.setattr(completion, "FRACTIONS", (0.5,))
    for attack, steps in ((inversion, (0, 1)), (prefix_tokens, (0, 1)), (relearning, (0, 1))):
        monkeypatch.setattr(attack, "STEPS", steps)
    monkeypatch.setattr(inversion, "HEADLINE", 1)
    monkeypatch.setattr(prefix_tokens, "HEADLINE", 1)
    monkeypatch.setattr(relearning, "HEADLINE", relearning.HEADLINE | {"steps": 1})


@pytest.mark.parametrize("name", attacks())
def test_no_operation_of_an_attack_mixes_devices(name):
    model = tiny.model()
    model.network.to(GPU)
    with Devices(MADE_UP):
        attacked = attacked_by(model, dict.fromkeys(("original", "erased"), nullcontext), Bright(), 3.0)
        outcome = attacks()[name].run(attacked)
    assert outcome.headline.rates.keys() == {"original", "erased"}
