"""Theorems on what a divergence does in training."""
