"""Theorems that hold for any P and Q."""
