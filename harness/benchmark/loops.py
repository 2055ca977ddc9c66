"""The cost of a step of our loop and of one that does as the official recipe does.

The reference loop is ours, from the recipe's description: two UNets, and at every step pictures decoded from JPEG (with
a GPU in a thread, one step ahead) and encoded by the VAE, and prompts by the text encoder. Both train the same
parameter group on as many target prompts, without retention. Their rounds alternate, so that a busy machine slows both
alike; seconds are medians over all rounds. Weights are random for the shape of SD 1.5, which changes no cost.
"""

import copy
import gc
import io
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import fdiv
from harness.config import MINIATURE, WEIGHTS, Config
from harness.data import latents
from harness.loss.objective import Losses
from harness.models import load as models
from harness.models.families.stable_diffusion import StableDiffusion
from harness.models.family import Conditioning, Family
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
Step = Callable[[], Any]


@dataclass(frozen=True)
class Size:
    """Of what a step does."""

    shape: str = MINIATURE
    """`miniature`, or `sd15`."""
    resolution: int = 64
    """Pixels along a side."""
    batch_size: int = 8
    """Target prompts."""
    precision: Literal["fp32", "bf16"] = "fp32"
    concepts: int = 1

    @property
    def options(self) -> Config:
        """Of a run that does as the recipe does, without retention, at a scale that needs no calibration."""
        return Config(
            batch_size=self.batch_size, precision=self.precision, scale="unit", retain_weight=0.0, learning_rate=1e-6,
            origin="anchor", parameter_group="cross-attention-kv",
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
    torch.manual_seed(0)
    device = models.resolve_device(device_name)
    model = models.load(WEIGHTS, device) if size.shape == MINIATURE else sd15(device)
    loops = {"ours": partial(ours, model, size, "kl"), "reference": partial(reference, model, size)}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    peak = dict.fromkeys(loops, 0)
    for _ in tqdm(range(rounds), desc="loops"):
        for name, make in loops.items():
            with make() as step:
                seconds[name] += timed([step], steps, device)[0]
            peak[name] = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
            del step
            release(device)
    step_of = {name: statistics.median(values) for name, values in seconds.items()}
    with ours(model, size, "kl") as step, FlopCounterMode(display=False) as counter:
        step()
    return {
        "step_seconds": step_of,
        "step_ratio": step_of["ours"] / step_of["reference"],
        "peak_bytes": peak if device.type == "cuda" else None,
        "divergence_ratio": divergence_ratios(model, size, steps * rounds, device),
        "job_seconds_from_parts": jobs(step_of, sampling_seconds(model, size.options), size.options),
        "step_flops": counter.get_total_flops(),
        "growth": growth(model, size, steps, device) if grow else None,
        **environment(device),
    }


@contextmanager
def ours(model: Family, size: Size, divergence: str) -> Iterator[Step]:
    """The trainer's own step on kept latents; afterwards the model is as it was."""
    model.network.to(memory_format=torch.channels_last)
    losses = Losses.of([fdiv.resolve(divergence)] * size.concepts, [1.0] * size.concepts, "closed_form")
    trainer = Trainer(model, random_latents(model, size), losses, size.options)
    yield trainer.take_step
    trainer.denoiser.restore()


def random_latents(model: Family, size: Size) -> latents.Sampled:
    """Latents to train on that nobody sampled: their values change no cost."""
    pool, side = max(POOL, size.concepts), size.resolution // model.pipeline.vae_scale_factor
    kept = torch.randn(pool, model.network.config.in_channels, side, side, device=model.device)
    embeddings = latents.encode(model, PROMPTS)
    target, anchor = (Conditioning.stack([embeddings[prompt]] * pool) for prompt in PROMPTS)
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
                clean = pipeline.vae.encode(loaded).latent_dist.sample() * pipeline.vae.config.scaling_factor
                target, anchor = (model.encode([prompt] * n) for prompt in PROMPTS)
                timesteps = torch.randint(1, path.timesteps, (n,), device=device)
                noisy = path.add_noise(clean, torch.randn_like(clean), timesteps)
                goal = model.predict(frozen, noisy, timesteps, anchor)
            loss = (model.predict(trained, noisy, timesteps, target).float() - goal.float()).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    with thread, model.whole():
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


def divergence_ratios(model: Family, size: Size, times: int, device: torch.device) -> dict[str, float]:
    """A step with each divergence over the step with KL, which is MSE: medians of steps taken in turn."""
    names = ("kl", *OTHERS)
    with ExitStack() as stack:
        steps = [stack.enter_context(ours(model, size, name)) for name in names]
        medians = [statistics.median(values) for values in timed(steps, times, device)]
    return {name: median / medians[0] for name, median in zip(names, medians, strict=True)}


def growth(model: Family, size: Size, steps: int, device: torch.device) -> list[dict[str, Any]]:
    """Our step, with one thing at a time grown: median seconds, and on a GPU peak bytes."""
    cases = [(name, value) for name, values in GROWN.items() for value in values]
    result = []
    for name, value in tqdm(cases, desc="growth"):
        to = int(size.resolution * value) if name == "resolution" else int(value)
        grown: dict[str, Any] = {name: to}
        with ours(model, replace(size, **grown), "kl") as step:
            seconds = statistics.median(timed([step], steps, device)[0])
        peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        result.append({"grown": name, "to": to, "step_seconds": seconds, "peak_bytes": peak})
        del step
        release(device)
    return result


def sampling_seconds(model: Family, options: Config) -> dict[str, float]:
    """Seconds a guided sample, as latents and as decoded pictures."""
    embeddings = latents.encode(model, [*PROMPTS, ""])
    result = {}
    for kind, output, steps in (("ours", "latent", options.sampling_steps), ("reference", "pt", RECIPE_SAMPLING)):
        started = time.perf_counter()
        prompts = [PROMPTS[1]] * 2 * options.batch_size
        latents.sample(model, prompts, embeddings, replace(options, sampling_steps=steps), 0, output, f"sample {kind}")
        result[kind] = (time.perf_counter() - started) / len(prompts)
    return result


def jobs(step: dict[str, float], sample: dict[str, float], options: Config) -> dict[str, float]:
    """Seconds of a whole job, from its measured parts: both take the recipe's 500 steps."""
    return {
        "ours": options.latents * sample["ours"] + RECIPE_STEPS * step["ours"],
        "reference": RECIPE_PICTURES * sample["reference"] + RECIPE_STEPS * step["reference"],
    }


def release(device: torch.device) -> None:
    """Give back what a loop held, so that the next one's peak is its own."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def sd15(device: torch.device) -> Family:
    """A pipeline in the shape of Stable Diffusion 1.5, with random weights and 77 tokens a prompt."""
    tokenizer = CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer", model_max_length=77)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, **ends
    )  # fmt: skip
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512,
    )  # fmt: skip
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=tokenizer, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    model = StableDiffusion(pipeline)
    model.network.to(device)
    return model
