"""What a step costs, side by side with a loop that does as the official recipe does.

    python -m harness.benchmark                                     # the miniature, on this machine
    python -m harness.benchmark --shape sd15 --resolution 512 --batch-size 4 --device cuda --precision bf16

The reference loop is ours, from the recipe's description: two UNets, and at every step pictures decoded from JPEG (with
a GPU in a thread, one step ahead) and encoded by the VAE, and prompts by the text encoder. Both train the same
parameter group on as many target prompts, without retention. Their rounds alternate, so that a busy machine slows both
alike; seconds are medians over all rounds. Weights are random for `--shape sd15`, which changes no cost.
"""

import copy
import gc
import io
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from harness import unlearn
from harness.config import MINIATURE, WEIGHTS, Config, UsageError
from harness.data import latents
from harness.loss.calibration import Objective, sampler
from harness.loss.objective import Losses, Scale, unit_constant
from harness.models import load as models
from harness.models.families.stable_diffusion import StableDiffusion
from harness.runs import checkpoint
from harness.runs import folder as folders
from harness.show import screen as report

OTHERS = ("squared_hellinger", "jensen_shannon", "pearson", "total_variation")
PROMPTS = ("a star", "a circle")
POOL = 16
RECIPE_PICTURES, RECIPE_SAMPLING, RECIPE_STEPS = 1000, 25, 500
Step = Callable[[], Any]


@dataclass(frozen=True)
class Benchmark:
    """Compare the cost of a step, and of a whole job, with the official recipe's."""

    shape: Literal["miniature", "sd15"] = "miniature"
    """The embedded model, or random weights in the shape of Stable Diffusion 1.5."""
    resolution: int = 64
    """Pixels along a side."""
    batch_size: int = 8
    """Target prompts per step."""
    steps: int = 20
    """Timed steps in a round, after two that are not."""
    rounds: int = 3
    """Rounds of each loop, in turn."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the forward passes of both loops."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    peak_tflops: float = 0.0
    """The device's peak in this precision, for the FLOP utilisation; 0 leaves it out."""
    growth: bool = False
    """Measure our step at other batch sizes, resolutions and numbers of concepts too."""
    output: Path = Path("runs/benchmark.json")
    """Where the figures go as JSON."""


