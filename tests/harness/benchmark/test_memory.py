"""What a step holds, counted in the shape of Stable Diffusion 1.5 on tensors that have a shape but no values."""

import weakref

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import fdiv
from harness.benchmark import loops
from harness.data.batches import Batch
from harness.data.latents import Sampled
from harness.loss.objective import Losses
from harness.models.family import Conditioning
from harness.train import Trainer

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


def _ours(model, precision, losses):
    """The trainer's own step; whether something was not finite cannot be asked of tensors without values."""
    prompts = Conditioning(torch.randn(ROWS, TOKENS, WIDTH))
    latents = torch.randn(ROWS, 4, SIDE // 8, SIDE // 8)
    concept = torch.zeros(ROWS, dtype=torch.long)
    sampled = Sampled(latents, prompts, prompts, concept, latents[:0], prompts[:0], prompts[:1])
    options = loops.Size(batch_size=ROWS, precision=precision).options
    trainer = Trainer(model, sampled, losses, options)
    batch = Batch(latents, latents, torch.randint(1, 999, (ROWS,)), prompts, prompts, concept, prompts[:1])

    def step():
        trainer.move(trainer.backward(batch)[1])

    return step, [*_weights(model.network), *trainer.denoiser.frozen.values()]


def _reference(model, precision, _):
    """The benchmark's reference loop but for the picture files, which are no tensors."""
    frozen, trained = loops.sd15(model.device).network.requires_grad_(False), model.network
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
    losses = Losses.of([fdiv.divergence("kl")], [1.0], "closed_form")
    assert losses.factors  # computed here, where tensors have values
    with FakeTensorMode(allow_non_fake_inputs=True):
        step, held = loop(loops.sd15(torch.device("cpu")), precision, losses)
        with Peak() as peak:
            peak.count(held)
            step()
            step()
    return peak.most / 2**30


@pytest.mark.parametrize(("precision", "most"), [("bf16", 0.45), ("fp32", 0.75)])
def test_a_step_holds_far_less_than_the_recipes(precision, most, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_, **__: self)  # nothing to move, and it would fail
    monkeypatch.setattr(loops.StableDiffusionPipeline, "to", lambda self, *_, **__: self)
    ours, reference = _peak(_ours, precision), _peak(_reference, precision)
    print(f"{precision}: {ours:.2f} GiB against {reference:.2f}")
    assert ours < most * reference
