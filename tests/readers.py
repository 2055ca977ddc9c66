"""How other programs find a file's keys, written from their published rules: none of this looks at how we write.

The original code base appends modules to lists as it builds a model, and a key holds their places in these lists. So
the lists are built here, of a diffusers model's own modules.
"""

from pathlib import Path

import torch
from diffusers import DiffusionPipeline

Named = list[tuple[str, object]]


def pipeline(folder: Path) -> DiffusionPipeline:
    """A pipeline's folder, opened by diffusers itself."""
    result = DiffusionPipeline.from_pretrained(folder, use_safetensors=True)
    result.set_progress_bar_config(disable=True)
    return result


def sample(of: DiffusionPipeline, output: str = "latent") -> torch.Tensor:
    """Latents, or pictures, of one prompt after two steps on a fixed seed."""
    generator = torch.Generator().manual_seed(5)
    return of("a star", num_inference_steps=2, output_type=output, generator=generator).images


def _inside(prefix: str, parts: Named) -> dict[str, torch.Tensor]:
    """Parameters by name of modules that stand at places."""
    found = [(f"{prefix}{place}.{name}", each) for place, part in parts for name, each in part.named_parameters()]
    assert len(dict(found)) == len(found)
    return dict(found)


def _resnet(block) -> dict[str, torch.Tensor]:
    parts = [("in_layers.0", block.norm1), ("in_layers.2", block.conv1), ("emb_layers.1", block.time_emb_proj)]
    parts += [("out_layers.0", block.norm2), ("out_layers.3", block.conv2)]
    return _inside("", parts + [("skip_connection", block.conv_shortcut)] * (block.conv_shortcut is not None))


def _attended(block):
    """Each of a block's ResNets with the transformer after it, if it has any."""
    transformers = getattr(block, "attentions", None) or [None] * len(block.resnets)
    return [[each for each in pair if each is not None] for pair in zip(block.resnets, list(transformers), strict=True)]


def unet(network) -> dict[str, torch.Tensor]:
    """A UNet's parameters by the keys of the original `UNetModel`."""
    inputs, outputs = [[network.conv_in]], []
    for block in network.down_blocks:
        inputs += _attended(block)
        inputs += [[sampler] for sampler in block.downsamplers or []]
    for block in network.up_blocks:
        outputs += _attended(block)
        outputs[-1] += list(block.upsamplers or [])
    middle = [[network.mid_block.resnets[0], network.mid_block.attentions[0], network.mid_block.resnets[1]]]
    times = [("time_embed.0", network.time_embedding.linear_1), ("time_embed.2", network.time_embedding.linear_2)]
    result = _inside("", [*times, ("out.0", network.conv_norm_out), ("out.2", network.conv_out)])
    if getattr(network, "add_embedding", None) is not None:
        added = network.add_embedding
        result |= _inside("label_emb.0.", [("0", added.linear_1), ("2", added.linear_2)])
    for side, blocks in (("input_blocks.{}", inputs), ("middle_block", middle), ("output_blocks.{}", outputs)):
        for i, block in enumerate(blocks):
            for j, module in enumerate(block):
                place, kind = f"{side.format(i)}.{j}.", type(module).__name__
                names = _resnet(module) if kind == "ResnetBlock2D" else dict(module.named_parameters())
                names = {n.replace("conv.", "op.") if kind == "Downsample2D" else n: p for n, p in names.items()}
                result |= {place + name: each for name, each in names.items()}
    return result


def autoencoder(vae) -> dict[str, torch.Tensor]:
    """A VAE's parameters by the keys of the original `AutoencoderKL`; attention is a convolution there."""
    result = _inside("", [("quant_conv", vae.quant_conv), ("post_quant_conv", vae.post_quant_conv)])
    for side, coder in (("encoder.", vae.encoder), ("decoder.", vae.decoder)):
        ends = [("conv_in", coder.conv_in), ("norm_out", coder.conv_norm_out), ("conv_out", coder.conv_out)]
        result |= _inside(side, ends)
        middle, attention = coder.mid_block.resnets, coder.mid_block.attentions[0]
        parts = [("mid.block_1", middle[0]), ("mid.block_2", middle[1]), ("mid.attn_1.norm", attention.group_norm)]
        parts += [(f"mid.attn_1.{each}", getattr(attention, f"to_{each}")) for each in "qkv"]
        parts += [("mid.attn_1.proj_out", attention.to_out[0])]
        blocks = coder.down_blocks if side == "encoder." else list(coder.up_blocks)[::-1]
        way = "down" if side == "encoder." else "up"
        for level, block in enumerate(blocks):
            parts += [(f"{way}.{level}.block.{j}", each) for j, each in enumerate(block.resnets)]
            samplers = block.downsamplers if way == "down" else block.upsamplers
            parts += [(f"{way}.{level}.{way}sample", each) for each in samplers or []]
        result |= _inside(side, parts)
    attending = {n: p[:, :, None, None] for n, p in result.items() if ".attn_1." in n and p.ndim == 2}
    return {name.replace("conv_shortcut", "nin_shortcut"): each for name, each in (result | attending).items()}


def open_clip(encoder) -> dict[str, torch.Tensor]:
    """A text encoder's parameters by OpenCLIP's keys: PyTorch's own attention, which joins its three projections."""
    text = getattr(encoder, "text_model", encoder)
    result = {
        "token_embedding.weight": text.embeddings.token_embedding.weight,
        "positional_embedding": text.embeddings.position_embedding.weight,
    }
    if hasattr(encoder, "text_projection"):
        result["text_projection"] = encoder.text_projection.weight.T
    for i, layer in enumerate(text.encoder.layers):
        attention, mlp = layer.self_attn, layer.mlp
        three = (attention.q_proj, attention.k_proj, attention.v_proj)
        place = f"transformer.resblocks.{i}."
        result[place + "attn.in_proj_weight"] = torch.cat([each.weight for each in three])
        result[place + "attn.in_proj_bias"] = torch.cat([each.bias for each in three])
        parts = [("attn.out_proj", attention.out_proj), ("mlp.c_fc", mlp.fc1), ("mlp.c_proj", mlp.fc2)]
        result |= _inside(place, [*parts, ("ln_1", layer.layer_norm1), ("ln_2", layer.layer_norm2)])
    return result | _inside("", [("ln_final", text.final_layer_norm)])


@torch.no_grad()
def apply(network, tensors) -> list[str]:
    """Change a UNet by a LoRA file as ComfyUI does; returns the keys that found a place, each once."""
    named = dict(network.named_parameters())
    known = {f"lora_unet_{name.replace('.', '_')}": each for name, each in (named | unet(network)).items()}
    used = []
    for key, tensor in tensors.items():
        place, _, end = key.partition(".")
        weight, bias = known.get(f"{place}_weight"), known.get(f"{place}_bias")
        if end == "diff" and weight is not None:
            weight += tensor
        elif end == "diff_b" and bias is not None:
            bias += tensor
        elif end == "lora_up.weight" and weight is not None:
            down, alpha = tensors[f"{place}.lora_down.weight"], tensors[f"{place}.alpha"].item()
            weight += (tensor.flatten(1) @ down.flatten(1)).reshape(weight.shape) * (alpha / len(down))
            used += [f"{place}.lora_down.weight", f"{place}.alpha"]
        else:
            continue
        used.append(key)
    return used
