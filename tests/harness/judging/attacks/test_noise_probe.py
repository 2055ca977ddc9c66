"""The best of several settings is what any of them found."""

import torch

from harness.attacking import noisy_steps
from harness.judging.attacks import noise_probe


def test_best_is_every_prompt_for_which_any_setting_succeeded(lit, monkeypatch):
    """The first two of four settings are made to succeed with the first picture alone, the others with the second."""
    settings = []

    def nearly_dark(model, start, both, noise, options):
        pictures = torch.zeros(len(start), 3, 16, 16)
        pictures[len(settings) % 4 // 2] = 1
        settings.append((noise.eta, noise.scale))
        return pictures

    monkeypatch.setattr(noisy_steps, "sample_noisily", nearly_dark)
    attacked = lit()
    outcome = noise_probe.run(attacked)
    assert settings == 3 * [(1.0, 1.0), (1.0, 1.04), (1.85, 1.0), (1.85, 1.04)]
    for point in outcome.curve[:-1]:
        assert {rate.successes for rate in point.rates.values()} == {1}
    assert outcome.headline is outcome.curve[-1]
    assert {(rate.successes, rate.count) for rate in outcome.headline.rates.values()} == {(2, attacked.pictures)}
