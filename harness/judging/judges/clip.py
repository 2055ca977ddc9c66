"""CLIP as a judge: of the words that it is asked to tell apart, the one whose captions a picture is nearest to.

Zero-shot as in Radford et al. (2103.00020): a word's caption embeddings are averaged and made of length one again, and
the word with the largest cosine is the answer. It always answers one of the words: a picture that shows none of them
is given the one that it is least far from, so words should cover what may be drawn in the target's place.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import UsageError
from harness.judging.judge import Choice, Judge
from harness.models.source import CONFIGURATION, pretrained
from harness.prompts.words import Words
from harness.runs.files import read_json

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TYPE = "clip"
"""What transformers calls it in a configuration."""
AT_ONCE = 32
"""Pictures or texts that are encoded at a time."""


@dataclass(frozen=True)
class Clip:
    """A CLIP model with the words that it is asked to tell apart."""

    network: Any
    """transformers' CLIPModel."""
    processor: Any
    """What makes its input of a picture."""
    tokenizer: Any
    words: Words

    def features(self, pictures: "Tensor") -> "Tensor":
        """Image embeddings of length one, (n, d), on the CPU."""
        from harness.data.pictures import images

        def embed(part: "Tensor") -> "Tensor":
            given = self.processor(images=images(part), return_tensors="pt")["pixel_values"].to(self.network.device)
            return self.network.visual_projection(self.network.vision_model(pixel_values=given).pooler_output)

        return _encoded(embed, pictures.split(AT_ONCE), self.network.config.projection_dim)

    def text_features(self, texts: Sequence[str]) -> "Tensor":
        """Text embeddings of length one, (m, d), on the CPU; longer texts than it reads are cut off."""

        def embed(part: Sequence[str]) -> "Tensor":
            given = self.tokenizer(list(part), padding="max_length", truncation=True, return_tensors="pt")
            given = {name: given[name].to(self.network.device) for name in ("input_ids", "attention_mask")}
            return self.network.text_projection(self.network.text_model(**given).pooler_output)

        parts = [texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE)]
        return _encoded(embed, parts, self.network.config.projection_dim)

    def values(self, pictures: "Tensor") -> dict[str, list[str]]:
        """By axis the word whose captions each of n pictures is nearest to."""
        features = self.features(pictures)
        return {
            axis: [words[i] for i in (features @ self._captions[axis].T).argmax(1).tolist()]
            for axis, words in self.words.axes.items()
        }

    @cached_property
    def _captions(self) -> "dict[str, Tensor]":
        """By axis the mean of each word's captions, of length one, (words, d); of a name alone that the user gave."""
        import torch

        result = {}
        for axis, words in self.words.axes.items():
            said = [(name,) if (name := self.words.name(word)) != word else self.words.prompts[word] for word in words]
            means = torch.stack([self.text_features(texts).mean(0) for texts in said])
            result[axis] = torch.nn.functional.normalize(means, dim=1)
        return result


def _encoded(embed: "Callable[[Any], Tensor]", parts: Iterable[Any], width: int) -> "Tensor":
    """The embeddings of all parts, of length one, in fp32."""
    import torch

    with torch.no_grad():
        found = [torch.nn.functional.normalize(embed(part).float(), dim=1).cpu() for part in parts]
    return torch.cat([torch.zeros(0, width), *found])


def present(place: Path) -> bool:
    """Whether the folder holds a CLIP model."""
    return (place / CONFIGURATION).is_file() and read_json(place / CONFIGURATION).get("model_type") == TYPE


def check(choice: Choice) -> None:
    """UsageError for a place that holds no CLIP model."""
    config = pretrained(str(choice), choice.place)
    if config is not None:
        _check_type(choice, config.get("model_type"))


def _check_type(choice: Choice, kind: object) -> None:
    if kind != TYPE:
        raise UsageError(f"{choice}: a model of the type {kind}; needed is {TYPE}, with its image and its text encoder")


def load(choice: Choice, device: "torch.device") -> Judge:
    """Read it; UsageError for a hub id of another type."""
    from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, CLIPModel

    where = {"local_files_only": choice.offline}
    _check_type(choice, AutoConfig.from_pretrained(choice.place, **where).model_type)
    processor = AutoImageProcessor.from_pretrained(choice.place, **where)
    tokenizer = AutoTokenizer.from_pretrained(choice.place, **where)
    return Clip(choice.network(CLIPModel, device), processor, tokenizer, choice.words)
