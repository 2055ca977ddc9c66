"""All that the trainer asks of a kind of model: predict, encode prompts, parameters of a group, noise schedule."""

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline, ModelMixin
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from harness.config import UsageError
from harness.discovery import classes
from harness.models import autoencoder
from harness.models.path import GaussianPath
from harness.models.source import OPTIONAL

LARGE = 256
"""Pixels along a side; at 512 each picture that is decoded at the same time takes .75 GiB in fp32."""


@dataclass(frozen=True)
class Conditioning:
    """What a denoiser is told of n prompts; without the leading n, of one."""

    prompt_embeds: Tensor
    """(n, tokens, width)"""
    pooled: Tensor | None = None
    """(n, width), where the family has it."""
    time_ids: Tensor | None = None
    """(n, 6): original size, crop and target size, where the family has them."""
    mask: Tensor | None = None
    """(n, tokens), where the family has it: 1 for a token that the denoiser reads, 0 for padding that it does not."""

    @property
    def average(self) -> Tensor:
        """The mean of the tokens that the denoiser reads, (n, width)."""
        if self.mask is None:
            return self.prompt_embeds.mean(-2)
        read = self.mask.to(self.prompt_embeds)[..., None]
        return (self.prompt_embeds * read).sum(-2) / read.sum(-2).clamp(min=1)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Conditioning":
        """Apply a function to each tensor there is."""
        present = {field.name: getattr(self, field.name) for field in fields(self)}
        return Conditioning(**{name: function(each) for name, each in present.items() if each is not None})

    def __getitem__(self, rows: Any) -> "Conditioning":
        """The same rows of each tensor, by whatever indexes a tensor."""
        return self.map(lambda tensor: tensor[rows])

    def __iter__(self) -> Iterator["Conditioning"]:
        """One conditioning a row."""
        return (self[row] for row in range(len(self)))

    def __len__(self) -> int:
        """How many prompts."""
        return len(self.prompt_embeds)

    def to(self, device: torch.device | str) -> "Conditioning":
        """The same on another device."""
        return self.map(lambda tensor: tensor.to(device))

    def as_arguments(self, negative: "Conditioning") -> dict[str, Tensor]:
        """What the call of most pipelines is given in the place of n prompts, and of n negative ones."""
        told = {"prompt_embeds": self.prompt_embeds, "negative_prompt_embeds": negative.prompt_embeds}
        if self.pooled is not None and negative.pooled is not None:
            told |= {"pooled_prompt_embeds": self.pooled, "negative_pooled_prompt_embeds": negative.pooled}
        return told

    @staticmethod
    def stack(rows: "Sequence[Conditioning]") -> "Conditioning":
        """Rows without a leading n as one conditioning of n."""
        return _join(rows, torch.stack)

    @staticmethod
    def cat(parts: "Sequence[Conditioning]") -> "Conditioning":
        """Conditionings of n, m, ... prompts as one of n + m + ..."""
        return _join(parts, torch.cat)


def _join(parts: Sequence[Conditioning], function: Callable[[list[Tensor]], Tensor]) -> Conditioning:
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Conditioning)}
    return Conditioning(**{name: function(column) for name, column in columns.items() if column[0] is not None})


