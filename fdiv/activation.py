"""The canonical output activation of a critic: T(v) = f'(e^v) and f*(T(v)) = e^v f'(e^v) - f(e^v).

The critic's raw output v is then an estimate of the log ratio log dP/dQ for every divergence, T always lies
in the domain of f*, and no formula for f* is needed (the variational bound is Nowozin et al.
arXiv:1606.00709). The slopes are T'(v) = u f''(u) and (f* o T)'(v) = u^2 f''(u) at u = e^v.

At a kink f' jumps, and a critic cannot learn through a step: the step at log k becomes the logistic
function of v - log k with the same jump. T is then still increasing onto the interior of the domain, but v
is no log ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sympy
from sympy import Expr

from fdiv.calculus import DerivationError, Piece, normal, u, v
from fdiv.lowering import in_log_ratio, softplus

if TYPE_CHECKING:
    from fdiv.divergence import Divergence


@dataclass(frozen=True)
class Activation:
    """T and f* o T with their slopes, as expressions in v that are stable in both tails."""

    output: Expr
    conjugate_term: Expr
    output_slope: Expr
    conjugate_slope: Expr
    canonical: bool = True


def derive_activation(divergence: Divergence) -> Activation:
    """Derive T and f* o T; raises DerivationError for a kink beside a curved piece."""
    if divergence.kinks:
        return _kinked(divergence)
    branches = [(piece.upper, _smooth(piece)) for piece in divergence.pieces]
    if len(branches) == 1:
        return Activation(*branches[0][1])
    columns = []
    for i in range(4):
        *low, (_, last) = ((v <= sympy.log(upper), forms[i]) for upper, forms in branches)
        columns.append(sympy.Piecewise(*((form, condition) for condition, form in low), (last, True)))
    return Activation(*columns)


def _smooth(piece: Piece) -> tuple[Expr, Expr, Expr, Expr]:
    """T, f* o T and their slopes on one piece."""
    return (
        in_log_ratio(piece.slope),
        in_log_ratio(normal(u * piece.slope - piece.expression)),
        in_log_ratio(u * piece.second, positive=True),
        in_log_ratio(u**2 * piece.second, positive=True),
    )


def _kinked(divergence: Divergence) -> Activation:
    """Smooth one kink k between straight lines: a logistic step, and f*(T) = k (T - f'(0)) - f(0)."""
    if len(divergence.kinks) != 1 or not all(piece.affine for piece in divergence.pieces):
        raise DerivationError(f"{divergence.name} has kinks beside curved pieces: no output activation is offered")
    ((place, jump),) = divergence.kinks
    offset = v - sympy.log(place)
    step = jump * sympy.exp(-softplus(-offset))
    slope = jump * sympy.exp(-softplus(-offset) - softplus(offset))
    output = divergence.slope_at_zero + step
    return Activation(output, place * step - divergence.value_at_zero, slope, place * slope, canonical=False)
