"""Executable theorems about f-divergences: each is stated, computed by independent means, and compared.

One file holds one theorem, with its proof in the docstring and its record in `THEOREM`. `python -m theory`
checks all of them over the whole catalogue.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import fdiv
from fdiv import Divergence
from theory.theorem import Comparison, Theorem, TheoremError


@cache
def theorems() -> tuple[Theorem, ...]:
    """Return the `THEOREM` of every module of this package that has one, in the order of the file names."""
    public = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in public]
    return tuple(module.THEOREM for module in modules if hasattr(module, "THEOREM"))


@cache
def catalogue() -> tuple[Divergence, ...]:
    """Return every divergence of the catalogue, a family at the example that its declared range gives."""
    examples = {name: {p.name: p.example for p in fdiv.CATALOG[name].parameters} for name in fdiv.names()}
    return tuple(fdiv.divergence(name, **values) for name, values in examples.items())


__all__ = ["Comparison", "Theorem", "TheoremError", "catalogue", "theorems"]
