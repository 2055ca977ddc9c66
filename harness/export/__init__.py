"""One erasure, three ways for others to open it: the changed weights, a LoRA, a whole pipeline."""
