"""What an attacker moves: all that is told of a prompt's words, and nothing else."""

from dataclasses import fields

import pytest
import torch

from harness.attacking.embeddings import NAMES, movable, moved, put
from harness.data.latents import encode
from harness.models.family import Conditioning
from tests import tiny

WORDLESS = {"time_ids", "mask"}


def test_each_part_of_a_conditioning_is_moved_or_says_nothing_of_words():
    assert {field.name for field in fields(Conditioning)} == WORDLESS | set(NAMES)


@pytest.mark.parametrize("kind", tiny.PIPELINES)
def test_what_is_moved_is_moved_for_all_rows_alike_and_the_rest_stays(kind):
    model = tiny.model(kind)
    told = Conditioning.stack(list(encode(model, ["a star", "a moon"]).values()))
    by = [torch.full_like(each[0], 0.5) for each in movable(told)]
    after = moved(told, by)
    for name in NAMES:
        before = getattr(told, name)
        assert before is None or torch.equal(getattr(after, name), before + 0.5)
    assert all(getattr(after, name) is getattr(told, name) for name in WORDLESS)
    back = put(after, movable(told))
    assert all(one is other for one, other in zip(movable(back), movable(told), strict=True))
    assert (told.pooled is None) == (len(by) == 1)
