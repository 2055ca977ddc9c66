"""Executable theorems about f-divergences: each is stated, computed by independent means, and compared.

One file holds one theorem, with its proof in the docstring and its record in `THEOREM`. `python -m theory`
checks all of them over the whole catalogue.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from theory.theorem import Comparison, Theorem, TheoremError, catalogue


@cache
def theorems() -> tuple[Theorem, ...]:
    """Return the `THEOREM` of every module of this package that has one, in the order of their numbers."""
    public = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in public]
    found = [module.THEOREM for module in modules if hasattr(module, "THEOREM")]
    return tuple(sorted(found, key=lambda theorem: (theorem.number, theorem.part)))


__all__ = ["Comparison", "Theorem", "TheoremError", "catalogue", "theorems"]
