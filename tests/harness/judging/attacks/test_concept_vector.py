"""The way that a name points in is found, and followed further than the name itself goes."""

import torch

from harness.judging.attacks import concept_vector


def test_it_finds_a_target_that_lies_further_along_the_names_direction_and_no_other(reading):
    """A model erased up to the name's own embedding shows the target at twice and thrice the way."""
    lengths = []

    def along(embeds):
        """How many times what the names have over the superclasses; 0 for the mean of the latter."""
        from_general = embeds - general.mean(0)
        way = (named - general).mean(0)
        lengths.append((from_general * way).sum((1, 2)) / way.square().sum())
        return lengths[-1]

    attacked = reading(
        original=along, erased=lambda embeds: (along(embeds) - 1).clamp(0, 1), oracle=lambda embeds: 0 * along(embeds)
    )
    named, general = (
        torch.stack([attacked.embeddings[prompt].prompt_embeds for prompt in prompts])
        for prompts in (attacked.prompts, attacked.superclass)
    )
    outcome = concept_vector.run(attacked)
    found = {point.setting["eta"]: {name: rate.value for name, rate in point.rates.items()} for point in outcome.curve}
    assert found[1.0]["erased"] == 0
    assert found[2.0]["erased"] == found[3.0]["erased"] == found[2.0]["original"] == 1
    assert {rates["oracle"] for rates in found.values()} == {0}
    assert outcome.headline.setting == {"eta": 3.0}
