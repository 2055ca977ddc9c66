"""What may judge pictures: a protocol, and how one is chosen, by `--judge KIND:PLACE` or in the model's folder.

A file of `judges` is a kind, called as the file is, with three functions: `present(place)` says whether a folder holds
such a judge, without reading it; `check(choice)` refuses, before anything heavy is imported, what can be known to be
unusable; and `load(choice, device)` reads it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from harness.config import Config, UsageError
from harness.discovery import modules
from harness.models.source import LOADING_ERRORS
from harness.prompts.draft import Draft
from harness.prompts.words import Words

if TYPE_CHECKING:
    import torch
    from torch import Tensor

JUDGES = "harness.judging.judges"
FOLDER = "judge"
"""Of a model's folder, where its own judge is."""


class Judge(Protocol):
    """A classifier of pictures."""

    def features(self, pictures: "Tensor") -> "Tensor":
        """Pictures (n, 3, H, W) in [0, 1] to features (n, d), between which a kernel distance means something.

        A judge that has none gives (n, 0).
        """

    def values(self, pictures: "Tensor") -> dict[str, list[str]]:
        """By axis of the words that it is asked to tell apart the one that each of n pictures shows."""


@runtime_checkable
class TextJudge(Judge, Protocol):
    """A judge that reads texts too, as CLIP does; its features have length one."""

    @property
    def words(self) -> Words:
        """What it is asked to tell apart."""

    def text_features(self, texts: Sequence[str]) -> "Tensor":
        """m texts to features (m, d) of length one, whose products with those of pictures are their cosines."""


@dataclass(frozen=True)
class Choice:
    """A judge that is chosen, and not read yet."""

    kind: str
    place: str
    """Folder or hub id; empty for a kind that needs none."""
    words: Words
    """That it is asked to tell apart."""
    named: bool
    """Whether by `--judge`, and not for being in the model's folder."""
    offline: bool = False
    """Whether to read the local cache alone."""

    def __str__(self) -> str:
        """As a message begins with it."""
        where = f"{self.kind}:{self.place}" if self.place else self.kind
        return f"--judge {where}" if self.named else f"--model: {self.place}"

    def network(self, model_class: Any, device: "torch.device") -> Any:
        """A transformers model read from the place, in fp32; UsageError where some of its weights are not there.

        Without that transformers would draw them at random, and go on.
        """
        network, found = model_class.from_pretrained(
            self.place, use_safetensors=True, local_files_only=self.offline, output_loading_info=True
        )
        if missing := sorted(map(str, found["missing_keys"])):
            raise UsageError(f"{self}: {len(missing)} of its weights are not in its files, such as {missing[0]}")
        return network.float().eval().requires_grad_(False).to(device)

    def load(self, device: "torch.device") -> Judge:
        """Read it; UsageError where it cannot be read, or cannot tell the words apart."""
        try:
            return _kinds()[self.kind].load(self, device)
        except UsageError:
            raise
        except LOADING_ERRORS as error:
            raise UsageError(f"{self} cannot be read: {' '.join(str(error).split())[:300]}") from error


def choose(options: Config, folder: Path | None, draft: Draft) -> Choice | None:
    """The judge that `--judge` names, or that of the model's folder if that has a vocabulary too, or None.

    Args:
        options: of the run.
        folder: the model's; None for a hub id.
        draft: what is erased, which says what there is to tell apart.

    Raises:
        UsageError: no such kind or place, or words that it cannot tell apart.
    """
    if options.judge:
        choice = _named(options, Words.of(draft))
    elif options.judge_words:
        raise UsageError("--judge-words: there is no judge to ask them of; name one by --judge")
    elif folder is None or draft.vocabulary is None or (kind := _held(folder / FOLDER)) is None:
        return None
    else:
        choice = Choice(kind, str(folder / FOLDER), Words.of(draft), False, options.offline)
    _kinds()[choice.kind].check(choice)
    return choice


def _kinds() -> dict[str, ModuleType]:
    """The files of `judges` by name."""
    return {module.__name__.rpartition(".")[2]: module for module in modules(JUDGES)}


def _held(place: Path) -> str | None:
    """The first kind of judge that a folder holds."""
    return next((kind for kind, module in _kinds().items() if module.present(place)), None)


def _named(options: Config, words: Words) -> Choice:
    """What `--judge KIND:PLACE` says."""
    kind, _, place = options.judge.partition(":")
    if kind not in _kinds():
        raise UsageError(
            f"--judge {options.judge!r}: no kind of judge is called {kind!r}; expected KIND:PLACE, kinds: "
            f"{', '.join(_kinds())}"
        )
    return Choice(kind, place, words, True, options.offline)
