"""What a sum has from its parts: f'', D(s) and w(s) are linear in f.

The rule: where f is a sum of functions g, up to an affine one, f'' with the jumps of the slope is the sum of theirs, so
that f is convex if every g is; E_Q[f] = sum E_Q[g], so that D(s) and w(s) are the sums. Every g is stated by itself,
as g - g(1), and judged by the kernel. It is asked only of what the sum's own proof did not show.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sympy
from sympy import Expr

from fdiv.evidence import witness
from fdiv.evidence.finding import Claim, Evidence
from fdiv.exact.symbols import u
from fdiv.kernel.claims import verify
from fdiv.record import Divergence, custom

LINEAR = ("convexity", "D(s)", "w(s) = dD/ds >= 0")
"""The claims that a sum has from its parts."""
_MOST_PARTS = 12


def inherit(divergence: Divergence, claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
    """Believe of a sum what the kernel confirms of each of its terms, where nothing better is known of the whole."""
    names = [claim.name for claim in claims if claim.open or claim.evidence is Evidence.TESTED]
    found = inherited(divergence, [name for name in LINEAR if name in names])
    return tuple(_of_parts(claim) if claim.name in found else claim for claim in claims)


def _of_parts(claim: Claim) -> Claim:
    reason = f"linear in f, and proved of each term of the sum; {claim.reason}"
    return replace(claim, evidence=Evidence.INHERITED, open=False, reason=reason)


def parts(divergence: Divergence) -> list[Divergence]:
    """Return the terms of a generator that are not affine, each less its value at 1; none where there is but one."""
    terms = [g for g in sympy.Add.make_args(divergence.generator) if not _is_affine(g)]
    if not 1 < len(terms) <= _MOST_PARTS:
        return []
    return [custom(g - g.subs(u, 1)) for g in terms]


def _is_affine(g: Expr) -> bool:
    return bool(g.is_polynomial(u) and sympy.degree(g, u) <= 1)


def inherited(divergence: Divergence, names: list[str]) -> set[str]:
    """Return those of the `names`, all of them linear, that the kernel confirms of every part of a sum."""
    summands = parts(divergence) if names else []
    found = set(names) if summands else set()
    for part in summands:
        statement: dict[str, Any] = {}
        witness.write(
            part, ("generator", "cuts", "gaussian") if found - {"convexity"} else ("generator", "cuts"), statement
        )
        verdicts = verify(witness.completed(statement))
        found = {name for name in found if verdicts[name].confirmed}
        if not found:
            return found
    return found if not found - {"convexity"} or _adds_up(divergence, summands) else found & {"convexity"}


def _adds_up(divergence: Divergence, summands: list[Divergence]) -> bool:
    """Whether the formulas of D(s) and w(s) are the sums of those of the parts."""
    for name in ("formula", "gradient_weight_formula"):
        whole, *terms = [getattr(g.gaussian, name) for g in (divergence, *summands)]
        if whole is None or None in terms or sympy.expand(whole - sympy.Add(*terms)) != 0:
            return False
    return True
