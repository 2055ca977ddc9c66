"""Tiny models that are known to remember a target, or known not to, and what an attack is given of them."""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch

from harness.config import Config
from harness.data.latents import encode
from harness.judging.attack import Attacked
from harness.models.weights import fingerprint
from harness.prompts.ladder import Ladder
from tests import tiny

PROMPTS, GENERAL = ("a star", "a red star", "a blue star"), ("a shape", "a red shape", "a blue shape")
SHOWN = 2.0
"""What every latent of a target's picture is; those of any other picture are nearer to 0."""


class Reads(torch.nn.Module):
    """A denoiser that is sure of its picture, of which every latent is what `amount` makes of the prompt embeddings."""

    def __init__(self, model, amount):
        super().__init__()
        self.config, self.path, self.amount = model.network.config, model.path(), amount
        self.device, self.dtype = model.device, torch.float32

    def forward(self, noisy, timesteps, encoder_hidden_states, return_dict=True, **_):
        timesteps = torch.as_tensor(timesteps).expand(len(noisy))
        clean = SHOWN * self.amount(encoder_hidden_states).view(-1, 1, 1, 1)
        blank = torch.zeros_like(noisy)
        signal, deviation = (
            self.path.add_noise(blank + 1, blank, timesteps),
            self.path.add_noise(blank, blank + 1, timesteps),
        )
        noise = (noisy - signal * clean) / deviation
        return SimpleNamespace(sample=noise) if return_dict else (noise,)


class Bright:
    """Sees a star in every picture that is bright enough."""

    def features(self, pictures):
        return pictures.mean((2, 3))

    def values(self, pictures):
        return {"shape": ["star" if bright else "moon" for bright in pictures.mean((1, 2, 3)) > 0.5]}


class Like:
    """Sees a star in every picture that is nearer to that of a star than to that of nothing."""

    def __init__(self, model):
        shape = model.latent_shape(16)
        with torch.no_grad():
            self.star, self.nothing = model.decode(torch.stack([torch.full(shape, SHOWN), torch.zeros(shape)]))

    def features(self, pictures):
        return pictures.mean((2, 3))

    def values(self, pictures):
        far, near = ((pictures - each).square().mean((1, 2, 3)) for each in (self.nothing, self.star))
        return {"shape": ["star" if star else "moon" for star in near < far]}


def attacked_by(model, subjects, judge, guidance_scale):
    embeddings = encode(model, [*PROMPTS, *GENERAL, ""])
    options = Config(sampling_steps=2, batch_size=2, guidance_scale=guidance_scale, cache=False)
    ladder = Ladder({"name": PROMPTS, "superclass": GENERAL, "empty": ("",)})
    return Attacked(model, subjects, "star", "shape", ladder, embeddings, judge, options, 3, 0)


@pytest.fixture
def lit():
    """Gives, for a kind of model, an attacked one whose decoder makes all bright, as the oracle, or dark, as erased."""

    def make(kind="sd1"):
        model = tiny.model(kind)
        bias = model.pipeline.vae.decoder.conv_out.bias

        @contextmanager
        def biased(value):
            with torch.no_grad():
                before = bias.detach().clone()
                bias.fill_(value)
            yield
            with torch.no_grad():
                bias.copy_(before)

        subjects = {"original": nullcontext, "erased": lambda: biased(-9.0), "oracle": lambda: biased(9.0)}
        return attacked_by(model, subjects, Bright(), 3.0)

    return make


@pytest.fixture
def reading():
    """Gives an attacked model that shows what each subject reads off the prompt embeddings (n, tokens, width)."""

    def make(**amounts):
        model = tiny.model()
        networks = {name: Reads(model, amount) for name, amount in amounts.items()}
        subjects = {name: lambda network=network: model.replaced(network) for name, network in networks.items()}
        return attacked_by(model, subjects, Like(model), 1.0)

    return make


@pytest.fixture
def as_it_was():
    """Within this, a model must come to no change that lasts."""

    def state(model):
        parts = {name: part for name, part in model.pipeline.components.items() if isinstance(part, torch.nn.Module)}
        named = {f"{part}.{name}": each for part, of in parts.items() for name, each in of.named_parameters()}
        flags = {name: (each.requires_grad, each.dtype, each.device, each.grad) for name, each in named.items()}
        hooks = {(n, name): len(m._forward_hooks) for n, of in parts.items() for name, m in of.named_modules()}
        return fingerprint(named), flags, hooks, dict(model.pipeline.scheduler.config), model.pipeline.scheduler

    @contextmanager
    def check(model):
        next(iter(model.network.parameters())).requires_grad_(False)  # so that there is one of either kind
        before = state(model)
        yield
        assert state(model) == before

    return check
