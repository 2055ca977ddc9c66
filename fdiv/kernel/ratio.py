"""Fractions of polynomials in atoms: u^(1/order), logarithms, roots, exponentials. See `docs/kernel.md` for the rules.

Every fraction stands for a function on one open interval of u, on which its denominator has no zero. Work is counted
in a ledger and never timed; what grows beyond a limit is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from flint import Ordering, arb, fmpq, fmpq_mpoly_ctx, fmpq_poly

MOST_ATOMS, MOST_TERMS, MOST_DEGREE, MOST_BITS, MOST_WORK, LARGEST_ORDER = 32, 300, 160, 6000, 250_000, 1000
NEAR = fmpq(1, 2**80)  # the relative width of the bracket of a zero
RING = fmpq_mpoly_ctx.get([f"x{i}" for i in range(MOST_ATOMS)], Ordering.lex)
_ATOMS = RING.gens()[::-1]  # the ring is ordered so that an atom comes above those in its argument
ONE = RING.constant(1)
BALLS: dict[str, Callable[[Any, int], Any]] = {  # an atom's value by its argument's
    "log": lambda a, order: abs(a).log(),
    "root": lambda a, order: (abs(a).log() / order).exp(),
    "exp": lambda a, order: a.exp(),
    "erf": lambda a, order: a.erf(),
    "pi": lambda a, order: arb.pi(),
    "zero": lambda a, order: a.union(a * (1 + NEAR)),
}


class Unproved(Exception):  # noqa: N818  (a verdict, and no fault of the program)
    """The rules do not show it."""


def require(shown: bool, otherwise: str) -> None:
    """Raise `Unproved` with the reason unless it is shown."""
    if not shown:
        raise Unproved(otherwise)


class Ledger:
    """The work that is left for a claim, and the order of all roots, which the certificate chooses."""

    def __init__(self, order: int) -> None:
        """Start with all of the work that one claim may cost."""
        self.left, self.order = MOST_WORK, order

    def spend(self, amount: int) -> None:
        """Count work; raises `Unproved` when none is left."""
        self.left -= amount
        require(self.left >= 0, "it costs more work than a claim may")


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
        require(n <= 2 * MOST_DEGREE or len(self.num) == len(self.den) == 1, f"a power of order {n}")
        result, square = self.field.constant(1), self
        while n:
            if n % 2:
                result = result * square
            n //= 2
            square = square * square if n else square
        return result

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


def times(a: Any, b: Any, ledger: Ledger) -> Any:
    """Multiply polynomials of bounded length."""
    ledger.spend(len(a) * len(b))
    require(len(a) * len(b) <= MOST_TERMS**2, "a polynomial of too many terms")
    return a * b


def reduced(num: Any, den: Any, relations: list[Any]) -> tuple[Any, Any]:
    """The fraction in lowest terms with a monic denominator, modulo polynomials that are zero; not too large."""
    for relation in relations:
        lead = relation.monoms()[0]
        at = next(i for i, degree in enumerate(lead) if degree)
        if max(num.degrees()[at], den.degrees()[at]) >= lead[at]:
            num, den = divmod(num, relation)[1], divmod(den, relation)[1]
    require(den != 0, "division by zero")
    if not den.is_constant():
        common = num.gcd(den)
        num, den = num // common, den // common
    lead = den.leading_coefficient()
    for poly in (num, den):
        large = any(max(c.p.bit_length(), c.q.bit_length()) > MOST_BITS for c in poly.coeffs())
        wide = len(poly) > MOST_TERMS or max(poly.degrees()) > 100 * LARGEST_ORDER
        require(not (large or wide), "an expression of too large numbers, degree or length")
    return num / lead, den / lead


def generator(i: int) -> Any:
    """Atom i as a polynomial."""
    return _ATOMS[i]


def used(poly: Any) -> list[int]:
    """The numbers of the atoms in a polynomial."""
    return [MOST_ATOMS - 1 - at for at, degree in enumerate(poly.degrees()) if degree > 0]


def terms(poly: Any) -> list[tuple[dict[int, int], Any]]:
    """The terms as ({number of an atom: exponent}, coefficient)."""
    return [({MOST_ATOMS - 1 - at: int(e) for at, e in enumerate(powers) if e}, c) for powers, c in poly.terms()]


def monomial(powers: dict[int, int]) -> Any:
    """The product of powers of atoms."""
    return RING.from_dict({tuple(powers.get(MOST_ATOMS - 1 - at, 0) for at in range(MOST_ATOMS)): fmpq(1)})


def common_powers(poly: Any) -> dict[int, int]:
    """The powers of atoms that divide a polynomial."""
    least = [min(column) for column in zip(*poly.monoms(), strict=True)]
    return {MOST_ATOMS - 1 - at: int(e) for at, e in enumerate(least) if e}


def dense(poly: Any) -> tuple[Any, int]:
    """A polynomial in u^(1/order) alone as (one in x = u^(step/order), step); of bounded degree."""
    step = math.gcd(*(int(powers[-1]) for powers in poly.monoms())) or 1
    degree = max(int(powers[-1]) for powers in poly.monoms()) // step
    require(degree <= MOST_DEGREE, f"a polynomial of degree {degree}")
    coefficients = [fmpq(0)] * (degree + 1)
    for powers, c in poly.terms():
        coefficients[int(powers[-1]) // step] = c
    return fmpq_poly(coefficients), step


def sparse(poly: Any, step: int) -> Any:
    """The inverse of `dense`."""
    return sum((monomial({0: step * j}) * c for j, c in enumerate(poly.coeffs())), RING.constant(0))


def split(poly: Any) -> tuple[fmpq, list[tuple[Any, int]]]:
    """A number and factors with their multiplicities: irreducible ones where that is cheap, else square-free ones."""
    if used(poly) == [0]:
        flat, step = dense(poly)
        small = flat.degree() <= 40 and all(max(c.p.bit_length(), c.q.bit_length()) <= 400 for c in flat.coeffs())
        number, parts = flat.factor() if small else flat.factor_squarefree()
        return fmpq(number), [(sparse(part, step), int(m)) for part, m in parts]
    number, parts = poly.factor_squarefree()
    leads = math.prod((part.leading_coefficient() ** int(m) for part, m in parts), start=fmpq(number))
    return leads, [(part / part.leading_coefficient(), int(m)) for part, m in parts]


def enclose(poly: Any, balls: list[Any], ledger: Ledger) -> Any:
    """The polynomial's value by those of the atoms."""
    ledger.spend(20 * len(poly))
    return sum(
        (math.prod((balls[i] ** e for i, e in powers.items()), start=arb(c)) for powers, c in terms(poly)), arb(0)
    )


