"""Any Stable Diffusion pipeline: loading, parameter groups, and the frozen prediction without a second network."""

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors import SafetensorError
from torch import Tensor
from torch.func import functional_call

from harness.config import MINIATURE, UsageError
from harness.miniature import WEIGHTS

PARAMETER_GROUPS = {
    "cross-attention-kv": re.compile(r"attn2\.to_[kv]\."),
    "cross-attention": re.compile(r"attn2\."),
    "full": re.compile(""),
}
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


def resolve(model: str) -> Path | str:
    """The folder of a local pipeline, or the hub id as given.

    Raises:
        UsageError: a path that is no folder, or a folder that holds no pipeline.
    """
    if model == MINIATURE:
        return WEIGHTS
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "model_index.json").is_file():
            raise UsageError(
                f"--model {model}: no model_index.json in it, so it is no pipeline in the diffusers layout"
            )
        return folder
    if folder.exists():
        raise UsageError(f"--model {model}: a file; needed is a pipeline folder, a hub id or `{MINIATURE}`")
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", model) and not folder.parent.is_dir():
        return model
    raise UsageError(
        f"--model {model}: no such folder; choices: a pipeline folder, a hub id OWNER/NAME, or `{MINIATURE}`"
    )


def load(source: Path | str, device: torch.device) -> StableDiffusionPipeline:
    """Load a pipeline in fp32, without a safety checker, its progress bars off.

    Raises:
        UsageError: files that diffusers cannot load, or another kind of pipeline.
    """
    try:
        pipeline = StableDiffusionPipeline.from_pretrained(
            source,
            safety_checker=None,
            requires_safety_checker=False,
            use_safetensors=True,
        )
    except (OSError, ValueError, AttributeError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"--model {source}: diffusers cannot load it: {' '.join(str(error).split())[:300]}") from error
    unet = pipeline.unet
    if (
        not isinstance(unet, UNet2DConditionModel)
        or unet.config.addition_embed_type is not None
        or unet.config.in_channels != pipeline.vae.config.latent_channels
    ):
        raise UsageError(f"--model {source}: no Stable Diffusion 1.x or 2.x text-to-image pipeline")
    if (kind := pipeline.scheduler.config.get("prediction_type", "epsilon")) not in PREDICTION_TYPES:
        raise UsageError(f"--model {source}: prediction type {kind!r}; choices: {', '.join(PREDICTION_TYPES)}")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device, torch.float32)


def resolve_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one. UsageError for a device that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device {name}: no such device; choices: auto, cpu, cuda, cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: not supported; choices: auto, cpu, cuda, cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: torch sees {torch.cuda.device_count()} GPUs here; choices: auto, cpu")
    return device


def check_prompts(pipeline: StableDiffusionPipeline, prompts: Iterable[str]) -> None:
    """UsageError for a prompt that the text encoder would cut off."""
    limit = min(pipeline.tokenizer.model_max_length, pipeline.text_encoder.config.max_position_embeddings)
    for prompt in prompts:
        if (length := len(pipeline.tokenizer(prompt).input_ids)) > limit:
            raise UsageError(
                f"prompt {prompt!r}: {length} tokens, more than the tokenizer's limit of {limit}; shorten it"
            )


def check_sampling(pipeline: StableDiffusionPipeline, steps: int) -> None:
    """UsageError for more denoising steps than the model was trained with."""
    if steps > (most := pipeline.scheduler.config.num_train_timesteps):
        raise UsageError(f"--sampling-steps {steps}: this model has {most} time steps; choose fewer")


def select(unet: UNet2DConditionModel, parameter_group: str) -> dict[str, torch.nn.Parameter]:
    """The group's parameters by name; UsageError if it has none in this UNet."""
    pattern = PARAMETER_GROUPS[parameter_group]
    selected = {name: p for name, p in unet.named_parameters() if pattern.search(name)}
    if not selected:
        raise UsageError(f"--parameter-group {parameter_group}: selects no weight of this UNet; try `full`")
    return selected


class Denoiser:
    """A UNet of which one parameter group trains, and the same UNet as it was before."""

    def __init__(self, unet: UNet2DConditionModel, parameter_group: str, precision: str = "fp32") -> None:
        """Freeze all but the group, and keep a frozen copy of the group's tensors alone.

        Raises:
            UsageError: the group selects nothing in this UNet.
        """
        self.unet = unet.requires_grad_(False).eval()
        self.trained = select(unet, parameter_group)
        self.frozen = {name: parameter.detach().clone() for name, parameter in self.trained.items()}
        for parameter in self.trained.values():
            parameter.requires_grad_(True)
        self._bf16 = precision == "bf16"

    def __call__(self, noisy: Tensor, timesteps: Tensor, prompt_embeds: Tensor) -> Tensor:
        """The trained model's raw output in fp32, from x_t (n, 4, h, w), t (n,) and embeddings (n, tokens, width)."""
        with torch.autocast(noisy.device.type, torch.bfloat16, enabled=self._bf16):
            return self.unet(noisy, timesteps, prompt_embeds).sample.float()

    @torch.no_grad()
    def frozen_denoiser(self, noisy: Tensor, timesteps: Tensor, prompt_embeds: Tensor) -> Tensor:
        """The original model's raw output, to the last bit: the same network with the frozen tensors in place."""
        with torch.autocast(noisy.device.type, torch.bfloat16, enabled=self._bf16):
            return functional_call(self.unet, self.frozen, (noisy, timesteps, prompt_embeds)).sample.float()

    @torch.no_grad()
    def restore(self) -> None:
        """Put the original weights back, bit for bit."""
        for name, parameter in self.trained.items():
            parameter.copy_(self.frozen[name])

    def delta(self) -> dict[str, Tensor]:
        """Trained minus frozen, per tensor, on the CPU."""
        return {name: (p.detach() - self.frozen[name]).cpu().contiguous() for name, p in self.trained.items()}


class NoiseSchedule:
    """The training schedule of a pipeline: alphas, betas, and what its model predicts."""

    def __init__(self, pipeline: StableDiffusionPipeline) -> None:
        """Read it from the pipeline's scheduler configuration."""
        self.noise_scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
        self.prediction_type: str = self.noise_scheduler.config.prediction_type
        self.timesteps: int = self.noise_scheduler.config.num_train_timesteps
        device = pipeline.unet.device
        self.alpha_bar = self.noise_scheduler.alphas_cumprod.to(device)
        self.alpha = self.noise_scheduler.alphas.to(device)

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The forward process x_t, (n, 4, h, w)."""
        return self.noise_scheduler.add_noise(clean, noise, timesteps)

    def noise_prediction(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """A raw model output as a noise prediction, for epsilon, v and x0 models (Salimans and Ho, 2202.00512)."""
        alpha_bar = self.alpha_bar[timesteps].view(-1, 1, 1, 1)
        match self.prediction_type:
            case "epsilon":
                return output
            case "v_prediction":
                return alpha_bar.sqrt() * output + (1 - alpha_bar).sqrt() * noisy
            case "sample":
                return (noisy - alpha_bar.sqrt() * output) / (1 - alpha_bar).sqrt()
        raise UsageError(f"prediction type {self.prediction_type!r}: choices are epsilon, v_prediction, sample")
