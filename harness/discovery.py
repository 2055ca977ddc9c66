"""What is found by being there: every module of a folder, so that a new file needs no list to be entered in."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any


def modules(package: str) -> Iterator[ModuleType]:
    """Import and give every module of a package and of its folders, `harness.judging.metrics` say, by their names."""
    found = pkgutil.walk_packages(import_module(package).__path__, f"{package}.")
    for name in sorted(module.name for module in found if not module.ispkg):
        yield import_module(name)


def classes(package: str, base: type) -> Iterator[Any]:
    """The subclasses of `base` that a package's modules define themselves."""
    for module in modules(package):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__:
                yield value
