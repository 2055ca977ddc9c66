"""What a step and the rest of a run hold, counted in the shapes of published models on tensors without values."""

import weakref

import pytest
import torch
from diffusers import DiffusionPipeline
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import fdiv
from harness.benchmark import loops
from harness.benchmark.flops import flops
from harness.benchmark.shapes import SHAPES
from harness.data.batches import Batch
from harness.data.latents import ENCODED, Sampled
from harness.loss.objective import Losses
from harness.models import load as models
from harness.models.family import Conditioning
from harness.models.layouts import narrow
from harness.train import Trainer

TOLD = {"sd15": {"tokens": 77, "width": 768}, "sd3": {"tokens": 333, "width": 4096, "pooled": 2048}}
TOLD["flux"] = {"tokens": 512, "width": 4096, "pooled": 768}
"""Sizes of what each denoiser is told of a prompt."""


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


def _told(shape, rows):
    """What a denoiser is told of so many prompts."""
    sizes = TOLD[shape]
    pooled = torch.randn(rows, sizes["pooled"]) if "pooled" in sizes else None
    return Conditioning(torch.randn(rows, sizes["tokens"], sizes["width"]), pooled)


def _ours(model, size, losses):
    """The trainer's own step; whether something was not finite cannot be asked of tensors without values.

    Held at the start are the denoiser and the frozen copies; what bf16 leaves out of its weights waits elsewhere.
    """
    models.ready(model, model.device, size.precision)
    rows = size.batch_size
    prompts = _told(size.shape, rows)
    latents = torch.randn(rows, *model.latent_shape(size.resolution))
    concept = torch.zeros(rows, dtype=torch.long)
    sampled = Sampled(latents, prompts, prompts, concept, latents[:0], prompts[:0], prompts[:1])
    trainer = Trainer(model, sampled, losses, size.options)
    batch = Batch(latents, latents, torch.randint(1, 999, (rows,)), prompts, prompts, concept, prompts[:1])
    trainer.move([torch.zeros_like(each) for each in trainer.denoiser.trained.values()])  # from then on it has moments

    def step():
        trainer.move(trainer.backward(batch)[1])

    denoiser = trainer.denoiser
    copies = [] if denoiser.adapted else list(denoiser.frozen.values())
    moments = [each for state in trainer.optimizer.state.values() for each in state.values()]
    return step, [*_weights(model.network), *copies, *moments]


def _reference(model, size, _):
    """The benchmark's reference loop but for the picture files, which are no tensors."""
    frozen, trained = SHAPES[size.shape].make(model.device).network.requires_grad_(False), model.network
    trained.requires_grad_(False)
    parameters = [each.requires_grad_(True) for each in model.parameters_of("cross-attention-kv").values()]
    optimizer = torch.optim.AdamW(parameters)
    rows, side, tokens = size.batch_size, size.resolution, TOLD[size.shape]["tokens"]
    pictures, prompts = torch.randn(rows, 3, side, side), torch.randint(0, 99, (rows, tokens))
    timesteps = torch.randint(1, 999, (rows,))

    def step():
        with model.arithmetic(size.precision):
            with torch.no_grad():
                noisy = model.pipeline.vae.encode(pictures).latent_dist.mode()
                target, anchor = (Conditioning(model.pipeline.text_encoder(prompts)[0]) for _ in range(2))
                goal = model.predict(frozen, noisy, timesteps, anchor)
            loss = (model.predict(trained, noisy, timesteps, target).float() - goal.float()).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    parts = model.pipeline.vae, model.pipeline.text_encoder
    return step, _weights(trained, frozen, *parts)


@pytest.fixture(autouse=True)
def _unmoved(monkeypatch):
    """Nothing is to move, and it would fail; and whether bf16 holds values cannot be asked where there are none."""
    for kind in (torch.nn.Module, DiffusionPipeline):
        monkeypatch.setattr(kind, "to", lambda self, *_, **__: self)
    monkeypatch.setattr(narrow, "_holds", lambda *_: True)


def _counted(loop, size, steps=1, costs=False):
    """GiB that a step holds at once, and where asked for its FLOPs, of another step, as counting makes tensors."""
    losses = Losses.of([fdiv.divergence("kl")], [1.0], "closed_form")
    assert losses.factors  # computed here, where tensors have values
    with FakeTensorMode(allow_non_fake_inputs=True):
        step, held = loop(SHAPES[size.shape].make(torch.device("cpu")), size, losses)
        with Peak() as peak:
            peak.count(held)
            for _ in range(steps):
                step()
        with flops() as counter:
            step() if costs else None
    return peak.most / 2**30, counter.get_total_flops()


