"""D_f between what is given: the kind of P and Q decides how it is computed."""

from __future__ import annotations

from typing import Any, Protocol

from fdiv.between.discrete import between_arrays
from fdiv.between.perspective import Perspective


class Derived(Protocol):
    """What is asked of a divergence, all of it derived from its generator."""

    @property
    def perspective(self) -> Perspective:
        """(p, q) -> q f(p/q)."""


def between(divergence: Derived, p: Any, q: Any) -> Any:
    """Return D_f(P||Q) in nats.

    Args:
        divergence: D_f.
        p: P: an array or tensor of probabilities.
        q: Q, of the same kind as P.
    """
    return between_arrays(divergence.perspective, p, q)
