"""One erasure in the files that others open: the changed weights, LoRAs, a checkpoint or a whole pipeline."""
