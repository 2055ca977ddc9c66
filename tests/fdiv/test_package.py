"""The package: its functions hide none of its modules, and what needs no torch imports none."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import pytest

import fdiv

ROOT = Path(__file__).parents[2]
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


def test_the_version_is_one_and_typed_and_the_commands_return_exit_codes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "fdiv/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+", fdiv.__version__)
    assert (ROOT / "fdiv" / "py.typed").read_text() == ""
    for name, place in project["project"]["scripts"].items():
        module, _, function = place.partition(":")
        assert name in ("fdiv", "unlearn")
        assert get_type_hints(getattr(importlib.import_module(module), function))["return"] is int


def test_the_mathematics_imports_only_what_it_declares() -> None:
    declared = {"numpy", "scipy", "sympy", "mpmath", "flint", "fdiv", "torch", "matplotlib"}
    inner = [node for path in (ROOT / "fdiv").rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    modules = {alias.name for node in inner if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in inner if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names) <= declared
