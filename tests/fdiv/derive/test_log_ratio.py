"""Forms in log u, and where there is none."""

from __future__ import annotations

import math

import pytest
import sympy

import fdiv
from fdiv.derive.generator import Piece
from fdiv.derive.log_ratio import in_log_ratio, log_ratio_error
from fdiv.exact.symbols import DerivationError, u, v

TINY = Piece(sympy.S.Zero, sympy.Rational(1, 2**30), u)


def test_nothing_is_measured_of_a_piece_beyond_the_reach() -> None:
    """log(2^-30) = -20.8: there a form is not good because no point speaks against it, and 1/u has no value at 0."""
    assert log_ratio_error(sympy.exp(-v), 1 / u, TINY, positive=True, reach=20.0) == math.inf
    assert log_ratio_error(sympy.exp(-v), 1 / u, TINY, positive=True, reach=44.0) < 1e-6


def test_what_no_form_holds_is_said() -> None:
    with pytest.raises(DerivationError, match=r"no form of .* is stable"):
        in_log_ratio(u * sympy.exp(1 / u) * 3 ** (-1 / u), TINY, positive=True)


def test_a_limit_with_a_symbol_of_gruntzs_algorithm_in_it_is_none() -> None:
    """SymPy 1.14 says (log 2 w - log 9 w)/... of an own symbol w: it takes 2^(u/2)/3^u for what does not vary."""
    piece = Piece(sympy.S.Zero, sympy.oo, 2 ** (u / 2) * 3**-u)
    with pytest.raises(DerivationError, match=r"the limit of .* at u = oo cannot be derived"):
        piece.limit(piece.slope, sympy.oo)


def test_terms_with_powers_of_numbers_are_each_on_one_base() -> None:
    """As it stands each of its powers is infinite or zero from u = 100 on."""
    expression = u * (2**u * sympy.log(3) ** 2 + 3**u * sympy.log(2) ** 2) / 6**u
    whole = Piece(sympy.S.Zero, sympy.oo, expression)
    assert log_ratio_error(in_log_ratio(expression, whole, positive=True), expression, whole, positive=True) < 1e-5
    assert fdiv.certify("2**-u+3**-u-5/6").accepted
