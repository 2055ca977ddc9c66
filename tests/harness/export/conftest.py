"""Finished runs of tiny models, each made once, and the command that exports them."""

import pytest

from harness import unlearn
from harness.export.__main__ import main as export
from tests import tiny

FAST = ["--steps", "3", "--batch-size", "2", "--latents", "2", "--sampling-steps", "2", "--learning-rate", "0.02"]
CONCEPTS = ["--target", "a star", "--anchor", "a circle", "--retain", "a moon", *tiny.UNOPPOSED]


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Finished runs by family and parameter group, each made once, by the command line."""
    folder = tmp_path_factory.mktemp("exported")
    made = {}

    def run(kind="sd1", group="cross-attention-kv", *flags):
        if (kind, group, flags) not in made:
            source = folder / kind if (folder / kind).exists() else tiny.folder(folder / kind, kind)
            out = folder / f"{kind}-{group}{len(flags)}"
            arguments = ["--model", str(source), "--parameter-group", group, "--output", str(out), *CONCEPTS, *FAST]
            assert unlearn.main([*arguments, *flags]) == 0
            made[kind, group, flags] = source, out
        return made[kind, group, flags]

    return run


@pytest.fixture
def call(capsys, tmp_path):
    """Export by the command line; gives the exit code, the folder, and what was printed."""

    def export_(run, *flags, output="out"):
        code = export([str(run), "--output", str(tmp_path / output), *flags])
        return code, tmp_path / output, capsys.readouterr()

    return export_