def ball_sign(ball: Any) -> int:
    """The sign of every number in the ball; raises `Unproved` if it holds zero."""
    require(bool(ball > 0 or ball < 0), "its sign is not told from zero")
    return 1 if ball > 0 else -1


def root_free_sign(p: Any, low: fmpq, high: fmpq | None, ledger: Ledger) -> int:
    """The sign of a square-free p without a root in (low, high), None being infinity, by Descartes' rule on parts."""
    stack, sign = [(low, high)], 0
    while stack:
        ledger.spend(p.degree() ** 2 + 10)
        a, b = stack.pop()
        middle = 2 * a + 1 if b is None else (a + b) / 2
        moved = p(fmpq_poly([a, 1 if b is None else b - a]))
        if b is not None:  # y -> 1/(1 + y) takes (0, inf) to (0, 1)
            moved = fmpq_poly([moved[p.degree() - i] for i in range(p.degree() + 1)])(fmpq_poly([1, 1]))
        signs = [c > 0 for c in moved.coeffs() if c != 0]
        changes = sum(one != other for one, other in pairwise(signs))
        if changes:
            require(changes > 1 and p(middle) != 0 and len(stack) < 64, "it changes its sign on the piece")
            stack += [(a, middle), (middle, b)]
        else:
            sign = 1 if p(middle) > 0 else -1
    return sign


def power_bound(end: fmpq | None, step: int, order: int, upper: bool) -> fmpq | None:
    """end^(step/order) where it is seen to be rational, else a rational bound of it."""
    if end is None or step == order or end in (0, 1):
        return end
    ball = (arb(end).log() * fmpq(step, order)).exp()
    return as_fraction(ball.upper() if upper else ball.lower())


def as_fraction(number: Any) -> fmpq:
    """The rational number that an exact ball is."""
    mantissa, exponent = number.man_exp()
    return fmpq(mantissa) * fmpq(2) ** int(exponent)