@dataclass(frozen=True)
class Family(ABC):
    """A loaded pipeline, seen as the trainer sees any."""

    pipeline: DiffusionPipeline
    max_sequence_length: int = 0
    """Of a text encoder that has no length of its own, in tokens; 0 for what the pipeline's call has."""
    guidance_scale: float = 1.0
    """What a denoiser is told that was distilled to follow guidance by itself; others are told of none."""
    resolution: int = 0
    """Pixels along a side of the pictures that it draws; 0 for what it was made for."""
    sampling_steps: int = 0
    """Of a sampling, by whose number some shift its times; 0 for as many as the pipeline's call makes."""

    pipeline_class: ClassVar[type[DiffusionPipeline]]
    """diffusers' class, as a model's index names it."""
    load_options: ClassVar[Mapping[str, Any]]
    """What its `from_pretrained` is told beyond where the files are."""
    parameter_groups: ClassVar[Mapping[str, re.Pattern[str]]]
    """Which of the denoiser's parameters each group holds; `lora` adapts the modules that own them."""

    component: ClassVar[str]
    """The denoiser's name among the pipeline's parts."""
    fewest_steps: ClassVar[int] = 1
    """That the pipeline's call samples in."""
    classifier_free: ClassVar[bool] = True
    """Whether the empty prompt's prediction has a part in sampling; else guidance is what the denoiser was told."""
    guidance_argument: ClassVar[str] = "guidance_scale"
    """What the pipeline's call names the scale of classifier-free guidance."""
    guidance_offset: ClassVar[float] = 0.0
    """How much less than `--guidance-scale` it is told, for which 1 is none."""
    rescaled_side: ClassVar[int] = 0
    """Latents along a side of the positions at which its call brings a guided prediction back to the length of the one
    for the prompt; 0 where it does not."""
    spaces_noise: ClassVar[bool] = False
    """Whether the pipeline's call spaces the noise of its steps itself, evenly from 1 to 1 over their number."""
    reads_embeddings: ClassVar[bool] = True
    """Whether keys and values of cross-attention are of the embeddings themselves, not of what layers made of them."""
    read_by_next: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")
    """Weights whose output the next block alone reads, with the number of their block as a group of the pattern: those
    of the last one have no gradient, so no parameter group holds them."""
    single_file_parts: ClassVar[str] = ""
    """Where on the hub the configurations and the tokenizer are that a checkpoint in a single file lacks; empty where
    the family has no such files."""

    def __post_init__(self) -> None:
        """Lay the denoiser's weights out as convolutions are fast in; decode large pictures one at a time."""
        self.network.to(memory_format=torch.channels_last)
        size = self.pipeline.vae.config.get("sample_size", self.pixels)
        if isinstance(size, int) and size >= LARGE:
            self.pipeline.vae.enable_slicing()

    @property
    def network(self) -> ModelMixin:
        """The denoiser."""
        return getattr(self.pipeline, self.component)

    @property
    def absent(self) -> list[str]:
        """Parts of such a pipeline that this one was saved without, such as T5."""
        return [name for name, part in self.pipeline.components.items() if part is None and name not in OPTIONAL]

    @property
    def text_length(self) -> int:
        """The tokens read by a text encoder that has no length of its own; 0 where all have one."""
        own = inspect.signature(self.pipeline.__call__).parameters.get("max_sequence_length")
        return self.max_sequence_length or (own.default if own else 0)

    @property
    def instructions(self) -> list[str]:
        """What the pipeline's call puts before each prompt, or takes that from; nothing for most."""
        own = inspect.signature(self.pipeline.__call__).parameters.get("complex_human_instruction")
        if own:
            return own.default
        pipe = self.pipeline
        places = ((pipe, "prompt_template_encode"), (pipe, "system_message"), (pipe.tokenizer, "chat_template"))
        return [each for place, name in places if isinstance(each := getattr(place, name, None), str)]

    @property
    def device(self) -> torch.device:
        """Where the denoiser is; the pipeline's other networks wait on the CPU, but for `encoding` and `drawing`."""
        return self.network.device

    @contextmanager
    def encoding(self) -> Iterator[None]:
        """Within this, the text encoders are on the device."""
        with self.here(self._encoders.values()):
            yield

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Within this, the VAE is on the device, and the pipeline, which is told by embeddings, has no text encoders.

        A pipeline computes where its parts are, so those that stay on the CPU must not be seen; nor may its own record
        of its parts, which is what it saves, hear of that.
        """
        hidden, parts = self._encoders, vars(self.pipeline)
        try:
            parts.update(dict.fromkeys(hidden))
            with self.here([self.pipeline.vae]):
                yield
        finally:
            parts.update(hidden)

    @contextmanager
    def here(self, networks: Collection[torch.nn.Module]) -> Iterator[None]:
        """Within this, some networks are on the device, and after it on the CPU."""
        try:
            for network in networks:
                network.to(self.device)
            yield
        finally:
            for network in networks:
                network.to("cpu")

    @property
    def _encoders(self) -> dict[str, torch.nn.Module]:
        """Of text, by their names among the pipeline's parts."""
        parts = self.pipeline.components.items()
        return {name: part for name, part in parts if name.startswith("text_encoder") and part is not None}

    @contextmanager
    def replaced(self, network: ModelMixin) -> Iterator[None]:
        """Within this, another denoiser stands in the place of the pipeline's own."""
        own = self.network
        setattr(self.pipeline, self.component, network)
        try:
            yield
        finally:
            setattr(self.pipeline, self.component, own)

    def unpacked(self, latents: Tensor) -> Tensor:
        """Latents of square pictures as the pipeline's call gives them, as the sampler has them, (n, c, h, w).

        That is packed, or as a decoder reads those that a batch norm scales, or as they are.
        """
        if latents.ndim == 3:
            return autoencoder.unpacked(latents)
        vae = self.pipeline.vae
        return autoencoder.scaled(vae, latents) if autoencoder.has_batch_norm(vae) else latents

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (n, c, h, w) as the sampler has them to pictures (n, 3, H, W) in [0, 1]; within `drawing`."""
        decoded = autoencoder.decoded(self.pipeline.vae, latents)
        return self.pipeline.image_processor.postprocess(decoded, output_type="pt")

    @property
    def pixels(self) -> int:
        """Along a side of the pictures that it draws: what was asked for, or the denoiser was made for, or the VAE.

        Where none of them says, what the pipeline's call draws.
        """
        side, factor = self.network.config.get("sample_size"), self.pipeline.vae_scale_factor
        drawn = self.pipeline.vae.config.get("sample_size") or factor * getattr(self.pipeline, "default_sample_size", 0)
        return self.resolution or (side * factor if side else drawn)

    def latent_shape(self, pixels: int) -> tuple[int, ...]:
        """Channels, height and width of the latents of a square picture."""
        side = pixels // self.pipeline.vae_scale_factor
        return (autoencoder.latent_channels(self.pipeline.vae), side, side)

    def parameters_of(self, group: str) -> dict[str, torch.nn.Parameter]:
        """The denoiser's parameters by name that a group trains, or for `lora` adapts.

        Raises:
            UsageError: there are none in this denoiser, or the family has no such group; the message lists the
                family's groups with their sizes.
        """
        groups = self.grouped(self.network)
        if groups.get(group):
            return groups[group]
        sizes = [f"{each} {sum(p.numel() for p in members.values()):,}" for each, members in groups.items()]
        raise UsageError(
            f"--parameter-group {group}: selects no weight of this denoiser; the groups and their sizes: "
            + ", ".join(sizes)
        )

    @classmethod
    def grouped(cls, network: torch.nn.Module) -> dict[str, dict[str, torch.nn.Parameter]]:
        """The parameters of each group by name, in a denoiser of the family, but for those that nothing reads."""
        named = dict(network.named_parameters())
        blocks = {name: int(found[1]) for name in named if (found := cls.read_by_next.search(name))}
        idle = {name for name, block in blocks.items() if block == max(blocks.values())}
        return {
            group: {name: each for name, each in named.items() if pattern.search(name) and name not in idle}
            for group, pattern in cls.parameter_groups.items()
        }

    @classmethod
    def guides(cls, index: Mapping[str, Any]) -> bool:
        """Whether the empty prompt has a part in guided sampling: not where a pipeline's index says it is distilled."""
        return cls.classifier_free and not index.get("is_distilled", False)

    def guided(self, given: Tensor, nothing: Tensor, scale: float) -> Tensor:
        """Raw outputs (n, c, h, w) for prompts and for the empty one, guided to the first as the pipeline's call does.

        A scale of 1 is no guidance.
        """
        output = nothing + scale * (given - nothing)
        if side := self.rescaled_side:
            wanted, found = (avg_pool2d(each.square().sum(1, keepdim=True), side) for each in (given, output))
            output = output * interpolate((wanted / found).sqrt(), scale_factor=side)
        return output

    def arithmetic(self, precision: str) -> torch.autocast:
        """A context in which `bf16` computes layers in it, and `fp32` changes nothing."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16")

    @abstractmethod
    def problem(self) -> str | None:
        """Why this is not a text-to-image model of the family, or None."""

    @abstractmethod
    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """The conditioning of n prompts, on the device; within `encoding`."""

    @abstractmethod
    def token_limits(self) -> list[tuple[Any, int]]:
        """Each tokenizer with the most tokens that its text encoder reads."""

    @abstractmethod
    def predict(
        self, network: Callable[..., Any], noisy: Tensor, timesteps: Tensor, conditioning: Conditioning
    ) -> Tensor:
        """The raw output of `network`, called as the denoiser is, (n, c, h, w)."""

    @abstractmethod
    def sampling_arguments(self, conditioning: Conditioning, unconditional: Conditioning) -> dict[str, Any]:
        """What the pipeline's call is given instead of n prompts; of n empty ones too where it is `classifier_free`."""

    @abstractmethod
    def path(self) -> GaussianPath:
        """The path to noise that the model was trained on, with its tensors on the device.

        Raises:
            UsageError: it has none that s can be read from.
        """


def families() -> dict[str, type[Family]]:
    """Every family by the name of its pipeline class, as a model's index has it: each file of `models/families`."""
    found = [each for each in classes("harness.models.families", Family) if hasattr(each, "pipeline_class")]
    return {family.pipeline_class.__name__: family for family in found}
