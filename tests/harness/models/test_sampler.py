"""The sampler that stands in the scheduler's place, against what its steps approximate."""

import json

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusionPipeline,
)

from harness.config import WEIGHTS, Config, UsageError
from harness.data.latents import encode, sample
from harness.miniature.judge import load
from harness.miniature.recipe import JUDGE
from harness.models.family import families
from harness.models.load import check_sampling
from harness.models.sampler import few_steps, has_steps, sampler, with_steps
from tests import tiny

EULER = ("sd3", "flux", "flux2", "klein", "qwen-image", "z-image")
"""Kinds whose sampler is their own scheduler, which makes Euler's steps of a flow."""


@pytest.mark.parametrize("kind", [kind for kind in tiny.PIPELINES if kind not in EULER])
def test_it_keeps_the_schedule_and_what_the_model_predicts(kind):
    pipeline = tiny.PIPELINES[kind]()
    ours, own = sampler(pipeline), pipeline.scheduler
    assert isinstance(ours, DPMSolverMultistepScheduler)
    assert (ours.config.algorithm_type, ours.config.solver_order) == ("dpmsolver++", 2)
    assert torch.equal(ours.alphas_cumprod, own.alphas_cumprod)
    for name in ("prediction_type", "num_train_timesteps", "steps_offset"):
        assert ours.config[name] == own.config[name]


@pytest.mark.parametrize("own", [LCMScheduler(), FlowMatchEulerDiscreteScheduler()], ids=lambda own: type(own).__name__)
def test_a_scheduler_of_another_kind_of_model_is_copied(own):
    pipeline = tiny.pipeline()
    pipeline.scheduler = own
    assert type(sampler(pipeline)) is type(own)
    assert sampler(pipeline) is not own
    assert sampler(pipeline).config == own.config


@pytest.mark.parametrize("kind", tiny.PIPELINES)
def test_sampling_leaves_the_pipelines_scheduler_as_it_was(kind, tmp_path):
    model = tiny.model(kind)
    own = model.pipeline.scheduler
    before, index = dict(vars(own)), dict(model.pipeline.config)
    embeddings = encode(model, ["a star", ""])
    sample(model, ["a star"], embeddings, Config(sampling_steps=2), seed=0)
    with pytest.raises(KeyError), few_steps(model.pipeline):
        raise KeyError(model.pipeline.scheduler)
    assert model.pipeline.scheduler is own
    assert all(vars(own)[name] is value for name, value in before.items())
    assert dict(model.pipeline.config) == index
    model.pipeline.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "model_index.json").read_text())["scheduler"]
    assert written == ["diffusers", type(own).__name__]


def _error(scheduler, steps, variance):
    """How far off a scheduler is at its last time step for Gaussian data, whose best denoiser and flow are known.

    Data N(0, v): along the probability flow x_t / sqrt(alpha_bar_t v + 1 - alpha_bar_t) never changes.
    """
    scheduler.set_timesteps(steps)
    alpha_bar, times = scheduler.alphas_cumprod.double(), scheduler.timesteps
    spread = (alpha_bar * variance + 1 - alpha_bar).sqrt()
    x = torch.ones(1, dtype=torch.float64)
    for t in times[:-1]:
        x = scheduler.step((1 - alpha_bar[t]).sqrt() * x / spread[t] ** 2, t, x).prev_sample
    return abs(x.item() / (spread[times[-1]] / spread[times[0]]).item() - 1)


@pytest.mark.parametrize("variance", [0.2, 0.5, 2.0])
def test_eight_steps_are_nearer_to_the_exact_flow_than_twenty_of_ddim(variance):
    pipeline = tiny.pipeline()
    ddim = DDIMScheduler.from_config(pipeline.scheduler.config)
    assert _error(sampler(pipeline), 8, variance) < min(0.02, _error(ddim, 20, variance))


def test_every_step_needs_a_time_step_of_its_own():
    model = tiny.model()
    assert has_steps(model, 1)
    assert has_steps(model, 999)
    assert not has_steps(model, 1000)


@pytest.mark.parametrize("kind", ["sana", "schnell", *EULER])
def test_a_flows_steps_are_at_the_times_of_the_pipelines_own_call(kind):
    model, seen = tiny.model(kind), []

    def note(*given):
        seen.append(float(given[2]))
        return {}

    tiny.call(model, "a star", num_inference_steps=3, guidance_scale=1.0, callback_on_step_end=note)
    assert with_steps(model, 3).timesteps.tolist() == pytest.approx(seen, rel=1e-4)


@pytest.mark.parametrize("kind", tiny.PIPELINES)
def test_the_fewest_steps_of_a_family_are_taken_and_fewer_refused(kind):
    model = tiny.model(kind)
    check_sampling(model, model.fewest_steps)
    assert with_steps(model, model.fewest_steps).timesteps.isfinite().all()
    with pytest.raises(UsageError, match=f"--sampling-steps {model.fewest_steps - 1}: "):
        check_sampling(model, model.fewest_steps - 1)


def test_a_judge_sees_the_same_after_eight_steps_as_after_twenty_of_the_pipelines_own():
    pipeline = StableDiffusionPipeline.from_pretrained(WEIGHTS)
    pipeline.set_progress_bar_config(disable=True)
    model = families()["StableDiffusionPipeline"](pipeline)
    things = ("red star in plain", "blue moon in neon", "green circle in outline", "yellow heart in plain")
    prompts = [f"a {thing} style" for thing in things]
    embeddings = encode(model, [*prompts, ""])
    ours = sample(model, prompts, embeddings, Config(), seed=3, output="pt")
    seeds = torch.randint(2**62, (len(prompts),), generator=torch.Generator().manual_seed(3)).tolist()
    theirs = pipeline(
        prompts, num_inference_steps=20, guidance_scale=3.0, output_type="pt",
        generator=[torch.Generator().manual_seed(each) for each in seeds],
    ).images  # fmt: skip
    judge = load(WEIGHTS / JUDGE)
    assert judge.values(ours) == judge.values(theirs)
    assert (ours - theirs).square().mean().sqrt() < 0.05
