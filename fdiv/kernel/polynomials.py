"""Polynomials in atoms, which are numbered: bounded arithmetic, factors, and the sign of one in a power of u alone."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from flint import Ordering, arb, fmpq, fmpq_mpoly_ctx, fmpq_poly

from fdiv.kernel.ledger import LARGEST_ORDER, Ledger, require

MOST_ATOMS, MOST_TERMS, MOST_DEGREE, MOST_BITS = 32, 300, 160, 6000
RING = fmpq_mpoly_ctx.get([f"x{i}" for i in range(MOST_ATOMS)], Ordering.lex)
FIRST = MOST_ATOMS - 1  # the number of u^(1/order); a later atom has a smaller one, and so comes above it in the ring
ONE = RING.constant(1)


def times(a: Any, b: Any, ledger: Ledger) -> Any:
    """Multiply polynomials of bounded length."""
    ledger.spend(len(a) * len(b))
    require(len(a) * len(b) <= MOST_TERMS**2, "a polynomial of too many terms")
    return a * b


def reduced(num: Any, den: Any, relations: list[Any]) -> tuple[Any, Any]:
    """The fraction in lowest terms with a monic denominator, modulo polynomials that are zero; not too large."""
    for relation in relations:
        at, degree = next((i, degree) for i, degree in enumerate(relation.monoms()[0]) if degree)
        if max(num.degrees()[at], den.degrees()[at]) >= degree:
            num, den = divmod(num, relation)[1], divmod(den, relation)[1]
    require(den != 0, "division by zero")
    if not den.is_constant():
        common = num.gcd(den)
        num, den = num // common, den // common
    lead = den.leading_coefficient()
    for poly in (num, den):
        small = len(poly) <= MOST_TERMS and max(poly.degrees()) <= 100 * LARGEST_ORDER and _bits(poly) <= MOST_BITS
        require(small, "an expression of too large numbers, degree or length")
    return num / lead, den / lead


def _bits(poly: Any) -> int:
    return max((max(c.p.bit_length(), c.q.bit_length()) for c in poly.coeffs()), default=0)


def used(poly: Any) -> list[int]:
    """The numbers of the atoms in a polynomial, the latest first."""
    return [i for i, degree in enumerate(poly.degrees()) if degree > 0]


def terms(poly: Any) -> list[tuple[dict[int, int], Any]]:
    """The terms as ({number of an atom: exponent}, coefficient)."""
    return [({i: int(e) for i, e in enumerate(powers) if e}, c) for powers, c in poly.terms()]


def monomial(powers: dict[int, int]) -> Any:
    """The product of powers of atoms."""
    return RING.term(exp_vec=tuple(powers.get(i, 0) for i in range(MOST_ATOMS)))


def factors(poly: Any) -> list[tuple[Any, int]]:
    """Polynomials and multiplicities whose product it is up to its sign, always the same ones.

    They are atoms, primes or large numbers, and monic factors: irreducible where that is cheap, else square-free.
    """
    shared = poly.term_content()
    flat, strides = (poly // shared).deflation()
    small = used(flat) == [FIRST] and flat.total_degree() <= 40 and _bits(flat) <= 400
    number, parts = flat.factor() if small else flat.factor_squarefree()
    found = [(RING.gen(i), e) for i, e in terms(shared)[0][0].items()]
    for part, multiplicity in parts:
        lead = part.leading_coefficient()
        number *= lead ** int(multiplicity)
        found.append((part.inflate(strides) / lead, int(multiplicity)))
    for whole, way in ((abs(number.p), 1), (number.q, -1)):
        primes = whole.factor(trial_limit=500) if whole.bit_length() <= 300 else [(whole, 1)]
        found += [(RING.constant(p), way * int(m)) for p, m in primes if p != 1]
    return found


def polynomial_sign(poly: Any, low: fmpq | None, high: fmpq | None, ledger: Ledger, strict: bool) -> int:
    """The sign of a polynomial in a power of u on (low, high), by its square-free factors of odd multiplicity.

    None is 0 or infinity. Not strict: zeros inside are allowed.
    """
    flat, strides = poly.deflation()  # in x = u^power
    power, degree = fmpq(int(strides[FIRST]) or 1, ledger.order), int(flat.total_degree())
    require(degree <= MOST_DEGREE, f"a polynomial of degree {degree}")
    number, parts = fmpq_poly([flat[(0,) * FIRST + (j,)] for j in range(degree + 1)]).factor_squarefree()
    ends = fmpq(0) if low is None else _raised(low, power)[0], None if high is None else _raised(high, power)[1]
    sign = 1 if number > 0 else -1
    for part, multiplicity in parts:
        if strict or multiplicity % 2:
            sign *= _root_free_sign(part, *ends, ledger) ** int(multiplicity)
    return sign


def _raised(end: fmpq, power: fmpq) -> tuple[fmpq, fmpq]:
    """Rational bounds of a power, which are equal where it is seen to be rational."""
    return (end, end) if power == 1 or end == 1 else bounds((arb(end).log() * power).exp())


def bounds(ball: Any) -> tuple[fmpq, fmpq]:
    """The rational numbers between which a ball lies."""
    ends = (ball.lower().man_exp(), ball.upper().man_exp())
    low, high = (fmpq(mantissa) * fmpq(2) ** int(exponent) for mantissa, exponent in ends)
    return low, high


def _root_free_sign(p: Any, low: fmpq, high: fmpq | None, ledger: Ledger) -> int:
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
