"""Tensors to losses: the gap between two predictions, its scale, the objective, the critic."""
