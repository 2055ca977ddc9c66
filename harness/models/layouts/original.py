"""The original code base's names (CompVis, Stability AI): Stable Diffusion 1.x, 2.x and XL in one file.

diffusers counts blocks and what is in them; the original counts `input_blocks` and `output_blocks` in the order of
execution, so that block i of n layers each begins after i (n + 1) of them, its sampler the last.
"""

import re
from collections.abc import Mapping

import torch
from diffusers import DiffusionPipeline, ModelMixin
from torch import Tensor, nn

Renaming = tuple[tuple[str, str], ...]
DENOISER, AUTOENCODER = "model.diffusion_model.", "first_stage_model."
UNET: Renaming = (
    (r"^conv_in\.", "input_blocks.0.0."),
    (r"^time_embedding\.linear_1\.", "time_embed.0."),
    (r"^time_embedding\.linear_2\.", "time_embed.2."),
    (r"^add_embedding\.linear_1\.", "label_emb.0.0."),
    (r"^add_embedding\.linear_2\.", "label_emb.0.2."),
    (r"^conv_norm_out\.", "out.0."),
    (r"^conv_out\.", "out.2."),
    (r"^mid_block\.resnets\.0\.", "middle_block.0."),
    (r"^mid_block\.attentions\.0\.", "middle_block.1."),
    (r"^mid_block\.resnets\.1\.", "middle_block.2."),
)
RESNET: Renaming = (
    (r"\.norm1\.", ".in_layers.0."),
    (r"\.conv1\.", ".in_layers.2."),
    (r"\.time_emb_proj\.", ".emb_layers.1."),
    (r"\.norm2\.", ".out_layers.0."),
    (r"\.conv2\.", ".out_layers.3."),
    (r"\.conv_shortcut\.", ".skip_connection."),
)
BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.")
VAE: Renaming = (
    (r"conv_norm_out\.", "norm_out."),
    (r"mid_block\.resnets\.0\.", "mid.block_1."),
    (r"mid_block\.resnets\.1\.", "mid.block_2."),
    (r"mid_block\.attentions\.0\.group_norm\.", "mid.attn_1.norm."),
    (r"mid_block\.attentions\.0\.to_out\.0\.", "mid.attn_1.proj_out."),
    (r"mid_block\.attentions\.0\.to_", "mid.attn_1."),
    (r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block."),
    (r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample."),
    (r"up_blocks\.(\d+)\.resnets\.", r"up.\1.block."),
    (r"up_blocks\.(\d+)\.upsamplers\.0\.", r"up.\1.upsample."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
)
OPEN_CLIP: Renaming = (
    (r"^embeddings\.token_embedding\.", "token_embedding."),
    (r"^embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"^encoder\.layers\.", "transformer.resblocks."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    (r"\.self_attn\.", ".attn."),
    (r"^final_layer_norm\.", "ln_final."),
)


def checkpoint(pipeline: DiffusionPipeline) -> dict[str, Tensor]:
    """Every weight of a pipeline, by its name in a single file."""
    names = unet_names(pipeline.unet)
    parts = {DENOISER: {names[name]: tensor for name, tensor in pipeline.unet.state_dict().items()}}
    parts[AUTOENCODER] = _autoencoder(pipeline.vae)
    two, first = getattr(pipeline, "text_encoder_2", None), _bare(pipeline.text_encoder)
    if two is not None:
        parts["conditioner.embedders.0.transformer.text_model."] = first
        parts["conditioner.embedders.1.model."] = _open_clip(_bare(two))
    elif pipeline.text_encoder.config.hidden_act == "gelu":  # OpenCLIP's, of 2.x; CLIP's has a quick one
        parts["cond_stage_model.model."] = _open_clip(first)
    else:
        parts["cond_stage_model.transformer.text_model."] = first
    return {prefix + name: tensor for prefix, tensors in parts.items() for name, tensor in tensors.items()}


def unet_names(network: ModelMixin) -> dict[str, str]:
    """For each of a UNet's parameters its name in the original, without the part's own prefix."""
    names, layers = list(network.state_dict()), network.config.layers_per_block
    attended = {match[2] for name in names if (match := re.match(r"(up_blocks\.(\d+))\.attentions", name))}

    def place(match: re.Match[str]) -> str:
        way, block, kind, inner = match[1], int(match[2]), match[3], int(match[4])
        side, first = ("input_blocks", 1) if way == "down" else ("output_blocks", 0)
        here = block * (layers + 1) + first
        if kind == "downsamplers":
            return f"{side}.{here + layers}.0."
        if kind == "upsamplers":
            return f"{side}.{here + layers}.{1 + (match[2] in attended)}."
        return f"{side}.{here + inner}.{int(kind == 'attentions')}."

    result = {}
    for name in names:
        new = BLOCK.sub(place, _renamed(name, UNET))
        new = _renamed(new, RESNET) if "resnets" in name else new
        result[name] = new.replace(".conv.", ".op.") if "downsamplers" in name else new
    return result


def _renamed(name: str, rules: Renaming) -> str:
    for pattern, new in rules:
        name = re.sub(pattern, new, name)
    return name


def _autoencoder(network: ModelMixin) -> dict[str, Tensor]:
    """A VAE's weights: its decoder's blocks are counted from the last, and its attention is a convolution."""
    last = len(network.config.up_block_types) - 1
    result = {}
    for name, tensor in network.state_dict().items():
        new = re.sub(r"up_blocks\.(\d+)", lambda match: f"up_blocks.{last - int(match[1])}", name)
        attends = "attentions" in name and tensor.ndim == 2
        result[_renamed(new, VAE)] = tensor[:, :, None, None] if attends else tensor
    return result


def _bare(encoder: nn.Module) -> dict[str, Tensor]:
    """A text encoder's weights; some releases of transformers put them all below `text_model`."""
    return {name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}


def _open_clip(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Text weights as OpenCLIP has them: queries, keys and values in one matrix, and the projection transposed."""
    result = {}
    for name, tensor in weights.items():
        if match := re.fullmatch(r"(.*\.self_attn\.)q_proj\.(weight|bias)", name):
            joined = torch.cat([weights[f"{match[1]}{each}_proj.{match[2]}"] for each in "qkv"])
            result[f"{_renamed(match[1], OPEN_CLIP)}in_proj_{match[2]}"] = joined
        elif name == "text_projection.weight":
            result["text_projection"] = tensor.T
        elif not re.search(r"\.[kv]_proj\.", name):
            result[_renamed(name, OPEN_CLIP)] = tensor
    return result
