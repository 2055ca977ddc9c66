"""Train every part of the miniature from scratch: tokenizer, text encoder, autoencoder, denoiser and judge.

A part that already stands in the output folder is kept, and of the denoiser's training every so many steps, so an
interrupted build goes on where it stopped.
"""

import json
import shutil
from dataclasses import replace
from types import ModuleType

import torch
from diffusers import DiffusionPipeline
from tqdm import tqdm

from harness.miniature import judge as judging
from harness.miniature import parts as shared
from harness.miniature import sd3, unet, world
from harness.miniature.recipe import JUDGE, Build, check, recipe
from harness.models.load import resolve_device
from harness.models.source import forget_places
from harness.runs.folder import written_whole

DENOISERS: dict[str, ModuleType] = {"unet": unet, "sd3": sd3}


def build(options: Build) -> dict[str, dict[str, float]]:
    """Build into `options.output` and return the measured quality (shares in [0, 1] per axis).

    The shipped oracles were made with `encoders`: their denoisers never saw the concept, while the text encoder and
    the autoencoder that they share with the originals did, so they fit the originals' pipelines.

    Raises:
        UsageError: options that cannot be used, or that differ from those which built parts of `output`.
    """
    options = replace(options, device=str(resolve_device(options.device)))
    check(options)
    out, denoiser = options.output, DENOISERS[options.denoiser]
    out.mkdir(parents=True, exist_ok=True)
    (out / "build.json").write_text(json.dumps(recipe(options), indent=1) + "\n")
    (out / "vocabulary.json").write_text(json.dumps(vocabulary(denoiser), indent=1) + "\n")
    if options.encoders is None:
        _build_shared(options)
    elif not (out / "judge").exists():
        with written_whole(out / "judge") as part:
            shutil.copyfile(options.encoders / JUDGE, part / JUDGE.name)
    parts = options.encoders or out
    if not (out / denoiser.COMPONENT).exists():
        denoiser.train(options, parts)
    pipeline = denoiser.assemble(parts, out / denoiser.COMPONENT)
    for part in (pipeline.vae, getattr(pipeline, denoiser.COMPONENT)):
        part.half()  # as they were saved when trained: what is measured is what is shipped
    pipeline.save_pretrained(out)
    forget_places(out)
    pipeline.to(options.device, torch.float32)
    judge = judging.load(parts / JUDGE).to(options.device)
    quality = {
        "judge_on_renders": judging.held_out_accuracy(judge, options.seed + 1000, options.renders),
        "samples": sample_accuracy(pipeline, judge, options),
    }
    (out / "quality.json").write_text(json.dumps(quality, indent=1) + "\n")
    return quality


def _build_shared(options: Build) -> None:
    """Train what is not there yet of the parts that no denoiser is."""
    out = options.output
    if not (out / "judge").exists():
        trained = judging.train(options.judge_steps, options.seed, options.device)
        with written_whole(out / "judge") as part:
            judging.save(trained, part / JUDGE.name)
    if not (out / "tokenizer").exists():
        shared.train_tokenizer(out / "tokenizer")
    if not (out / "text_encoder").exists():
        shared.train_text_encoder(options)
    if not (out / "vae").exists():
        shared.train_autoencoder(options)


def vocabulary(denoiser: ModuleType) -> dict[str, object]:
    """What the trainer may know of a model's world: its axes, how prompts are phrased, a concept to erase."""
    return denoiser.CALL | {
        "axes": world.AXES,
        "templates": world.TEMPLATES,
        "superclass": {
            "shape": [("{shape}", world.SUPERCLASS)],
            "colour": [("{colour} ", "")],
            "style": world.NO_STYLE,
        },
        "default": {"target": "star", "anchor": "circle"},
    }


def sample_accuracy(pipeline: DiffusionPipeline, judge: judging.Judge, options: Build) -> dict[str, float]:
    """Share of guided samples (20 steps, guidance 3) whose attribute the judge recognises, per axis."""
    generator = torch.Generator().manual_seed(options.seed + 2000)
    pipeline.set_progress_bar_config(disable=True)
    attributes = world.random_attributes(options.samples, generator, options.without)
    right = torch.zeros(len(world.AXES))
    for batch in tqdm(attributes.split(64), desc="samples"):
        prompts = [
            world.caption(
                world.TEMPLATES[0],
                **{axis: values[row[i]] for i, (axis, values) in enumerate(world.AXES.items())},
            )
            for row in batch.tolist()
        ]
        pictures = pipeline(
            prompts, num_inference_steps=20, guidance_scale=3.0, output_type="pt", generator=generator,
            **DENOISERS[options.denoiser].CALL,
        ).images  # fmt: skip
        right += (judge.attributes(pictures).cpu() == batch).float().sum(0)
    return {axis: right[i].item() / options.samples for i, axis in enumerate(world.AXES)}