def run(options: Benchmark) -> dict[str, Any]:
    """Measure, write and return the figures: seconds, bytes and FLOPs."""
    torch.manual_seed(0)
    device = models.resolve_device(options.device)
    config = Config(batch_size=options.batch_size, retain_method="none", precision=options.precision)
    model = models.load(WEIGHTS, device) if options.shape == MINIATURE else sd15(device)
    loops = {"ours": partial(ours, model, config, options, "kl"), "reference": partial(reference, model, options)}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    peak = dict.fromkeys(loops, 0)
    for _ in tqdm(range(options.rounds), desc="loops"):
        for name, make in loops.items():
            with make() as step:
                seconds[name] += timed([step], options.steps, device)[0]
            peak[name] = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
            del step
            release(device)
    step_of = {name: statistics.median(values) for name, values in seconds.items()}
    with ours(model, config, options, "kl") as step, FlopCounterMode(display=False) as counter:
        step()
    flops = counter.get_total_flops()
    per_sample = sampling_seconds(model, config)
    result = {
        "options": {name: str(value) for name, value in vars(options).items()},
        "step_seconds": step_of,
        "step_ratio": step_of["ours"] / step_of["reference"],
        "peak_bytes": peak if device.type == "cuda" else None,
        "divergence_ratio": divergence_ratios(model, config, options, device),
        "job_seconds_from_parts": jobs(step_of, per_sample, config),
        "step_flops": flops,
        "flop_utilisation": flops / step_of["ours"] / options.peak_tflops / 1e12 if options.peak_tflops else None,
        "growth": growth(model, config, options, device) if options.growth else None,
        **report.environment(device),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    folders.write_json(options.output, result)
    return result


@contextmanager
def ours(
    model: models.Family, config: Config, options: Benchmark, divergence: str, concepts: int = 1
) -> Iterator[Step]:
    """The trainer's own step on kept latents; afterwards the model is as it was."""
    losses = Losses.of([divergence] * concepts, [1.0] * concepts, config.objective)
    model.network.to(memory_format=torch.channels_last)
    denoiser = models.Denoiser(model, config.parameter_group, config.precision)
    schedule = model.noise_schedule()
    size = options.resolution // model.pipeline.vae_scale_factor
    pool = max(POOL, concepts)
    kept = torch.randn(pool, model.network.config.in_channels, size, size, device=model.device)
    embeddings = latents.encode(model, PROMPTS)
    target, anchor = (models.Conditioning.stack([embeddings[prompt]] * pool) for prompt in PROMPTS)
    concept = torch.arange(pool, device=kept.device) % concepts
    sampled = latents.Sampled(kept, anchor, target, concept, kept[:0], anchor[:0], anchor[:1])
    noise = torch.Generator().manual_seed(0)
    scale = Scale("unit", schedule, (unit_constant(kept),))
    objective = Objective(losses, scale, sampler(schedule, config), "none", 1.0)
    drawn = latents.batches(sampled, schedule, objective.sampler, config, noise)
    optimizer = torch.optim.AdamW(denoiser.trained.values(), lr=1e-6, weight_decay=0.0)
    state = checkpoint.Training(denoiser, optimizer, None, noise, objective)
    yield lambda: unlearn.take_step(state, next(drawn), objective)
    denoiser.restore()


@contextmanager
def reference(model: models.Family, options: Benchmark) -> Iterator[Step]:
    """The recipe's step: a second UNet, and text encoder and VAE at work every time; the model stays trained."""
    pipeline, trained = model.pipeline, model.network.to(memory_format=torch.contiguous_format)
    frozen = copy.deepcopy(trained).requires_grad_(False).eval()
    chosen = models.select(model, "cross-attention-kv")
    trained.requires_grad_(False)
    parameters = [parameter.requires_grad_(True) for parameter in chosen.values()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-6)
    schedule, device, n = model.noise_schedule(), model.device, options.batch_size
    files = jpegs(options.resolution)
    thread = ThreadPoolExecutor(1)

    def load() -> Tensor:
        chosen = [Image.open(io.BytesIO(files[i])) for i in torch.randint(POOL, (n,)).tolist()]
        return pipeline.image_processor.preprocess(chosen)

    ahead: list[Future[Tensor]] = []

    def step() -> Tensor:
        loaded = (ahead.pop().result() if ahead else load()).to(device)
        if device.type == "cuda":  # without a GPU there is no one else to do it
            ahead.append(thread.submit(load))
        with model.arithmetic(options.precision):
            with torch.no_grad():
                clean = pipeline.vae.encode(loaded).latent_dist.sample() * pipeline.vae.config.scaling_factor
                target, anchor = (model.encode([prompt] * n) for prompt in PROMPTS)
                timesteps = torch.randint(1, schedule.timesteps, (n,), device=device)
                noisy = schedule.add_noise(clean, torch.randn_like(clean), timesteps)
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


def divergence_ratios(
    model: models.Family, config: Config, options: Benchmark, device: torch.device
) -> dict[str, float]:
    """A step with each divergence over the step with KL, which is MSE: medians of steps taken in turn."""
    names = ("kl", *OTHERS)
    with ExitStack() as stack:
        steps = [stack.enter_context(ours(model, config, options, name)) for name in names]
        medians = [statistics.median(values) for values in timed(steps, options.steps * options.rounds, device)]
    return {name: median / medians[0] for name, median in zip(names, medians, strict=True)}


def growth(model: models.Family, config: Config, options: Benchmark, device: torch.device) -> list[dict[str, Any]]:
    """Our step, with one thing at a time grown: median seconds, and on a GPU peak bytes."""
    cases = [("batch_size", n) for n in (1, 2, 4, 8, 16, 32)]
    cases += [("resolution", options.resolution * k // 2) for k in (1, 2, 3, 4)]
    cases += [("concepts", n) for n in (1, 4, 16, 64)]
    result = []
    for name, value in tqdm(cases, desc="growth"):
        changed: dict[str, Any] = {} if name == "concepts" else {name: value}
        grown = replace(options, **changed)
        batches = replace(config, batch_size=grown.batch_size)
        with ours(model, batches, grown, "kl", value if name == "concepts" else 1) as step:
            seconds = statistics.median(timed([step], options.steps, device)[0])
        peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        result.append({"grown": name, "to": value, "step_seconds": seconds, "peak_bytes": peak})
        del step
        release(device)
    return result


def sampling_seconds(model: models.Family, config: Config) -> dict[str, float]:
    """Seconds a guided sample, as latents and as decoded pictures."""
    embeddings = latents.encode(model, [*PROMPTS, ""])
    result = {}
    for kind, output, steps in (("ours", "latent", config.sampling_steps), ("reference", "pt", RECIPE_SAMPLING)):
        started = time.perf_counter()
        prompts = [PROMPTS[1]] * 2 * config.batch_size
        latents.sample(model, prompts, embeddings, replace(config, sampling_steps=steps), 0, output, f"sample {kind}")
        result[kind] = (time.perf_counter() - started) / len(prompts)
    return result


def jobs(step: dict[str, float], sample: dict[str, float], config: Config) -> dict[str, float]:
    """Seconds of a whole job, from its measured parts: both take the recipe's 500 steps."""
    return {
        "ours": config.latents * sample["ours"] + RECIPE_STEPS * step["ours"],
        "reference": RECIPE_PICTURES * sample["reference"] + RECIPE_STEPS * step["reference"],
    }


def release(device: torch.device) -> None:
    """Give back what a loop held, so that the next one's peak is its own."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def sd15(device: torch.device) -> models.Family:
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


def rows(result: dict[str, Any]) -> Iterator[str]:
    """The figures as a table for people."""
    yield f"{'':28}{'ours':>12}{'reference':>12}{'ratio':>8}"
    tables = {"step, s": result["step_seconds"], "whole job from parts, s": result["job_seconds_from_parts"]}
    if result["peak_bytes"]:
        tables["peak memory, GiB"] = {name: value / 2**30 for name, value in result["peak_bytes"].items()}
    for name, pair in tables.items():
        yield f"{name:28}{pair['ours']:12.4g}{pair['reference']:12.4g}{pair['ours'] / pair['reference']:8.3f}"
    for name, ratio in result["divergence_ratio"].items():
        yield f"{name + ' against kl':28}{'':24}{ratio:8.3f}"
    yield f"{result['step_flops']:.4g} FLOPs a step of ours"
    if result["flop_utilisation"] is not None:
        yield f"FLOP utilisation {result['flop_utilisation']:.2f}"
    for row in result["growth"] or ():
        memory = "" if row["peak_bytes"] is None else f", {row['peak_bytes'] / 2**30:.2f} GiB"
        yield f"{row['grown']} {row['to']}: {row['step_seconds']:.4g} s{memory}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    report.quieten_libraries()
    options = tyro.cli(Benchmark, args=arguments, prog="python -m harness.benchmark", description=__doc__)
    try:
        print("\n".join(rows(run(options))))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
