"""Pictures: what is written, and what a picture that cannot be written says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import fdiv
from fdiv.show.plots import _weight_title
from tests.fdiv.commands import run


def test_plot_writes_a_picture_and_check_draws_the_counterexample(tmp_path: Path) -> None:
    for arguments, code in (
        (("plot", "kl", "tv", "pearson", "--output"), 0),
        (("check", "u*log(u)**2", "--plot"), 1),
        (("check", "kl", "--plot"), 0),
    ):
        picture = tmp_path / "picture.png"
        assert run(*arguments, str(picture))[0] == code
        assert picture.read_bytes().startswith(b"\x89PNG")
        picture.unlink()


@pytest.mark.parametrize("name", ["foo", "foo.nonsense", "foo.", ".png"])
def test_a_picture_without_a_known_ending_is_refused_with_the_choices(name: str, tmp_path: Path) -> None:
    code, out, err = run("plot", "kl", "--output", str(tmp_path / name))
    assert (code, out) == (2, "")
    assert ".png" in err
    assert ".svg" in err
    assert list(tmp_path.iterdir()) == []


def test_the_panel_of_weights_speaks_of_thin_lines_only_where_there_are_some() -> None:
    thick, thin = fdiv.resolve("kl"), fdiv.resolve("tv")
    assert _weight_title([thick]) == "gradient weight w(s)/w(0)"
    assert _weight_title([thin]) == "gradient weight w(s)/w(1)"
    assert _weight_title([thick, thin]) == "gradient weight w(s)/w(0); thin: w(s)/w(1)"


def test_a_missing_matplotlib_is_said_plainly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, _, err = run("plot", "kl", "--output", str(tmp_path / "x.png"))
    assert code == 2
    assert "pip install 'fdiv-unlearning[harness]'" in err
