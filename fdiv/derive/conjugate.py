"""The Fenchel conjugate f*(t) = sup over u >= 0 of u t - f(u), on the whole real line.

It has four kinds of pieces: the constant -f(0+) below f'(0+); u t - f(u) at the root of f'(u) = t on a
smooth piece; the line k t - f(k) at a kink k; and +inf above f'(inf). Tables in the literature often lack
the first and get the last wrong at its end. The end is included exactly when the limit of u f'(inf) - f(u)
is finite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mpmath
import numpy as np
import sympy
from sympy import Expr

from fdiv.balls.ball import sign_at
from fdiv.derive.generator import Generator, Piece
from fdiv.derive.numeric_conjugate import ConjugatePiece, conjugate_on
from fdiv.exact.comparison import compare
from fdiv.exact.domain import Interval
from fdiv.exact.inversion import invert
from fdiv.exact.simplify import factored, normal
from fdiv.exact.symbols import DerivationError, t, u
from fdiv.numeric.backends import MPMATH, Backend, Function, elementwise, is_number, numpy_backend
from fdiv.numeric.lower import lower

_LARGEST_NUMBER = 10**4000


@dataclass(frozen=True)
class Conjugate:
    """f* with its pieces in increasing t, its effective domain, and its value at the domain's upper end."""

    pieces: tuple[ConjugatePiece, ...]
    effective_domain: Interval
    value_at_end: Expr

    @property
    def exact(self) -> bool:
        """Whether every piece has a formula."""
        return all(piece.expression is not None for piece in self.pieces)

    @property
    def formula(self) -> Expr | None:
        """f* as one SymPy expression in t, or None where a piece is implicit."""
        if not self.exact:
            return None
        end = self.effective_domain.upper
        branches = [(piece.expression, t < piece.upper) for piece in self.pieces]
        if end != sympy.oo:
            branches += [(self.value_at_end, t <= end), (sympy.oo, True)]
        return sympy.Piecewise(*branches)

    def __call__(self, point: Any) -> Any:
        """f* at a real number, or elementwise at an array or tensor; inf above the effective domain.

        A number is taken in 50 digits where there is a formula; arrays as in `on`, in their dtype, on their device and
        with their gradient. Raises ArithmeticError where f* is not found.
        """
        if not is_number(point):
            return elementwise(self.on, point)
        end = float(self.effective_domain.upper)
        if point > end:
            return math.inf
        if point == end:
            return float(self.value_at_end)
        # at a common end the line is exact, and a root may be beside the end by its rounding
        reached = (p for p in self.pieces if point < float(p.upper) or (p.source is None and point == float(p.upper)))
        formula = self._formulas[next(reached)]
        if formula is None:
            with np.errstate(all="ignore"):  # the ends of the bracket overflow
                return float(self._numbers(np.array(point)))
        with mpmath.workdps(50):
            return float(formula(mpmath.mpf(point)))

    @cached_property
    def _formulas(self) -> dict[ConjugatePiece, Function | None]:
        """The formulas of the pieces in 50 digits."""
        with mpmath.workdps(50):
            return {piece: _in_digits(piece.expression) for piece in self.pieces}

    @cached_property
    def _numbers(self) -> Function:
        return self.on(numpy_backend())

    def on(self, backend: Backend) -> Function:
        """Return f* as a function of an array of t, computed in fp64 and returned in the array's dtype.

        On a curved piece f'(e^x) = t is solved for x by a bracketed Newton iteration, whatever formula there is;
        raises ArithmeticError where the residual is not small. In torch the derivative is the maximiser u, and its
        derivative 1/f''(u).
        """
        return conjugate_on(self.pieces, self.effective_domain.upper, self.value_at_end, backend)


def _in_digits(formula: Expr | None) -> Function | None:
    """Lower a formula to mpmath; None, as where there is none, for one that cannot be put into numbers."""
    try:
        return None if formula is None else lower(formula, t, MPMATH)
    except NotImplementedError:
        return None


