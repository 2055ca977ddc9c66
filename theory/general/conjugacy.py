r"""Conjugacy: Fenchel's inequality with its equality, and f** = f.

Proof. f*(t) = sup over u >= 0 of u t - f(u) gives u t <= f(u) + f*(t) for every pair; the supremum over a concave
function of u is attained where t lies in the subdifferential of f at u. f is convex and, extended by its limit at 0,
lower semicontinuous, so f** = f (Fenchel and Moreau). Below f'(0+) the supremum is at u = 0: f* is the constant
-f(0), the branch that published tables omit; above f'(inf) it is infinite.

Computed is fdiv's conjugate; stated is a numeric supremum over u of the raw generator, for t below f'(0+) and inside
the domain. For f** computed is a maximum over t of u t - f*(t), and stated the generator.
"""

from __future__ import annotations

from collections.abc import Iterator

from fdiv import Divergence
from theory.laws.claims import claims
from theory.laws.general import LAWS
from theory.theorem import Comparison, Theorem


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    c = claims(divergence)
    for law in LAWS:
        if "conjugate" in law.about:
            yield from law.everywhere(c)


THEOREM = Theorem(
    number=12,
    part="a",
    name="conjugacy",
    title="Fenchel-Young and biconjugation",
    statement=r"u t \le f(u) + f^*(t), \text{ with equality iff } t \in \partial f(u); \qquad f^{**} = f; \qquad"
    r" f^*(t) = -f(0) \text{ for } t \le f'(0^+)",
    hypotheses=("f is convex on (0, inf), extended to 0 by its limit",),
    reference="Fenchel 1949, Moreau 1966; Rockafellar 1970, theorems 12.2 and 23.5",
    applies=lambda divergence: True,
    comparisons=_comparisons,
)
