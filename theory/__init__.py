"""Executable theorems about f-divergences: each is stated, computed by independent means, and compared.

One file holds one theorem, with its proof in the docstring and its record in `THEOREM`: between Gaussians, in general,
and in training. What they and the tests compare with is in `laws`. `python -m theory` checks all of them over the whole
catalogue.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from theory.theorem import Comparison, Theorem, TheoremError, catalogue


@cache
def theorems() -> tuple[Theorem, ...]:
    """Return the `THEOREM` of every module below this package that has one, in the order of their numbers."""
    names = [module.name for module in pkgutil.walk_packages(__path__, f"{__name__}.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    found = [module.THEOREM for module in modules if hasattr(module, "THEOREM")]
    return tuple(sorted(found, key=lambda theorem: (theorem.number, theorem.part)))


__all__ = ["Comparison", "Theorem", "TheoremError", "catalogue", "theorems"]
