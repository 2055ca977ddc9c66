"""What tiny pipelines are put together from: tokenizers, text encoders and autoencoders with random weights."""

import string

from diffusers import AutoencoderKL
from transformers import CLIPTextConfig, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from harness.config import WEIGHTS

WORDS = ("a", "star", "circle", "moon", "ring", "red", "shape", "tree", "house", "dog")
"""Those that have a token of their own in tokenizers made here; others are spelt."""


def clip_tokenizer() -> CLIPTokenizer:
    """The miniature's, with as much room as that of Stable Diffusion."""
    return CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer", model_max_length=77)


def clip_config(**options) -> CLIPTextConfig:
    """One layer, 16 wide."""
    tokenizer = clip_tokenizer()
    small = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "projection_dim": 16, "vocab_size": len(tokenizer), "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    return CLIPTextConfig(**(small | options))


def t5_tokenizer() -> T5Tokenizer:
    """A unigram one that ends a prompt as T5 does and has no other special tokens."""
    spelling = [(letter, -6.0) for letter in string.ascii_letters + string.digits + ".,-'"]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary = [*special, ("▁", -4.0), *spelling, *((f"▁{word}", -2.0) for word in WORDS)]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=512)


def t5_encoder(width: int = 16) -> T5EncoderModel:
    """One layer."""
    small = {"d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "feed_forward_proj": "gated-gelu"}
    return T5EncoderModel(T5Config(vocab_size=len(t5_tokenizer()), d_model=width, **small)).eval()


def vae(levels: int = 2, **options) -> AutoencoderKL:
    """For pictures of 16 pixels a side, each level but the first halving that."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(8,) * levels, layers_per_block=1, norm_num_groups=4, sample_size=16, **options,
    )  # fmt: skip
