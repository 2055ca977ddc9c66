"""The cost of a step of our loop and of one that does as the official recipe does.

The reference loop is ours, from the recipe's description: two UNets, and at every step pictures decoded from JPEG (with
a GPU in a thread, one step ahead) and encoded by the VAE, and prompts by the text encoders. It trains keys and values,
as that recipe does; ours may train another group. Both have as many target prompts, without retention. Their rounds
alternate, so that a busy machine slows both alike; seconds are medians over all rounds.
"""

import copy
import gc
import io
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

import fdiv
from harness.benchmark.flops import flops
from harness.benchmark.shapes import SHAPES
from harness.config import MINIATURE, Config, ParameterGroup
from harness.data import latents
from harness.loss.objective import Losses
from harness.models import load as models
from harness.models.family import Conditioning, Family
from harness.models.layouts.narrow import widen
from harness.runs.command import quieten_libraries
from harness.show.screen import environment
from harness.train import Trainer

OTHERS = ("squared_hellinger", "jensen_shannon", "pearson", "total_variation")
PROMPTS = ("a star", "a circle")
POOL = 16
RECIPE_PICTURES, RECIPE_SAMPLING, RECIPE_STEPS = 1000, 25, 500
GROWN = {
    "batch_size": (1, 2, 4, 8, 16, 32),
    "resolution": (1 / 2, 1, 3 / 2, 2),
    "concepts": (1, 4, 16, 64),
}
"""What is grown one at a time, and to what; the resolution to these multiples of its own."""
SMALL = (MINIATURE, "sd15")
"""Shapes that are also measured with other divergences, of which several are set up at once."""
Step = Callable[[], Any]
Said = dict[str, Conditioning]
"""What the text encoders make of each prompt."""
T = TypeVar("T")


@dataclass(frozen=True)
class Size:
    """Of what a step does."""

    shape: str = MINIATURE
    """A name of `SHAPES`."""
    resolution: int = 64
    """Pixels along a side."""
    batch_size: int = 8
    """Target prompts."""
    precision: Literal["fp32", "bf16"] = "fp32"
    parameter_group: ParameterGroup = "cross-attention-kv"
    gradient_checkpointing: bool = False
    concepts: int = 1

    @classmethod
    def of(cls, shape: str, **asked: Any) -> "Size":
        """A shape's own step, but for what is asked for."""
        known = vars(SHAPES[shape])
        own = {field.name: known[field.name] for field in fields(cls) if field.name in known}
        return cls(shape, **(own | {name: value for name, value in asked.items() if value is not None}))

    @property
    def options(self) -> Config:
        """Of a run that does as the recipe does, without retention, at a scale that needs no calibration."""
        return Config(
            batch_size=self.batch_size, precision=self.precision, scale="unit", retain_weight=0.0, learning_rate=1e-6,
            origin="anchor", parameter_group=self.parameter_group, gradient_checkpointing=self.gradient_checkpointing,
        )  # fmt: skip


def figures(size: Size, device_name: str, steps: int, rounds: int, grow: bool) -> dict[str, Any]:
    """Seconds, bytes and FLOPs of a step and of a whole job.

    Args:
        size: of a step.
        device_name: as in `--device`.
        steps: timed in a round, after two that are not.
        rounds: of each loop, in turn.
        grow: whether to measure our step at other sizes too.
    """
    quieten_libraries()
    models.restrain_cudnn()
    torch.manual_seed(0)
    device = models.resolve_device(device_name)
    model = models.told(SHAPES[size.shape].make(device), size.options)
    said = latents.encode(model, [*PROMPTS, ""])  # once: large text encoders take longer to move than steps to time
    both_loops = {"ours": partial(ours, model, said, size), "reference": partial(reference, model, size)}
    step_of, peak = alternating(both_loops, steps, rounds, device)
    with ours(model, said, size) as step, flops() as counter:
        step()
    resized = replace(model, resolution=size.resolution)
    sample = fitting(partial(sampling_seconds, resized, said, size.options), device)
    both = "reference" in step_of
    return {
        "step_seconds": step_of,
        "step_ratio": step_of["ours"] / step_of["reference"] if both else None,
        "peak_bytes": peak if device.type == "cuda" else None,
        "divergence_ratio": divergence_ratios(model, said, size, steps * rounds, device) if size.shape in SMALL else {},
        "job_seconds_from_parts": jobs(step_of, sample, size.options) if both and sample else None,
        "step_flops": counter.get_total_flops(),
        "growth": growth(model, said, size, steps, device) if grow else None,
        **environment(device),
    }


