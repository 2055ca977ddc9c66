"""Latents and embeddings, made once, and the batches drawn from them."""
