"""How else a denoiser's tensors lie: thin factors, other programs' names, and bf16 beside what that leaves out."""
