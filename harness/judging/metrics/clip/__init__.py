"""Metrics of a judge that reads texts, found by being here as those one folder above are."""
