"""How well a concept is forgotten, and how little else."""
