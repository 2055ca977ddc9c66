"""The sampler of all pictures and latents: DPM-Solver++ 2M, which needs few steps, in the scheduler's place.

The judge sees next to the same in the miniature's pictures after 8 of its steps as after 20 of the scheduler's own
(docs/log.md). The pipeline that is saved or exported keeps the scheduler that it came with.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler

from harness.models.family import Family
from harness.models.path import is_exponential

SOLVER = {"algorithm_type": "dpmsolver++", "solver_order": 2}
"""Lu et al., 2211.01095, algorithm 2; all else is as diffusers reads it from the scheduler's configuration."""


def sampler(pipeline: DiffusionPipeline) -> Any:
    """A new sampler on the schedule of the pipeline's own scheduler, before its first step.

    A scheduler whose noise diffusers cannot sample with DPM-Solver, as that of a distilled model or of a flow, is
    copied instead.
    """
    own = pipeline.scheduler
    if DPMSolverMultistepScheduler not in own.compatibles:
        return copy.deepcopy(own)
    return DPMSolverMultistepScheduler.from_config(own.config, **SOLVER)


@contextmanager
def few_steps(pipeline: DiffusionPipeline) -> Iterator[None]:
    """Within this, the sampler stands in the place of the pipeline's scheduler."""
    own = pipeline.scheduler
    pipeline.scheduler = sampler(pipeline)
    try:
        yield
    finally:
        pipeline.scheduler = own


def with_steps(model: Family, steps: int, device: torch.device | str = "cpu") -> Any:
    """The sampler before the first of so many steps, at the time steps that the pipeline's call gives them."""
    scheduler = sampler(model.pipeline)
    shift = replace(model, sampling_steps=steps).path().log_shift
    given: dict[str, Any] = {"num_inference_steps": steps}
    if model.spaces_noise and not scheduler.config.get("use_flow_sigmas"):
        given = {"sigmas": np.linspace(1.0, 1 / steps, steps)}
    if scheduler.config.get("use_dynamic_shifting") and shift is not None:
        given["mu"] = shift if is_exponential(scheduler.config) else math.exp(shift)
    scheduler.set_timesteps(**given, device=device)
    return scheduler


def has_steps(model: Family, steps: int) -> bool:
    """Whether the sampler can make so many steps, each at a time step of its own."""
    scheduler = with_steps(model, steps)
    return len(set(scheduler.timesteps.tolist())) == len(scheduler.timesteps)
