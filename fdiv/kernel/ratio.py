"""Fractions of polynomials in atoms: u^(1/order), logarithms, roots, exponentials. See `docs/kernel.md` for the rules.

Every fraction stands for a function on one open interval of u, on which its denominator has no zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flint import fmpq

from fdiv.kernel.ledger import require
from fdiv.kernel.polynomials import MOST_DEGREE, ONE, times, used


@dataclass(frozen=True)
class Atom:
    """u^(1/order), log|a|, |a|^(1/order), exp(a), erf(a), pi, or a zero just above a, where a is the argument."""

    kind: str
    argument: Any
    varies: bool
    positive: bool


class Ratio:
    """A function on a piece: a fraction of polynomials in the atoms of a field, in lowest terms."""

    def __init__(self, field: Any, num: Any, den: Any = ONE) -> None:
        """Take the polynomials as they are: the denominator has no zero on the piece."""
        self.field, self.num, self.den = field, num, den

    def __add__(self, other: Ratio) -> Ratio:
        """Sum."""
        ledger = self.field.ledger
        num = times(self.num, other.den, ledger) + times(other.num, self.den, ledger)
        return self.field.ratio(num, times(self.den, other.den, ledger))

    def __mul__(self, other: Ratio | int | fmpq) -> Ratio:
        """Product with another function or a rational number."""
        if not isinstance(other, Ratio):
            return self.field.ratio(self.num * other, self.den)
        ledger = self.field.ledger
        return self.field.ratio(times(self.num, other.num, ledger), times(self.den, other.den, ledger))

    def __sub__(self, other: Ratio) -> Ratio:
        """Difference."""
        return self + other * -1

    def over(self, other: Ratio) -> Ratio:
        """Quotient by what is known to have no zero on the piece."""
        return self * Ratio(self.field, other.den, other.num)

    def raised(self, n: int) -> Ratio:
        """Power; a negative one only of what is known to have no zero on the piece."""
        if n < 0:
            return self.field.constant(1).over(self.raised(-n))
        if n < 2:
            return self if n else self.field.constant(1)
        require(n <= 2 * MOST_DEGREE or len(self.num) == len(self.den) == 1, f"a power of order {n}")
        half = self.raised(n // 2)
        return half * half * self if n % 2 else half * half

    @property
    def zero(self) -> bool:
        """Whether the normal form is 0, so that the function is identically zero."""
        return bool(self.num == 0)

    @property
    def rational(self) -> fmpq | None:
        """The rational number that it is, or None."""
        constant = self.num.is_constant() and self.den.is_constant()
        return sum(self.num.coeffs(), fmpq(0)) / self.den.leading_coefficient() if constant else None

    @property
    def varies(self) -> bool:
        """Whether u occurs in it."""
        return any(self.field.atoms[i].varies for poly in (self.num, self.den) for i in used(poly))