def alternating(
    loops: Mapping[str, Callable[[], AbstractContextManager[Step]]], steps: int, rounds: int, device: torch.device
) -> tuple[dict[str, float], dict[str, int]]:
    """Each loop's seconds a step, median of all rounds, and peak bytes; only of those that the memory is enough for."""
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    peak: dict[str, int] = {}
    for _ in tqdm(range(rounds), desc="loops"):
        for name in list(seconds):
            found = fitting(partial(_round, loops[name], steps, device), device)
            if found is None:
                del seconds[name]
            else:
                seconds[name] += found
                peak[name] = peak_bytes(device)
            release(device)
    return {name: statistics.median(each) for name, each in seconds.items()}, peak


def _round(make: Callable[[], AbstractContextManager[Step]], steps: int, device: torch.device) -> list[float]:
    with make() as step:
        return timed([step], steps, device)[0]


def fitting(measure: Callable[[], T], device: torch.device) -> T | None:
    """What a measurement gives, or None where it ran out of the device's memory."""
    try:
        return measure()
    except torch.OutOfMemoryError:
        return None
    finally:
        release(device)


@contextmanager
def ours(model: Family, said: Said, size: Size, divergence: str = "kl") -> Iterator[Step]:
    """The trainer's own step on kept latents; afterwards the model is as it was.

    Args:
        model: in which a parameter group trains.
        said: what its text encoders make of `PROMPTS`.
        size: of the step.
        divergence: a name of the catalogue.
    """
    model.network.to(memory_format=torch.channels_last)
    losses = Losses.of([fdiv.resolve(divergence)] * size.concepts, [1.0] * size.concepts, "closed_form")
    with stored(model, size.precision):
        trainer = Trainer(model, random_latents(model, said, size), losses, size.options)
        try:
            yield trainer.take_step
        finally:
            trainer.denoiser.restore()


@contextmanager
def stored(model: Family, precision: str) -> Iterator[None]:
    """Within this, the denoiser is stored as a run in a precision has it, and after it in fp32, memory or not."""
    try:
        models.ready(model, model.device, precision)
        yield
    finally:
        widen(model.network)


def random_latents(model: Family, said: Said, size: Size) -> latents.Sampled:
    """Latents to train on that nobody sampled: their values change no cost."""
    pool = max(POOL, size.concepts)
    kept = torch.randn(pool, *model.latent_shape(size.resolution), device=model.device)
    target, anchor = (Conditioning.stack([said[prompt]] * pool) for prompt in PROMPTS)
    concept = torch.arange(pool, device=kept.device) % size.concepts
    return latents.Sampled(kept, anchor, target, concept, kept[:0], anchor[:0], anchor[:1])


@contextmanager
def reference(model: Family, size: Size) -> Iterator[Step]:
    """The recipe's step: a second UNet, and text encoder and VAE at work every time; the model stays trained."""
    pipeline, trained = model.pipeline, model.network.to(memory_format=torch.contiguous_format)
    frozen = copy.deepcopy(trained).requires_grad_(False).eval()
    chosen = model.parameters_of("cross-attention-kv")
    trained.requires_grad_(False)
    parameters = [parameter.requires_grad_(True) for parameter in chosen.values()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-6)
    path, device, n = model.path(), model.device, size.batch_size
    files = jpegs(size.resolution)
    thread = ThreadPoolExecutor(1)

    def load() -> Tensor:
        chosen = [Image.open(io.BytesIO(files[i])) for i in torch.randint(POOL, (n,)).tolist()]
        return pipeline.image_processor.preprocess(chosen)

    ahead: list[Future[Tensor]] = []

    def step() -> Tensor:
        loaded = (ahead.pop().result() if ahead else load()).to(device)
        if device.type == "cuda":  # without a GPU there is no one else to do it
            ahead.append(thread.submit(load))
        with model.arithmetic(size.precision):
            with torch.no_grad():
                clean = pipeline.vae.encode(loaded).latent_dist.sample() - (pipeline.vae.config.shift_factor or 0)
                clean = clean * pipeline.vae.config.scaling_factor
                target, anchor = (model.encode([prompt] * n) for prompt in PROMPTS)
                timesteps = torch.randint(path.first, path.timesteps, (n,), device=device)
                noisy = path.add_noise(clean, torch.randn_like(clean), timesteps)
                goal = model.predict(frozen, noisy, timesteps, anchor)
            loss = (model.predict(trained, noisy, timesteps, target).float() - goal.float()).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    with thread, model.encoding(), model.here([pipeline.vae]):
        yield step


