"""What tiny pipelines are put together from: tokenizers, text encoders and autoencoders with random weights."""

import inspect
import re
import string
from collections.abc import Iterable

import torch
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderKLFlux2, AutoencoderKLQwenImage, QwenImagePipeline
from diffusers.pipelines.flux2.system_messages import SYSTEM_MESSAGE
from tokenizers import pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    LlavaProcessor,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

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


def gemma_tokenizer() -> GemmaTokenizer:
    """Of letters, a few words and bytes; it begins a prompt as Gemma does."""
    vocabulary = {token: place for place, token in enumerate(("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁"))}
    tokens = [*string.ascii_letters, *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary |= {token: len(vocabulary) + place for place, token in enumerate(tokens)}
    result = GemmaTokenizer(merges=_merges(WORDS, vocabulary), vocab=vocabulary)
    result._tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    return result


def gemma(width: int = 16) -> Gemma2Model:
    """One layer."""
    small = {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    configuration = Gemma2Config(
        vocab_size=len(gemma_tokenizer()), hidden_size=width, head_dim=8, query_pre_attn_scalar=8, **small
    )
    return Gemma2Model(configuration).eval()


def _merges(words: Iterable[str], vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Those that make a token of each word, letter by letter; the tokens are added to the vocabulary."""
    merges = []
    for word in words:
        for end in range(1, len(word)):
            if (token := word[: end + 1]) not in vocabulary:
                vocabulary[token] = len(vocabulary)
                merges.append((word[:end], word[end]))
    return merges


def qwen_tokenizer() -> Qwen2Tokenizer:
    """Words of Qwen-Image's template are as many tokens as there; j is one that no template spells."""
    template = inspect.getsource(QwenImagePipeline.__init__).partition("Describe")[2]
    result = _byte_tokenizer([*re.findall(r"\w+", template), "j"], ["assistant", "system", "Describe"])
    result.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
        "{% if enable_thinking is false %}..\n\n..\n\n{% endif %}"
    )
    return result


def pixtral_processor() -> LlavaProcessor:
    """In the place of PixtralProcessor, which needs torchvision: with its template, in which contents are lists.

    Padding comes first. Words of the system's message are as many tokens; b is one that it does not spell.
    """
    tokenizer = _byte_tokenizer([*re.findall(r"\w+", SYSTEM_MESSAGE), "b"], ["attribution", "You"])
    tokenizer.padding_side = "left"
    markers = [f"[{end}{kind}]" for kind in ("SYSTEM_PROMPT", "INST") for end in ("", "/")]
    tokenizer.add_special_tokens({"additional_special_tokens": markers})
    template = (
        "{% for message in messages %}{% set kind = {'system': 'SYSTEM_PROMPT', 'user': 'INST'}[message.role] %}"
        "[{{ kind }}]{{ message.content[0].text }}[/{{ kind }}]{% endfor %}"
    )
    return LlavaProcessor(CLIPImageProcessorPil(), tokenizer, chat_template=template)


def _byte_tokenizer(words: list[str], alone: Iterable[str]) -> Qwen2Tokenizer:
    """Of bytes, some words after a space, others without one, and those that all tokenizers have, in both ways.

    What comes first is merged first: a word that is spelt in the middle of another follows that one.
    """
    spaced = [f"Ġ{word}" for word in (*words, *WORDS)]
    vocabulary = {"<|endoftext|>": 0}
    vocabulary |= {letter: 1 + place for place, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = _merges([*spaced, *alone, "house", "user", "tree", *WORDS], vocabulary)
    result = Qwen2Tokenizer(vocab=vocabulary, merges=merges)
    result.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return result


def _qwen(**options) -> dict[str, object]:
    """The configuration of a Qwen's text model of one layer, 16 wide."""
    small = {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    return {"vocab_size": len(qwen_tokenizer()), "hidden_size": 16, "head_dim": 8} | small | options


def qwen_of_pictures() -> Qwen2_5_VLForConditionalGeneration:
    """Qwen2.5-VL; what it sees with is never asked for."""
    seeing = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    turned = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    configuration = Qwen2_5_VLConfig(text_config=_qwen(rope_parameters=turned), vision_config=seeing)
    return Qwen2_5_VLForConditionalGeneration(configuration).eval()


def qwen() -> Qwen3Model:
    """Of two layers: what is read is what the last but one makes."""
    return Qwen3Model(Qwen3Config(**_qwen(num_hidden_layers=2))).eval()


def qwen_of_language() -> Qwen3ForCausalLM:
    """As deep as is read: after 9, 18 and 27 layers."""
    return Qwen3ForCausalLM(Qwen3Config(**_qwen(num_hidden_layers=27))).eval()


def mistral() -> Mistral3ForConditionalGeneration:
    """As deep as is read: after 10, 20 and 30 layers. What it sees with is never asked for."""
    seeing = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    read = _qwen(num_hidden_layers=30) | {"vocab_size": len(pixtral_processor().tokenizer)}
    configuration = Mistral3Config(
        text_config={"model_type": "mistral"} | read, vision_config={"model_type": "pixtral"} | seeing
    )
    return Mistral3ForConditionalGeneration(configuration).eval()


def video_vae() -> AutoencoderKLQwenImage:
    """For pictures of twice the latents' pixels a side; it says no size."""
    return AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 1], num_res_blocks=1, temperal_downsample=[False],
        latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.0, 2.0, 0.5, 1.5],
    )  # fmt: skip


def deep_vae() -> AutoencoderDC:
    """For pictures of 32 pixels a side, of which its two halvings leave 8."""
    blocks = dict.fromkeys(("encoder_block_types", "decoder_block_types"), ("ResBlock",) * 3)
    blocks |= {f"{each}_block_out_channels": (8, 8, 8) for each in ("encoder", "decoder")}
    blocks |= {f"{each}_layers_per_block": (1, 1, 1) for each in ("encoder", "decoder")}
    blocks |= {f"{each}_qkv_multiscales": ((), (), ()) for each in ("encoder", "decoder")}
    return AutoencoderDC(latent_channels=4, scaling_factor=0.41407, **blocks)


def patched_vae() -> AutoencoderKLFlux2:
    """For pictures of 16 pixels a side, and with a mean and a variance of each channel of a patch of latents."""
    result = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, sample_size=16, latent_channels=4,
    ).eval()  # fmt: skip
    result.bn.running_mean.copy_(torch.linspace(-1, 1, 16))
    result.bn.running_var.copy_(torch.linspace(0.25, 4, 16))
    return result


def vae(levels: int = 2, **options) -> AutoencoderKL:
    """For pictures of 16 pixels a side, each level but the first halving that."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(8,) * levels, layers_per_block=1, norm_num_groups=4, sample_size=16, **options,
    )  # fmt: skip
