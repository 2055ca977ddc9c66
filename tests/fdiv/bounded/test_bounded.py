"""No typed expression takes more than 1 GiB or 30 CPU seconds of a modern core, whatever is asked of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fdiv.deadline import pace
from tests.fdiv.bounded.children import measured
from tests.fdiv.bounded.nasty import BY_HAND, drawn

pytestmark = pytest.mark.skipif(not hasattr(os, "wait4"), reason="children are not measured here")
SECONDS, MEBIBYTES = 30, 1024
DOORS = (
    ("check", "{}"),
    ("show", "{}"),
    ("eval", "{}", "conjugate", "0.3"),
    ("eval", "{}", "gaussian", "1.5"),
    ("eval", "{}", "adjoint", "2"),
    ("compare", "{}", "kl"),
    ("between", "{}"),
    ("require", "{}"),
)
"""What is asked; `between` is d.between of two arrays, `require` what the trainer asks of --divergence."""


def bounded(tasks: list[list[str]]) -> list[dict[str, Any]]:
    """Run the tasks, and ask that each ends by itself, in bounds, with an answer in words."""
    found = measured(tasks, 3 * SECONDS * pace())
    for one in found:
        assert one["code"] in (0, 1, 2), one
        assert one["seconds"] <= SECONDS * pace(), one
        assert one["mebibytes"] <= MEBIBYTES, one
        assert one["said"].strip(), one
        assert "Traceback" not in one["said"], one
    return found


def test_a_few_of_them_are_bounded_in_every_door() -> None:
    quick = [text for text in BY_HAND if text in ("-u**0.123456789012+1", "(u**(1/7)+u**(1/11)+u**(1/13))**3-27")]
    tasks = [[word.format(text) for word in door] for text in quick for door in DOORS]
    tasks += [["check", drawn(seed)] for seed in range(16)] + [["check", "2**(1e12*(u-1))-1"]]
    assert len(bounded(tasks)) == len(tasks)


def test_what_takes_too_much_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "MEBIBYTES", 5)
    with pytest.raises(AssertionError):
        bounded([["check", "u*log(u"]])


@pytest.mark.slow
@pytest.mark.parametrize("text", BY_HAND)
def test_nasty_expressions_are_bounded_in_every_door(text: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"from fdiv.expression import from_expression\nmine = from_expression({text!r})\n")
    tasks = [[word.format(text) for word in door] for door in DOORS]
    tasks += [["check", f"{file}:mine"], ["plot", text, "--output", str(tmp_path / "picture.png")]]
    bounded(tasks)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_drawn_expressions_are_bounded(block: int) -> None:
    bounded([["check", drawn(seed)] for seed in range(20 * block, 20 * block + 20)])
