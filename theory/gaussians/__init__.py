"""Theorems on what a divergence is between two Gaussians of one covariance."""
