"""The error of a noise prediction, and weights that take no gradient for a while."""

from dataclasses import replace

import pytest
import torch

from harness.attacking.denoising import denoising_error, noised, still
from harness.data.latents import encode
from harness.models.family import Conditioning
from tests import tiny


@pytest.mark.parametrize("kind", tiny.PIPELINES)
def test_the_error_is_that_of_the_noise_and_its_gradient_reaches_the_conditioning_alone(kind):
    model = tiny.model(kind)
    path, given = model.path(), Conditioning.stack([encode(model, ["a star"])["a star"]] * 3)
    drawn = noised(path, torch.randn(3, *model.latent_shape(16)), torch.Generator().manual_seed(0))
    learned = given.prompt_embeds.clone().requires_grad_()
    conditioning = replace(given, prompt_embeds=learned)
    with still(model):
        error = denoising_error(model, path, drawn, conditioning, "fp32")
        error.sum().backward()
    assert (learned.grad.abs().sum((1, 2)) > 0).all()
    assert all(weight.grad is None for weight in model.network.parameters())
    with torch.no_grad():
        for row in range(3):
            output = model.predict(
                model.network, *(each[row : row + 1] for each in (drawn.noisy, drawn.timesteps)), given[row : row + 1]
            )
            noise = path.noise_prediction(output, drawn.noisy[row : row + 1], drawn.timesteps[row : row + 1])
            torch.testing.assert_close(
                error[row].detach(), (noise - drawn.noise[row]).square().mean(), rtol=1e-4, atol=1e-5
            )


def test_rows_of_what_was_noised_are_those_rows():
    path = tiny.model().path()
    drawn = noised(path, torch.randn(4, 4, 8, 8), torch.Generator().manual_seed(0))
    some = drawn[[3, 1]]
    for part in ("noisy", "noise", "timesteps"):
        assert torch.equal(getattr(some, part), getattr(drawn, part)[[3, 1]])


def test_weights_take_gradients_again_that_did_before_also_after_an_exception():
    model = tiny.model()
    frozen, *others = model.network.parameters()
    frozen.requires_grad_(False)
    with still(model):
        assert not any(weight.requires_grad for weight in model.network.parameters())
        assert not any(weight.requires_grad for weight in model.pipeline.text_encoder.parameters())
    with pytest.raises(KeyError), still(model):
        raise KeyError
    assert not frozen.requires_grad
    assert all(weight.requires_grad for weight in [*others, *model.pipeline.text_encoder.parameters()])
