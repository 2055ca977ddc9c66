"""The miniature's own judge, a classifier with a head for each axis of its world."""

from pathlib import Path

from harness.judging.judge import Judge
from harness.miniature.recipe import JUDGE


def present(folder: Path) -> bool:
    """Whether the folder holds its weights."""
    return (folder / JUDGE).is_file()


def load(folder: Path) -> Judge:
    """Read it."""
    from harness.miniature import judge

    return judge.load(folder / JUDGE)
