"""An embedded miniature Stable Diffusion: its world, its builder, its judge and its weights."""
