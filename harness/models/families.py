"""The kinds of models that can be trained: one file each, found by the pipeline class that a model's index names."""

from harness.models.family import Conditioning, Family, NoiseSchedule
from harness.models.stable_diffusion import StableDiffusion
from harness.models.stable_diffusion_xl import StableDiffusionXL

FAMILIES: dict[str, type[Family]] = {
    family.pipeline_class.__name__: family for family in (StableDiffusion, StableDiffusionXL)
}

__all__ = ["FAMILIES", "Conditioning", "Family", "NoiseSchedule"]
