"""What attacks make of models that no erasure changes is made once; of the erased one, and for another judge, anew."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from harness.runs import cache


@pytest.fixture
def attacked(lit, tmp_path, monkeypatch):
    """One whose oracle differs by a decoder's bias, with a cache of its own."""
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "samples")
    made = lit()
    return replace(made, options=replace(made.options, cache=True))


def _count(attacked, subject, attack="inversion"):
    """How often pictures are made."""
    calls = []

    def make():
        calls.append(1)
        yield from torch.zeros(2, 3, 3, 8, 8)

    assert len(attacked.made_of(subject, attack, make)) == 2
    return len(calls)


def test_the_originals_and_the_oracles_are_made_once_and_the_erased_models_each_time(attacked):
    assert [_count(attacked, subject) for subject in ("original", "oracle", "erased")] == [1, 1, 1]
    assert [_count(attacked, subject) for subject in ("original", "oracle", "erased")] == [0, 0, 1]


@pytest.mark.parametrize(
    "change",
    [
        lambda attacked: replace(attacked, judge=_Other(), _drawn={}),
        lambda attacked: replace(attacked, seed=attacked.seed + 1, _drawn={}),
        lambda attacked: replace(attacked, pictures=attacked.pictures + 1, _drawn={}),
        lambda attacked: replace(attacked, others={"moon": ("a moon",)}, _drawn={}),
        lambda attacked: replace(attacked, options=replace(attacked.options, cache=False), _drawn={}),
    ],
    ids=["judge", "seed", "pictures", "others", "no cache"],
)  # fmt: skip
def test_another_question_is_another_file(attacked, change):
    _count(attacked, "original")
    assert _count(change(attacked), "original") == 1


def test_another_attack_and_another_original_are_made_anew(attacked):
    _count(attacked, "original")
    assert _count(attacked, "original", "completion") == 1

    @contextmanager
    def moved():
        (weight, *_) = attacked.model.network.parameters()
        with torch.no_grad():
            weight.add_(1)
        yield
        with torch.no_grad():
            weight.sub_(1)

    other = replace(attacked, subjects=attacked.subjects | {"original": moved}, _drawn={})
    assert _count(other, "original") == 1


def test_what_is_kept_is_what_was_made(attacked):
    pictures = torch.rand(2, 3, 3, 8, 8)
    for _ in range(2):
        found = attacked.made_of("oracle", "completion", lambda: iter(pictures))
        assert torch.equal(torch.stack(found), pictures)


class _Other:
    def features(self, pictures):
        return pictures.square().mean((2, 3))

    def values(self, pictures):
        return {"shape": ["moon"] * len(pictures)}
