"""What a step holds, counted in the shape of Stable Diffusion 1.5 on tensors that have a shape but no values."""

import weakref

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness import benchmark
from harness.data import latents
from harness.loss import calibration, objective
from harness.models import load as models
from harness.models.family import Conditioning
from tests import tiny

ROWS, SIDE, TOKENS, WIDTH = 4, 512, 77, 768


class Peak(TorchDispatchMode):
    """Counts the bytes of all storages that are alive, and the most that there ever were at once."""

    def __init__(self):
        super().__init__()
        self.alive, self.now, self.most = {}, 0, 0

    def count(self, tensors):
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if (key := storage._cdata) not in self.alive:
                self.alive[key] = storage.nbytes()
                self.now += self.alive[key]
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self.gone, key)

    def gone(self, key):
        self.now -= self.alive.pop(key)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.count(each for each in tree_leaves(result) if isinstance(each, torch.Tensor))
        return result


def _weights(*networks):
    return [weight for each in networks for weight in (*each.parameters(), *each.buffers())]


def _ours(model, precision, schedule):
    denoiser = models.Denoiser(model, "cross-attention-kv", precision)
    prompts = Conditioning(torch.randn(ROWS, TOKENS, WIDTH))
    noisy, timesteps = torch.randn(ROWS, 4, SIDE // 8, SIDE // 8), torch.randint(1, 999, (ROWS,))
    batch = latents.Batch(noisy, timesteps, prompts, prompts, torch.zeros(ROWS, dtype=torch.long), prompts[:1])
    parameters = list(denoiser.trained.values())
    optimizer = torch.optim.AdamW(parameters)
    scale = objective.Scale("unit", schedule)

    def step():
        s = objective.squared_distance(calibration.difference(denoiser, scale, batch))
        for parameter, gradient in zip(parameters, torch.autograd.grad(s.mean(), parameters), strict=True):
            parameter.grad = gradient
        optimizer.step()

    return step, [*_weights(model.network), *denoiser.frozen.values()]


def _reference(model, precision, schedule):
    """The benchmark's reference loop but for the picture files, which are no tensors."""
    frozen, trained = benchmark.sd15(model.device).network.requires_grad_(False), model.network
    trained.requires_grad_(False)
    parameters = [each.requires_grad_(True) for each in model.parameters_of("cross-attention-kv").values()]
    optimizer = torch.optim.AdamW(parameters)
    pictures, tokens = torch.randn(ROWS, 3, SIDE, SIDE), torch.randint(0, 99, (ROWS, TOKENS))
    timesteps = torch.randint(1, 999, (ROWS,))

    def step():
        with model.arithmetic(precision):
            with torch.no_grad():
                noisy = model.pipeline.vae.encode(pictures).latent_dist.mode()
                target, anchor = (Conditioning(model.pipeline.text_encoder(tokens)[0]) for _ in range(2))
                goal = model.predict(frozen, noisy, timesteps, anchor)
            loss = (model.predict(trained, noisy, timesteps, target).float() - goal.float()).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    parts = model.pipeline.vae, model.pipeline.text_encoder
    return step, _weights(trained, frozen, *parts)


def _peak(loop, precision):
    schedule = diffusion_path(tiny.pipeline())
    with FakeTensorMode(allow_non_fake_inputs=True):
        step, held = loop(benchmark.sd15(torch.device("cpu")), precision, schedule)
        with Peak() as peak:
            peak.count(held)
            step()
            step()
    return peak.most / 2**30


@pytest.mark.parametrize(("precision", "most"), [("bf16", 0.45), ("fp32", 0.75)])
def test_a_step_holds_far_less_than_the_recipes(precision, most, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_, **__: self)  # nothing to move, and it would fail
    monkeypatch.setattr(benchmark.StableDiffusionPipeline, "to", lambda self, *_, **__: self)
    ours, reference = _peak(_ours, precision), _peak(_reference, precision)
    print(f"{precision}: {ours:.2f} GiB against {reference:.2f}")
    assert ours < most * reference
