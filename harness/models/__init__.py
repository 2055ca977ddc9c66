"""Kinds of models, one file a kind: loading, parameter groups, the frozen prediction."""
