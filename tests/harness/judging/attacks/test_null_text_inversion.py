"""Null-text inversion: it leads back where it came from, and only noise as a sampler draws it tells models apart."""

from contextlib import contextmanager, nullcontext

import pytest
import torch

from harness.attacking.null_text import NullText
from harness.config import Config
from harness.data.latents import encode
from harness.judging.attack import Attacked
from harness.judging.attacks import null_text_inversion
from harness.models.family import Conditioning
from harness.prompts.ladder import Ladder
from tests import tiny

LAST = ("conv_out", "proj_out", "all_final_layer.2-1.linear")
"""The last layers of denoisers."""


@torch.no_grad()
def _given(model, n=3):
    clean = torch.randn(n, *model.latent_shape(16), generator=torch.Generator().manual_seed(1))
    return clean, Conditioning.stack([encode(model, [""])[""]] * n)


def _gentle(kind):
    """A model of which a step back has a fixed point that is found, as a trained one's has."""
    model = tiny.model(kind)
    with torch.no_grad():
        (last,) = (module for name, module in model.network.named_modules() if name in LAST)
        last.weight.mul_(0.1)
    return model


def _error(null_text, clean, nothing, updates):
    return (null_text.sample(null_text.invert(clean, nothing, updates)) - clean).square().mean().item()


@pytest.mark.parametrize("kind", tiny.PIPELINES)
def test_pictures_traced_back_to_noise_are_drawn_again_from_it(kind):
    """Of noise and velocity alike, and where the sampler is not DDIM."""
    model = _gentle(kind)
    clean, nothing = _given(model)
    assert _error(NullText(model, 5), clean, nothing, 0) < 1e-3
    assert (NullText(model, 5).invert(clean, nothing, 0).noise - clean).square().mean() > 0.01


@pytest.mark.parametrize("kind", tiny.UNETS)
def test_updates_bring_the_drawn_pictures_nearer(kind, monkeypatch):
    """Where the fixed point is not looked for, so that there is an error to lower."""
    monkeypatch.setattr("harness.attacking.null_text.FIXED_POINT", 0)
    model = tiny.model(kind)
    clean, nothing = _given(model)
    none, few, many = (_error(NullText(model, 3), clean, nothing, updates) for updates in (0, 5, 25))
    assert many < few < none


def test_a_picture_is_inverted_alike_alone_and_among_others():
    model = tiny.model()
    clean, nothing = _given(model)
    both, alone = (NullText(model, 3).invert(clean[:n], nothing[:n], 2) for n in (3, 1))
    torch.testing.assert_close(both.noise[:1], alone.noise, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both.nothing[0].prompt_embeds[:1], alone.nothing[0].prompt_embeds, rtol=1e-3, atol=1e-4)


def test_noise_as_drawn_has_the_length_of_a_samplers_and_its_own_direction():
    model = tiny.model()
    clean, nothing = _given(model)
    found = NullText(model, 3).invert(3 * clean, nothing, 0)
    drawn = found.as_drawn
    assert torch.allclose(drawn.noise.square().mean((1, 2, 3)), torch.ones(3), atol=1e-5)
    assert torch.allclose(torch.cosine_similarity(drawn.noise.flatten(1), found.noise.flatten(1)), torch.ones(3))
    assert drawn.nothing is found.nothing


class _Near:
    """Sees a star in every picture that is near enough to one of those given."""

    def __init__(self, pictures):
        self.pictures = pictures

    def features(self, pictures):
        return pictures.mean((2, 3))

    def values(self, pictures):
        distance = (pictures - self.pictures).square().mean((1, 2, 3))
        return {"shape": ["star" if near else "moon" for near in distance < 1e-3]}


@torch.no_grad()
def _attacked():
    """A model that gives its pictures back, and one whose decoder is not what it was."""
    model = _gentle("sd1")

    @contextmanager
    def forgetful():
        weight = model.pipeline.vae.decoder.conv_out.weight
        before = weight.clone()
        with torch.no_grad():
            weight.zero_()
        yield
        with torch.no_grad():
            weight.copy_(before)

    subjects = {"original": nullcontext, "erased": nullcontext, "oracle": forgetful}
    prompts = ("a star", "a red star")
    embeddings = encode(model, [*prompts, ""])
    given = model, subjects, "star", "shape", Ladder({"name": prompts}), embeddings
    pictures = model.decode(Attacked(*given, None, Config(sampling_steps=2), 3, 0).drawn[1])
    return Attacked(*given, _Near(pictures), Config(sampling_steps=2), 3, 0)


def test_it_finds_what_a_model_still_draws_and_nothing_where_it_cannot(monkeypatch):
    monkeypatch.setattr(null_text_inversion, "STEPS", 3)
    attacked = _attacked()
    before = {name: each.clone() for name, each in attacked.model.network.state_dict().items()}
    outcome = null_text_inversion.run(attacked)
    after = attacked.model.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in attacked.model.network.parameters())
    assert outcome.headline.setting == {"updates": 5, "noise": "as drawn"}
    assert outcome.headline in outcome.curve
    found = next(point for point in outcome.curve if point.setting == {"updates": 0, "noise": "as found"})
    assert {name: rate.successes for name, rate in found.rates.items()} == {"original": 3, "erased": 3, "oracle": 0}
    assert found.to_json()["excess"] == 1
    assert null_text_inversion.run(attacked).to_json() == outcome.to_json()
