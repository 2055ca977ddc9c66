"""One file a metric, found by being here: its `METRIC`."""
