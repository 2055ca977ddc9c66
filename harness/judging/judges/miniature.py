"""The miniature's own judge, a classifier with a head for each axis of its world."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config import UsageError
from harness.judging.judge import Choice, Judge
from harness.miniature.recipe import JUDGE

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from harness.miniature.judge import Judge as Network


@dataclass(frozen=True)
class Asked:
    """The judge, asked by other axes than its world's, or by other names."""

    network: "Network"
    axes: dict[str, str]
    """By axis that of the world with the same words."""
    words: dict[str, str]
    """By name in the world the word that it is asked by."""

    def features(self, pictures: "Tensor") -> "Tensor":
        """As the judge's own."""
        return self.network.features(pictures)

    def values(self, pictures: "Tensor") -> dict[str, list[str]]:
        """What it sees on the axis of the world."""
        seen = self.network.values(pictures)
        return {axis: [self.words.get(each, each) for each in seen[own]] for axis, own in self.axes.items()}


def present(place: Path) -> bool:
    """Whether the folder holds its weights."""
    return (place / JUDGE.name).is_file()


def check(choice: Choice) -> None:
    """UsageError for a place without its weights."""
    if not present(Path(choice.place)):
        raise UsageError(f"{choice}: no {JUDGE.name} in it, so it is no folder of such a judge")


def load(choice: Choice, device: "torch.device") -> Judge:
    """Read it; UsageError for words that are not its world's."""
    from harness.miniature import judge, world

    network = judge.load(Path(choice.place) / JUDGE.name)
    axes = {}
    for axis, words in choice.words.axes.items():
        holds = [own for own, values in world.AXES.items() if {*map(choice.words.name, words)} <= {*values}]
        if not holds:
            every = "; ".join(f"{own}: {', '.join(values)}" for own, values in world.AXES.items())
            raise UsageError(f"{choice}: cannot tell {', '.join(words)} apart; it knows {every}")
        axes[axis] = holds[0]
    asked = {choice.words.name(word): word for words in choice.words.axes.values() for word in words}
    as_it_is = all(axis == own for axis, own in axes.items()) and all(name == word for name, word in asked.items())
    return network if as_it_is else Asked(network, axes, asked)
