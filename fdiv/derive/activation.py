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

from dataclasses import dataclass, replace
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
    """T, f* o T and their slopes up to v = `upper`, from where the stretch before it ends."""

    upper: Expr
    forms: Activation
    rough: bool = False  # whether a slope is infinite at an end


def derive_activation(generator: Generator) -> Activation:
    """Derive T and f* o T; raises DerivationError where a limit of the slope cannot be derived."""
    if not generator.kinks:
        return _joined([_Stretch(sympy.log(p.upper), _smooth(p), _rough(p)) for p in generator.pieces], canonical=True)
    if len(generator.kinks) == 1 and all(piece.affine for piece in generator.pieces):
        return _logistic(generator)
    return _joined(_laid_out(generator), canonical=False)


def _joined(stretches: list[_Stretch], canonical: bool) -> Activation:
    """Join each of the four forms over all stretches into one Piecewise in v."""

    def joined(form: str, slope: bool = False) -> Expr:
        branches: list[tuple[Expr, Any]] = []
        for stretch, following in pairwise(stretches):
            expression = getattr(stretch.forms, form)
            if slope and (stretch.rough or following.rough):
                # the slope is infinite where the two meet, and there it is given the subgradient 0
                branches += [(expression, v < stretch.upper), (sympy.S.Zero, v <= stretch.upper)]
            else:
                branches.append((expression, v <= stretch.upper))
        last = getattr(stretches[-1].forms, form)
        return sympy.Piecewise(*branches, (last, True)) if branches else last

    output, term = joined("output"), joined("conjugate_term")
    return Activation(output, term, joined("output_slope", True), joined("conjugate_slope", True), canonical)


def _smooth(piece: Piece) -> Activation:
    """T, f* o T and their slopes on one piece, at v = log u."""
    return Activation(
        output=in_log_ratio(piece.slope, piece),
        conjugate_term=in_log_ratio(normal(u * piece.slope - piece.expression), piece),
        output_slope=in_log_ratio(u * piece.second, piece, positive=True),
        conjugate_slope=in_log_ratio(u**2 * piece.second, piece, positive=True),
    )


def _rough(piece: Piece) -> bool:
    """Whether f'' is infinite at an end inside (0, inf)."""
    ends = [end for end in (piece.lower, piece.upper) if end not in (0, sympy.oo)]
    return any(piece.limit(piece.second, end).is_infinite for end in ends)


def _laid_out(generator: Generator) -> list[_Stretch]:
    """Lay curved pieces and jumps of f' side by side along v, from left to right.

    `shift` is v - log u so far: a jump takes a unit of v that log u has not, and a straight line between two pieces,
    on which T would stand still, is left out. A straight line at an end, beyond a kink, is no stretch of its own
    either: the jump beside it has an exponential tail in its place.
    """
    jumps, pieces = dict(generator.kinks), generator.pieces
    first, last = pieces[0], pieces[-1]
    found, shift = [], sympy.S.Zero
    for piece in pieces:
        beyond_a_kink = (piece is first and piece.upper in jumps) or (piece is last and piece.lower in jumps)
        if not piece.affine or ((piece is first or piece is last) and not beyond_a_kink):
            found.append(_Stretch(sympy.log(piece.upper) + shift, _shifted(_smooth(piece), shift), _rough(piece)))
        elif piece is not first and piece is not last:
            shift -= sympy.log(piece.upper / piece.lower)
        if piece.upper in jumps:
            jump, start = jumps[piece.upper], sympy.log(piece.upper) + shift
            if piece is first and piece.affine:
                found.append(_Stretch(start, _on_jump(piece, jump * sympy.exp(v - start))))
            elif piece.upper == last.lower and last.affine:
                found.append(_Stretch(sympy.oo, _on_jump(piece, -jump * expm1(start - v))))
            else:
                found.append(_Stretch(start + 1, _on_jump(piece, jump * (v - start))))
                shift += 1
    return found


def _shifted(forms: Activation, shift: Expr) -> Activation:
    """Move the forms along v by `shift`."""
    moved = {name: form.subs(v, v - shift) for name, form in vars(forms).items() if isinstance(form, Expr)}
    return replace(forms, **moved)


def _on_jump(piece: Piece, rise: Expr) -> Activation:
    """T = f'(k-) + rise at the kink k where `piece` ends; there f*(T) = k T - f(k)."""
    kink = piece.upper
    output, rate = piece.limit(piece.slope, kink) + rise, sympy.diff(rise, v)
    return Activation(output, kink * output - piece.limit(piece.expression, kink), rate, kink * rate)


def _logistic(generator: Generator) -> Activation:
    """Smooth the only kink k between straight lines: a logistic step, and f*(T) = k (T - f'(0)) - f(0)."""
    ((place, jump),) = generator.kinks
    offset = v - sympy.log(place)
    step = jump * sympy.exp(-softplus(-offset))
    slope = jump * sympy.exp(-softplus(-offset) - softplus(offset))
    output = generator.slope_at_zero + step
    return Activation(output, place * step - generator.value_at_zero, slope, place * slope, canonical=False)
