"""How other programs name a UNet pipeline's tensors: the original code base, and the trainers and UIs around it."""
