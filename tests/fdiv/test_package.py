"""The package: its functions hide none of its modules, and what needs no torch imports none."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import fdiv

MODULES = [module.name for module in pkgutil.walk_packages(fdiv.__path__, "fdiv.") if module.name != "fdiv.__main__"]


@pytest.mark.parametrize("name", MODULES)
def test_no_function_hides_a_module(name: str) -> None:
    module = importlib.import_module(name)
    parent, _, own = name.rpartition(".")
    assert isinstance(getattr(importlib.import_module(parent), own), ModuleType)
    assert getattr(importlib.import_module(parent), own) is module


HEAVY = {"torch", "diffusers", "transformers", "matplotlib", "harness", "theory"}


@pytest.mark.parametrize(
    ("arguments", "code", "absent"),
    [
        (("--help",), 0, {"scipy"}),
        (("check", "--help"), 0, {"scipy"}),
        (("check", "nonsense"), 2, {"scipy"}),
        (("eval", "kl", "volume", "1"), 2, {"scipy"}),
        (("check", "u*log(u)**2"), 1, set()),
        (("check", "kl"), 0, set()),
    ],
)
def test_a_command_imports_only_what_it_needs(arguments: tuple[str, ...], code: int, absent: set[str]) -> None:
    script = f"import sys, fdiv.__main__ as m; c = m.main({arguments!r}); print(*sys.modules); sys.exit(c)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert not (HEAVY | absent) & set(done.stdout.splitlines()[-1].split())
