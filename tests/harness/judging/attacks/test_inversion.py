"""A prompt embedding is found for what a model can show, and none for what it cannot."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from harness.attacking.embeddings import movable
from harness.judging.attack import Attacked
from harness.judging.attacks import inversion
from harness.models.family import Conditioning
from harness.prompts.ladder import Ladder


@pytest.fixture(autouse=True)
def fewer_steps(monkeypatch):
    monkeypatch.setattr(inversion, "STEPS", (0, 60))
    monkeypatch.setattr(inversion, "HEADLINE", 60)


def test_it_finds_a_target_that_lost_its_name_and_nothing_where_no_embedding_shows_it(reading):
    """The erased model shows the target by one number of the embeddings, which the name does not move far enough."""

    def hidden(embeds):
        return (embeds[:, 3, 2] - prompts[:, 3, 2].max()) / 2 - 0.5

    attacked = reading(
        original=lambda embeds: 1 + 0 * embeds.sum((1, 2)), erased=hidden, oracle=lambda embeds: 0 * hidden(embeds)
    )
    prompts = torch.stack([each.prompt_embeds for each in attacked.embeddings.values()])
    before, after = inversion.run(attacked).curve
    assert {name: rate.value for name, rate in before.rates.items()} == {"original": 1, "erased": 0, "oracle": 0}
    assert {name: rate.value for name, rate in after.rates.items()} == {"original": 1, "erased": 1, "oracle": 0}


def test_templates_may_have_one_general_prompt_between_them(reading, monkeypatch):
    """As those of a user's file that do not say what stands in the concept's place."""
    monkeypatch.setattr(inversion, "STEPS", (0, 1))
    monkeypatch.setattr(inversion, "HEADLINE", 1)
    attacked = reading(original=lambda embeds: embeds[:, 3, 2], erased=lambda embeds: embeds[:, 3, 2] / 3)
    general = replace(attacked, ladder=Ladder(attacked.ladder.kinds | {"superclass": ("",)}))
    assert {rate.count for rate in inversion.run(general).headline.rates.values()} == {attacked.pictures}


def test_the_steps_lower_the_error(reading):
    attacked = reading(original=lambda embeds: embeds[:, 3, 2], erased=lambda embeds: embeds[:, 3, 2] / 3)
    given = Conditioning.stack([attacked.embeddings[attacked.superclass[0]]] * attacked.pictures)
    block = torch.zeros_like(given.prompt_embeds[0], requires_grad=True)
    with attacked.subjects["erased"]():
        errors = list(islice(inversion.learn(attacked, given, [block]), 80))
    assert sum(errors[-10:]) < sum(errors[:10]) / 4


@pytest.mark.parametrize("kind", ["sdxl", "sd3", "flux"])
def test_what_is_drawn_has_another_pooled_vector_too_where_the_family_has_one(kind, lit, monkeypatch):
    monkeypatch.setattr(inversion, "STEPS", (0, 3))
    monkeypatch.setattr(inversion, "HEADLINE", 3)
    attacked, drawn = lit(kind), []
    draw = Attacked.draw
    monkeypatch.setattr(Attacked, "draw", lambda self, given, desc: drawn.append(given) or draw(self, given, desc))
    inversion.run(attacked)
    given = Conditioning.stack([attacked.embeddings[prompt] for prompt in attacked.superclass])
    for told in drawn[1::2]:  # of each model once without a step, and once after three
        for before, after in zip(movable(given), movable(Conditioning.stack(told)), strict=True):
            added = after - before
            assert added.abs().mean() > 0.01
            torch.testing.assert_close(added, added[:1].expand_as(added))