@pytest.mark.parametrize(("precision", "most"), [("bf16", 0.45), ("fp32", 0.75)])
def test_a_step_holds_far_less_than_the_recipes(precision, most):
    size = loops.Size("sd15", 512, 4, precision)
    (ours, _), (reference, _) = _counted(_ours, size), _counted(_reference, size, steps=2)
    print(f"{precision}: {ours:.2f} GiB against {reference:.2f}")
    assert ours < most * reference


@pytest.mark.parametrize(
    ("shape", "forward", "most"), [("sd3", 8.9e12, 24), pytest.param("flux", 21.5e12, 40, marks=pytest.mark.slow)]
)
def test_a_step_of_a_large_model_fits_a_card(shape, forward, most):
    """As the benchmark has it: frozen, forward, again, and backward to what trains, each about a forward pass."""
    size = loops.Size.of(shape)
    held, cost = _counted(_ours, size, costs=True)
    print(f"{shape}: {held:.2f} GiB, {cost / 1e12:.1f} TFLOP a step")
    assert held < most
    assert 4 < cost / (size.batch_size * forward) < 4.6  # attention's backward pass is two and a half


def _beside_its_steps(size, monkeypatch):
    """GiB that the rest of a run holds at once, by phase: a batch sampled, then decoded, and prompts read."""
    peaks, away = {name: Peak() for name in ("sampling", "decoding", "reading prompts")}, []
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        made = SHAPES[size.shape].make(torch.device("cpu"))
        model = models.told(models.ready(made, made.device, size.precision), size.options)
        rows, vae = 2 * size.batch_size, model.pipeline.vae
        latents, timesteps = torch.randn(rows, *model.latent_shape(size.resolution)), torch.randint(1, 999, (rows,))
        with model.arithmetic(size.precision):
            told = _told(size.shape, rows)
            with peaks["sampling"] as peak:
                peak.count(_weights(model.network))
                model.predict(model.network, latents, timesteps, told)
            with peaks["decoding"] as peak:
                peak.count(_weights(model.network, vae))
                model.decode(latents)
        monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: away.append(tensor) or tensor)
        with narrow.aside(model.network), model.encoding(), peaks["reading prompts"] as peak:
            gone = {each.untyped_storage()._cdata for each in away}
            read = _weights(model.network, *model._encoders.values())
            peak.count(each for each in read if each.untyped_storage()._cdata not in gone)
            model.encode(["a star"] * ENCODED)
    return {name: peak.most / 2**30 for name, peak in peaks.items()}


@pytest.mark.parametrize(("shape", "most"), [("sd15", 5), pytest.param("flux", 40, marks=pytest.mark.slow)])
def test_a_whole_run_in_bf16_fits_where_its_step_does(shape, most, monkeypatch):
    """So the denoiser is never on the device in fp32, nor beside text encoders: of FLUX.1 22.2 and 18.2 GiB."""
    size = loops.Size.of(shape)
    found = _beside_its_steps(size, monkeypatch)
    step, _ = _counted(_ours, size)
    print(f"{shape}: {step:.2f} GiB a step, {', '.join(f'{name} {each:.2f}' for name, each in found.items())}")
    assert max(found.values()) < step < most


@pytest.mark.parametrize(
    ("shape", "weights", "group", "trained"),
    [
        ("sdxl", 2_567_463_684, "cross-attention-kv", 340_787_200),
        ("sd3", 2_028_328_000, "cross-attention-kv", 113_246_208),
        ("flux", 11_901_408_320, "cross-attention-kv", 1_075_838_976),
    ],
)
def test_shapes_have_the_sizes_of_the_published_models(shape, weights, group, trained):
    """Keys and values are counted by hand, FLUX.1's as 2 x 3072^2 of 57 blocks."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = SHAPES[shape].make(torch.device("cpu"))
    assert model.problem() is None
    assert sum(each.numel() for each in model.network.parameters()) == weights
    matrices = (each for each in model.parameters_of(group).values() if each.ndim == 2)
    assert sum(each.numel() for each in matrices) == trained
