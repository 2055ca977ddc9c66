"""The canonical output activation of a critic: T(v) = f'(e^v) and f*(T(v)) = e^v f'(e^v) - f(e^v).

The critic's raw output v is then an estimate of the log ratio log dP/dQ for every divergence, T always lies
in the domain of f*, and no formula for f* is needed (the variational bound is Nowozin et al.
arXiv:1606.00709). The slopes are T'(v) = u f''(u) and (f* o T)'(v) = u^2 f''(u) at u = e^v.

At a kink f' jumps, and a critic cannot learn through a step. The slopes that no piece takes are then spread over
v: a single step between straight lines becomes the logistic function of v - log k; otherwise a jump gets a unit of
v of its own, in which T rises linearly (or an exponential tail, at an end), and a straight line between two kinks
gets none. On a jump f*(T) = k T - f(k). T still increases onto the interior of the domain, but v is no log ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import sympy
from sympy import Expr
from sympy.codegen.cfunctions import expm1

from fdiv.derive.generator import Generator, Piece
from fdiv.derive.log_ratio import in_log_ratio
from fdiv.exact.simplify import normal
from fdiv.exact.symbols import u, v
from fdiv.numeric.rewrite import softplus


@dataclass(frozen=True)
class Activation:
    """T and f* o T with their slopes, as expressions in v that are stable in both tails."""

    output: Expr
    conjugate_term: Expr
    output_slope: Expr
    conjugate_slope: Expr
    canonical: bool = True


@dataclass(frozen=True)
class _Stretch:
    """T, f* o T and their slopes up to v = `upper`."""

    upper: Expr
    forms: tuple[Expr, Expr, Expr, Expr]
    rough: bool = False  # whether a slope is infinite at an end


def derive_activation(generator: Generator) -> Activation:
    """Derive T and f* o T; raises DerivationError where a limit of the slope cannot be derived."""
    if not generator.kinks:
        stretches = [_Stretch(sympy.log(piece.upper), _smooth(piece), _rough(piece)) for piece in generator.pieces]
        return _joined(stretches, canonical=True)
    if len(generator.kinks) == 1 and all(piece.affine for piece in generator.pieces):
        return _logistic(generator)
    return _joined(_stretches(generator), canonical=False)


def _joined(stretches: list[_Stretch], canonical: bool) -> Activation:
    columns = []
    for i in range(4):
        branches: list[tuple[Expr, Any]] = []
        for stretch, following in pairwise(stretches):
            rough = i >= 2 and (stretch.rough or following.rough)  # the subgradient 0 where the slope is infinite
            branches += (
                [(stretch.forms[i], v < stretch.upper), (sympy.S.Zero, v <= stretch.upper)]
                if rough
                else [(stretch.forms[i], v <= stretch.upper)]
            )
        columns.append(
            sympy.Piecewise(*branches, (stretches[-1].forms[i], True)) if branches else stretches[0].forms[i]
        )
    output, term, output_slope, term_slope = columns
    return Activation(output, term, output_slope, term_slope, canonical)


def _smooth(piece: Piece) -> tuple[Expr, Expr, Expr, Expr]:
    """T, f* o T and their slopes on one piece."""
    return (
        in_log_ratio(piece.slope, piece),
        in_log_ratio(normal(u * piece.slope - piece.expression), piece),
        in_log_ratio(u * piece.second, piece, positive=True),
        in_log_ratio(u**2 * piece.second, piece, positive=True),
    )


def _rough(piece: Piece) -> bool:
    """Whether f'' is infinite at an end inside (0, inf)."""
    ends = [end for end in (piece.lower, piece.upper) if end not in (0, sympy.oo)]
    return any(piece.limit(piece.second, end).is_infinite for end in ends)


def _stretches(generator: Generator) -> list[_Stretch]:
    """Lay curved pieces and jumps of f' side by side along v."""
    jumps, found, shift = dict(generator.kinks), [], sympy.S.Zero
    pieces = generator.pieces
    for i, piece in enumerate(pieces):
        first, last = i == 0, i == len(pieces) - 1
        tail = piece.affine and ((first and piece.upper in jumps) or (last and piece.lower in jumps))
        if piece.affine and not first and not last:
            shift -= sympy.log(piece.upper / piece.lower)
        elif not tail:
            output, term, rate, growth = (form.subs(v, v - shift) for form in _smooth(piece))
            found.append(_Stretch(sympy.log(piece.upper) + shift, (output, term, rate, growth), _rough(piece)))
        if piece.upper in jumps:
            place, jump = piece.upper, jumps[piece.upper]
            start, low = sympy.log(place) + shift, piece.limit(piece.slope, place)
            to_left, to_right = first and piece.affine, i == len(pieces) - 2 and pieces[-1].affine
            if to_left:
                rise, end = jump * sympy.exp(v - start), start
            elif to_right:
                rise, end = -jump * expm1(start - v), sympy.oo
            else:
                rise, end, shift = jump * (v - start), start + 1, shift + 1
            rate = sympy.diff(rise, v)
            value = piece.limit(piece.expression, place)
            found.append(_Stretch(end, (low + rise, place * (low + rise) - value, rate, place * rate)))
    return found


def _logistic(generator: Generator) -> Activation:
    """Smooth the only kink k between straight lines: a logistic step, and f*(T) = k (T - f'(0)) - f(0)."""
    ((place, jump),) = generator.kinks
    offset = v - sympy.log(place)
    step = jump * sympy.exp(-softplus(-offset))
    slope = jump * sympy.exp(-softplus(-offset) - softplus(offset))
    output = generator.slope_at_zero + step
    return Activation(output, place * step - generator.value_at_zero, slope, place * slope, canonical=False)
