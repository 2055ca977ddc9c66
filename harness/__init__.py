"""The trainer: erases a concept from a Stable Diffusion UNet with a verified f-divergence."""

import os

# Importing diffusers makes transformers warn that torchvision is missing, which nothing here needs.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