def derive_conjugate(generator: Generator) -> Conjugate:
    """Assemble f* from the pieces, kinks and limits of a convex generator."""
    first, last = generator.pieces[0], generator.pieces[-1]
    found: list[ConjugatePiece] = []
    if generator.slope_at_zero != -sympy.oo:
        found.append(ConjugatePiece(-sympy.oo, generator.slope_at_zero, -generator.value_at_zero, sympy.S.Zero))
    for piece, following in zip(generator.pieces, (*generator.pieces[1:], None), strict=True):
        start, end = piece.limit(piece.slope, piece.lower), piece.limit(piece.slope, piece.upper)
        if not piece.affine:
            found.append(_smooth(piece, start, end))
        if following is not None:
            kink, after = piece.upper, following.limit(following.slope, following.lower)
            if compare(after, end) > 0:
                found.append(ConjugatePiece(end, after, _line(piece, kink), kink))
    top = generator.slope_at_infinity
    at_end = sympy.oo if top == sympy.oo else last.limit(sympy.expand(u * top - last.expression), last.upper)
    if not found:
        raise DerivationError(f"the generator {first.expression} is affine, so its divergence is identically zero")
    return Conjugate(tuple(found), Interval(-sympy.oo, top, upper_closed=bool(at_end.is_finite)), at_end)


def _line(piece: Piece, kink: Expr) -> Expr:
    return kink * t - piece.limit(piece.expression, kink)


def _smooth(piece: Piece, start: Expr, end: Expr) -> ConjugatePiece:
    ratio = invert(piece.slope, t, piece.samples)
    # 1.765^(125000/95679) is a root of an integer with thousands of digits, which nobody can read or compute with
    if ratio is None or any(max(abs(n.p), n.q) > _LARGEST_NUMBER for n in ratio.atoms(sympy.Rational)):
        return ConjugatePiece(start, end, None, None, piece)
    # u f'(u) - f(u) is already short, so substitute there and not in u t - f(u)
    surplus = normal(u * piece.slope - piece.expression)
    return ConjugatePiece(start, end, _compose(surplus, ratio, piece), ratio, piece)


def _compose(surplus: Expr, ratio: Expr, piece: Piece) -> Expr:
    """Substitute the maximiser into u f'(u) - f(u), with a linear radicand as a positive variable."""
    bases = sorted((power.base for power in ratio.atoms(sympy.Pow)), key=sympy.default_sort_key)
    linear = next((base for base in bases if base.is_polynomial(t) and sympy.degree(base, t) == 1), None)
    if linear is None:
        return _shortest(surplus.subs(u, ratio).replace(sympy.log, _log_of_lambert))
    offset = linear.subs(t, 0)
    linear = linear / abs(offset) if offset != 0 else linear
    if sign_at(linear.subs(t, piece.slope), piece.samples[0]) < 0:
        linear = -linear
    radicand = sympy.Dummy("radicand", positive=True)
    inverse = (radicand - linear.subs(t, 0)) / sympy.diff(linear, t)
    composed = sympy.expand_mul(surplus.subs(u, factored(ratio.subs(t, inverse))))
    return _shortest(sympy.powdenest(composed, force=True).subs(radicand, linear))


def _shortest(expression: Expr) -> Expr:
    forms = [expression, sympy.expand_mul(expression)]
    forms += [sympy.powsimp(form) for form in forms]
    return min(forms, key=lambda form: (form.count_ops(), sympy.default_sort_key(form)))


def _log_of_lambert(argument: Expr) -> Expr:
    """Rewrite log(c W(z)^p), whose argument is positive, by log |W(z)| = log |z| - W(z)."""
    coefficient, power = argument.as_independent(sympy.LambertW, as_Add=False)
    lambert, exponent = power.as_base_exp()
    if not isinstance(lambert, sympy.LambertW):
        return sympy.log(sympy.cancel(argument) if argument.has(sympy.exp) else argument)
    z = lambert.args[0]
    z = -z if z.could_extract_minus_sign() else z
    size = -coefficient if coefficient.could_extract_minus_sign() else coefficient
    return sympy.log(size) + exponent * (sympy.expand_log(sympy.log(z), force=True) - lambert)
