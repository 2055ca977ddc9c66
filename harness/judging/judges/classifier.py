"""Any classifier of pictures that transformers loads: its label with the largest logit, as the user's word for it.

A word is matched to a label without regard to articles, case, underscores and hyphens, and to any of the names that a
label lists with commas, as those of ImageNet do. Unlike CLIP it may answer a label that nobody asked for, which then is
neither the target nor what a prompt names. Where there are several axes, an axis is answered by all labels but the
other axes'.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import UsageError
from harness.judging.judge import Choice, Judge
from harness.models.source import CONFIGURATION, pretrained
from harness.prompts.wishes import ARTICLES
from harness.prompts.words import Words
from harness.runs.files import read_json

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ARCHITECTURE = "ForImageClassification"
AT_ONCE = 32
"""Pictures that are looked at at a time."""
LISTED = 40
"""Labels that a message lists."""


@dataclass(frozen=True)
class Classifier:
    """A classifier with the words that it is asked to tell apart."""

    network: Any
    processor: Any
    """What makes its input of a picture."""
    labels: Mapping[int, str]
    words: Words
    places: Mapping[str, int]
    """By word its label's number."""

    def features(self, pictures: "Tensor") -> "Tensor":
        """The last hidden state, averaged over its positions, (n, d), on the CPU."""
        return self._seen(pictures)[0]

    def values(self, pictures: "Tensor") -> dict[str, list[str]]:
        """By axis the word, or the label that is no word's, with the largest logit."""
        import torch

        logits, words = self._seen(pictures)[1], {place: word for word, place in self.places.items()}
        result = {}
        for axis, own in self.words.axes.items():
            others = [place for word, place in self.places.items() if word not in own]
            answers = logits.index_fill(1, torch.tensor(others, dtype=torch.long), -torch.inf).argmax(1).tolist()
            result[axis] = [words.get(answer, self.labels[answer]) for answer in answers]
        return result

    def _seen(self, pictures: "Tensor") -> "tuple[Tensor, Tensor]":
        """Features (n, d) and logits (n, labels)."""
        import torch

        from harness.data.pictures import images

        features, logits = [], []
        for part in pictures.split(AT_ONCE):
            given = self.processor(images=images(part), return_tensors="pt").to(self.network.device)
            with torch.no_grad():
                seen = self.network(**given, output_hidden_states=True)
            features.append(_averaged(seen.hidden_states[-1]).float().cpu())
            logits.append(seen.logits.float().cpu())
        return torch.cat(features), torch.cat(logits)


def _averaged(hidden: "Tensor") -> "Tensor":
    """Of tokens (n, tokens, d), or of a map (n, d, h, w), the mean over positions, (n, d)."""
    return hidden.mean(1) if hidden.ndim == 3 else hidden.mean((2, 3))


def present(place: Path) -> bool:
    """Whether the folder holds a classifier."""
    return (place / CONFIGURATION).is_file() and _classifies(read_json(place / CONFIGURATION).get("architectures"))


def check(choice: Choice) -> None:
    """UsageError for a place that holds no classifier, or one without a label for each word."""
    config = pretrained(str(choice), choice.place)
    if config is not None:
        _check_architecture(choice, config.get("architectures"))
        matched(choice, {int(place): label for place, label in config.get("id2label", {}).items()})


def load(choice: Choice, device: "torch.device") -> Judge:
    """Read it; UsageError for a hub id of another kind, or without a label for each word."""
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

    where = {"local_files_only": choice.offline}
    config = AutoConfig.from_pretrained(choice.place, **where)
    _check_architecture(choice, config.architectures)
    places = matched(choice, config.id2label)
    network = choice.network(AutoModelForImageClassification, device)
    processor = AutoImageProcessor.from_pretrained(choice.place, **where)
    return Classifier(network, processor, config.id2label, choice.words, places)


def matched(choice: Choice, labels: Mapping[int, str]) -> dict[str, int]:
    """By word its label's number.

    Raises:
        UsageError: a word without a label, or two words with the same.
    """
    known = {_plain(name): place for place, label in labels.items() for name in (*label.split(","), label)}
    result: dict[str, int] = {}
    for word in (word for words in choice.words.axes.values() for word in words):
        name = choice.words.name(word)
        place = known.get(_plain(name))
        if place is None:
            raise UsageError(f"{choice}: no label {name!r}; {_listed(labels)}; --judge-words {word!r}=LABEL names one")
        if place in result.values():
            raise UsageError(f"{choice}: the label {labels[place]!r} is that of {word!r} and of another word")
        result[word] = place
    return result


def _plain(name: str) -> str:
    return " ".join(word for word in re.findall(r"\w+", name.lower().replace("_", " ")) if word not in ARTICLES)


def _listed(labels: Mapping[int, str]) -> str:
    shown = [labels[place] for place in sorted(labels)]
    more = f" and {len(shown) - LISTED} more" if len(shown) > LISTED else ""
    return f"its labels: {'; '.join(shown[:LISTED])}{more}"


def _classifies(architectures: object) -> bool:
    return isinstance(architectures, list) and any(str(each).endswith(ARCHITECTURE) for each in architectures)


def _check_architecture(choice: Choice, architectures: object) -> None:
    if not _classifies(architectures):
        raise UsageError(f"{choice}: holds {architectures}; needed is a model ...{ARCHITECTURE}")