def jpegs(side: int) -> list[bytes]:
    """Pictures as the recipe keeps them: smooth colours, `side` pixels wide, as files in memory."""
    files = []
    for coarse in torch.randint(256, (POOL, side // 8, side // 8, 3), dtype=torch.uint8).numpy():
        file = io.BytesIO()
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG")
        files.append(file.getvalue())
    return files


def timed(steps: Sequence[Step], times: int, device: torch.device) -> list[list[float]]:
    """Seconds of every step, the given ones in turn, after two of each that are not timed."""
    seconds: list[list[float]] = [[] for _ in steps]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    for i in range(times + 2):
        for step, into in zip(steps, seconds, strict=True):
            started = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if i >= 2:
                into.append(time.perf_counter() - started)
    return seconds


def divergence_ratios(model: Family, said: Said, size: Size, times: int, device: torch.device) -> dict[str, float]:
    """A step with each divergence over the step with KL, which is MSE: medians of steps taken in turn."""
    names = ("kl", *OTHERS)
    with ExitStack() as stack:
        steps = [stack.enter_context(ours(model, said, size, name)) for name in names]
        medians = [statistics.median(values) for values in timed(steps, times, device)]
    return {name: median / medians[0] for name, median in zip(names, medians, strict=True)}


def growth(model: Family, said: Said, size: Size, steps: int, device: torch.device) -> list[dict[str, Any]]:
    """Our step, with one thing at a time grown: median seconds, and on a GPU peak bytes."""
    cases = [(name, value) for name, values in GROWN.items() for value in values]
    result = []
    for name, value in tqdm(cases, desc="growth"):
        to = int(size.resolution * value) if name == "resolution" else int(value)
        grown: dict[str, Any] = {name: to}
        with ours(model, said, replace(size, **grown)) as step:
            seconds = statistics.median(timed([step], steps, device)[0])
        peak = peak_bytes(device) or None
        result.append({"grown": name, "to": to, "step_seconds": seconds, "peak_bytes": peak})
        del step
        release(device)
    return result


def sampling_seconds(model: Family, said: Said, options: Config) -> dict[str, float]:
    """Seconds a guided sample, as latents and as decoded pictures."""
    result = {}
    for kind, output, steps in (("ours", "latent", options.sampling_steps), ("reference", "pt", RECIPE_SAMPLING)):
        prompts = [PROMPTS[1]] * 2 * options.batch_size
        with stored(model, options.precision):  # as it is in a run from the first picture to the last
            started = time.perf_counter()
            latents.sample(model, prompts, said, replace(options, sampling_steps=steps), 0, output, f"sample {kind}")
            result[kind] = (time.perf_counter() - started) / len(prompts)
    return result


def jobs(step: dict[str, float], sample: dict[str, float], options: Config) -> dict[str, float]:
    """Seconds of a whole job, from its measured parts: both take the recipe's 500 steps."""
    return {
        "ours": options.latents * sample["ours"] + RECIPE_STEPS * step["ours"],
        "reference": RECIPE_PICTURES * sample["reference"] + RECIPE_STEPS * step["reference"],
    }


def peak_bytes(device: torch.device) -> int:
    """The most that was held on a GPU since `timed` began; 0 elsewhere."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def release(device: torch.device) -> None:
    """Give back what a loop held, so that the next one's peak is its own."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
