"""Mutants of what refutes, for the thorough profile: ``python -m tests.fdiv.evidence.systematic MINUTES SEED``.

What is *proved* is judged by the kernel again, whatever derived it; what is *refuted* is not. So every comparison, sum,
product, number, truth value, condition and negation of the files that refute is changed in turn, in an order that the
seed shuffles, and the four verdicts that admit a divergence, with the counterexample, are asked of every bump,
divergence and refusal of the tests, and the sign of their constants. A mutant under which none of them reads otherwise
has survived, and is printed.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import fdiv
from tests.fdiv.evidence import test_attacks, test_refusals
from tests.fdiv.kernel.systematic import mutants

SOURCES = Path(fdiv.__file__).parent
FILES = [
    SOURCES / name
    for name in (
        "evidence/signs.py",
        "evidence/foundations.py",
        "exact/comparison.py",
        "exact/roots.py",
        "balls/ball.py",
    )
]
TEXTS = [f"sign{i}" for i in range(len(test_attacks.CONSTANTS))]
TEXTS += [bump[0] for bump in test_attacks.BUMPS] + test_attacks.DIVERGENCES + list(test_refusals.REFUSED)
LONGEST = 60  # CPU seconds that a mutant may take over all of them


def verdicts(texts: list[str], right: dict[str, list[str]] | None) -> dict[str, list[str]]:
    """Return the four words of each text, up to the first that is not `right`."""
    from fdiv import from_expression
    from fdiv.evidence import foundations as of
    from fdiv.exact.comparison import sign

    found: dict[str, list[str]] = {}
    judges = (of.vanishes_at_one, of.finite, of.convex, of.not_affine)
    for text in texts:
        if text.startswith("sign"):
            asked = [partial(sign, test_attacks.CONSTANTS[int(text.removeprefix("sign"))][0])]
        else:
            asked = [partial(judge, from_expression(text)) for judge in judges]
        found[text] = words = [_word(each) for each in asked]
        if right is not None and right[text] != words:
            return found
    return found


def _word(judge: Callable[[], Any]) -> str:
    try:
        found = judge()
        return str(found) if isinstance(found, int) else f"{found.evidence} {found.counterexample}"
    except Exception as error:  # the gate takes it for a claim that is open
        return type(error).__name__


def in_a_child(folder: str | None, texts: list[str], right: dict[str, list[str]] | None) -> dict[str, list[str]] | None:
    """Return the verdicts of the package in `folder`, None where it does not come to an end or fails."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (LONGEST, LONGEST))
            if folder is not None:
                for name in [name for name in sys.modules if name.partition(".")[0] == "fdiv"]:
                    del sys.modules[name]
                sys.path.insert(0, folder)
            with os.fdopen(writing, "w") as pipe:
                json.dump(verdicts(texts, right), pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else None


def killed(file: Path, source: str, texts: list[str], right: dict[str, list[str]]) -> str | None:
    """Return the text that shows a mutant first, None if it survives."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(SOURCES, Path(folder) / "fdiv", ignore=shutil.ignore_patterns("__pycache__"))
        (Path(folder) / "fdiv" / file.relative_to(SOURCES)).write_text(source)
        found = in_a_child(folder, texts, right)
    if found is None:
        return "it does not come to an end"
    return next((text for text, words in found.items() if words != right[text]), None)


def main(minutes: float, seed: int) -> None:
    """Try mutants in the seed's order for that many minutes, and say which survive."""
    right = in_a_child(None, TEXTS, None)
    assert right is not None
    every: list[tuple[Path, Any]] = [(file, mutant) for file in FILES for mutant in mutants([file])]
    random.Random(seed).shuffle(every)
    texts, end, tried, survived = list(TEXTS), time.monotonic() + 60 * minutes, 0, 0
    for file, (_, line, change, source) in every:
        if time.monotonic() > end:
            break
        tried += 1
        seen = killed(file, source, texts, right)
        if seen is None:
            survived += 1
            print(f"{file.relative_to(SOURCES)}:{line}: {change}", flush=True)
        elif seen in right:  # what has shown one mutant shows many
            texts = [seen, *(text for text in texts if text != seen)]
    print(f"{tried} of {len(every)} mutants tried, {tried - survived} seen, {survived} not")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
