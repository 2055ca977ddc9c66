"""The gate: claims about a divergence, each with its evidence."""
