"""Figures with their intervals of 95 %, over prompts and seeds."""
