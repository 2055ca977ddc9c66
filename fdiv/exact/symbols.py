"""The four symbols that every formula is written in, and the error of a quantity that cannot be derived."""

from __future__ import annotations

import sympy

u = sympy.Symbol("u", positive=True)
"""The ratio dP/dQ."""
t = sympy.Symbol("t", real=True)
"""The argument of the conjugate f*."""
v = sympy.Symbol("v", real=True)
"""A critic's raw output, an estimate of the log ratio log u."""
s = sympy.Symbol("s", positive=True)
"""The squared distance of two Gaussian means over their common variance."""


class DerivationError(ValueError):
    """A quantity cannot be derived from the generator; the message says which and why."""
