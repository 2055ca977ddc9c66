"""An embedded miniature Stable Diffusion: its world, its builder, its judge and its weights."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""The shipped pipeline in the diffusers layout, with its judge and its oracle beside it."""
