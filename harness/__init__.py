"""The trainer: erases a concept from a Stable Diffusion UNet with a verified f-divergence."""

import os

# Importing diffusers makes transformers warn that torchvision is missing, which nothing here needs.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from importlib.util import find_spec

if missing := [name for name in ("tyro", "torch", "diffusers") if find_spec(name) is None]:
    raise ImportError(f"harness needs {', '.join(missing)}: pip install 'fdiv-unlearning[harness]'; fdiv works without")
