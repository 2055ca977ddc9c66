"""What holds for every attack that samples or learns: right counts, nothing changed, and the same again."""

from contextlib import contextmanager

import pytest
import torch

from harness.judging.attacks import concept_vector, inversion, noise_probe, prefix_tokens

ATTACKS = {module.ATTACK.name: module for module in (concept_vector, inversion, noise_probe, prefix_tokens)}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Few steps."""
    monkeypatch.setattr(noise_probe, "STEPS", 3)
    monkeypatch.setattr(inversion, "STEPS", (0, 1, 2))
    monkeypatch.setattr(inversion, "HEADLINE", 1)
    monkeypatch.setattr(prefix_tokens, "STEPS", (0, 1, 2))
    monkeypatch.setattr(prefix_tokens, "HEADLINE", 2)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_an_attack_counts_what_each_model_shows_and_leaves_it_as_it_was(name, kind, lit, as_it_was):
    attacked = lit(kind)
    with as_it_was(attacked.model):
        outcome = ATTACKS[name].ATTACK.run(attacked)
    assert outcome.headline in outcome.curve
    for point in outcome.curve:
        assert (point.rates["erased"].successes, point.rates["oracle"].successes) == (0, attacked.pictures)
        assert {rate.count for rate in point.rates.values()} == {attacked.pictures}


@pytest.mark.parametrize("name", ATTACKS)
def test_on_the_same_model_an_attack_comes_out_the_same_to_the_last_bit(name, lit):
    """Whatever was attacked or drawn before: every model gets the same noise."""
    attacked = lit()

    @contextmanager
    def drawn():
        torch.randn(7)
        yield

    attacked.subjects.update(erased=drawn, oracle=drawn)
    for point in ATTACKS[name].ATTACK.run(attacked).curve:
        pictures = [result.pictures for result in point.results.values()]
        assert all(torch.equal(pictures[0], each) for each in pictures[1:])
        assert len(set(point.rates.values())) == 1
