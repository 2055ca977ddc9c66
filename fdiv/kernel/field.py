"""Functions on one piece: differentiation, powers, logarithms, exponentials, signs, substitution and limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flint import arb, fmpq

from fdiv.kernel.ledger import Ledger, Unproved, require
from fdiv.kernel.polynomials import FIRST, MOST_ATOMS, RING, factors, monomial, polynomial_sign, reduced, terms, used
from fdiv.kernel.ratio import Atom, Ratio
from fdiv.kernel.tails import limit
from fdiv.kernel.values import ball, ball_sign, substituted

_LADDER, _MOST_BOXES = 4, 40  # slopes of slopes, and boxes that wait at one time


@dataclass(frozen=True)
class End:
    """A positive end of a piece: a constant of the field without a piece, and rational bounds of it."""

    value: Ratio
    below: fmpq
    above: fmpq


class Field:
    """Functions of u on the open piece (low, high), where None is 0 or infinity.

    The field of constants has no piece: its `point` is None, and nothing in it varies.
    """

    def __init__(self, ledger: Ledger, point: Any = None, low: End | None = None, high: End | None = None):
        """Begin with u^(1/order) alone."""
        self.ledger, self.order, self.point, self.low, self.high = ledger, ledger.order, point, low, high
        self.atoms: dict[int, Atom] = {}
        self.keys: dict[Any, int] = {}
        self.slopes: dict[int, Ratio] = {}
        self.relations: list[Any] = []  # polynomials in the atoms that are zero, the latest first
        self.cover: tuple[fmpq, fmpq] | None = None
        self.root = self.atom("u", self.constant(1))  # which no constant uses
        self.u = Ratio(self, self.root.num**self.order)

    def set_cover(self, low: fmpq, high: fmpq) -> None:
        """Take [low, high] inside the piece as what balls may cover where no exact rule gives a sign."""
        after = self.low is None or self.low.above < low
        require(0 < low < high and after and (self.high is None or high < self.high.below), "a cover outside its piece")
        self.cover = low, high

    def constant(self, value: Any) -> Ratio:
        """A rational number."""
        return Ratio(self, RING.constant(fmpq(value)))

    def ratio(self, num: Any, den: Any) -> Ratio:
        """The fraction in its normal form."""
        self.ledger.spend(10 * (len(num) + len(den)))
        return Ratio(self, *reduced(num, den, self.relations))

    def atom(self, kind: str, argument: Ratio) -> Ratio:
        """The atom of that kind; the argument of a root or logarithm is a polynomial that has no zero on the piece."""
        key = kind, str(argument.num), str(argument.den)
        if key not in self.keys:
            i = self.keys[key] = FIRST - len(self.atoms)
            require(i >= 0, f"more than {MOST_ATOMS} roots, logarithms and exponentials")
            positive = kind != "erf" and (kind != "log" or argument.rational is not None)  # a log of a prime
            self.atoms[i] = Atom(kind, argument, kind == "u" or argument.varies, positive)
            if kind == "root":
                self.relations.insert(0, RING.gen(i) ** self.order - argument.num * self.sign(argument))
        return Ratio(self, RING.gen(self.keys[key]))

    # Differentiation: theta = u d/du is a derivation, given by its values on the atoms.

    def theta(self, x: Ratio) -> Ratio:
        """u dx/du."""
        num, den = Ratio(self, x.num), Ratio(self, x.den)
        return (self._theta(x.num) * den - num * self._theta(x.den)).over(den * den)

    def _theta(self, poly: Any) -> Ratio:
        total = self.constant(0)
        for i in used(poly):
            if self.atoms[i].varies:
                total = total + Ratio(self, poly.derivative(i)) * self._slope(i)
        return total

    def _slope(self, i: int) -> Ratio:
        if i not in self.slopes:
            atom = self.atoms[i]
            rate = self.constant(1) if atom.kind == "u" else self.theta(atom.argument)
            if atom.kind in ("log", "root"):
                rate = rate.over(atom.argument)
            if atom.kind == "erf":
                scale = self.power(self.atom("pi", self.constant(1)), fmpq(-1, 2)) * 2
                rate = rate * scale * self.exp(atom.argument * atom.argument * -1)
            if atom.kind in ("u", "root", "exp"):
                rate = rate * Ratio(self, RING.gen(i)) * (1 if atom.kind == "exp" else fmpq(1, self.order))
            self.slopes[i] = rate
        return self.slopes[i]

    # Functions. Factors of what has no zero on the piece have none.

    def inverse(self, x: Ratio) -> Ratio:
        """1/x, where x has no zero on the piece."""
        require(self.sign(x) != 0, "division by zero")
        return self.constant(1).over(x)

    def power(self, x: Ratio, e: fmpq) -> Ratio:
        """x^e; for a fraction e by e^(e log x), where x > 0."""
        if e.q == 1:
            return x.raised(int(e.p)) if e >= 0 else self.inverse(x).raised(-int(e.p))
        return x if x.zero and e > 0 else self.exp(self.log(x) * e)

    def log(self, x: Ratio) -> Ratio:
        """The sum of log|a| over the factors a of x > 0; of a root or exponential, what it is by definition."""
        require(self.sign(x) == 1, "a logarithm or root of what is not positive")
        total = self.constant(0)
        for poly, side in ((x.num, 1), (x.den, -1)):
            for base, multiplicity in factors(poly):
                atom = next((atom for i, atom in self.atoms.items() if base == RING.gen(i)), None)
                kind = "" if atom is None else atom.kind
                a = atom.argument if atom is not None and kind in ("exp", "root") else Ratio(self, base)
                share = fmpq(side * multiplicity, self.order if kind == "root" else 1)
                total = total + (a if kind == "exp" else self.atom("log", a)) * share
        return total

    def exp(self, x: Ratio) -> Ratio:
        """Split off c log|a| as |a|^c; then each term with its number as a power of one exponential."""
        result = self.constant(1)
        for i in used(x.num):
            c = x.num[(monomial(terms(x.den)[0][0]) * RING.gen(i)).monoms()[0]]
            if self.atoms[i].kind == "log" and c != 0:
                result = result * self._power(self.atoms[i].argument, c)
                x = x - Ratio(self, RING.gen(i) * c)
        for powers, c in terms(x.num):
            term = self.ratio(monomial(powers), x.den)
            unit = fmpq(1, 8) if (c * 8).q == 1 else abs(c)  # e^{-x^2/2} at x = k sqrt(s)/2 has eighths
            result = result * self.atom("exp", term * unit).raised(int((c / unit).p))
        return result

    def erf(self, x: Ratio) -> Ratio:
        """The error function, which is odd."""
        sign = -1 if not x.zero and x.num.leading_coefficient() < 0 else 1
        return x if x.zero else self.atom("erf", x * sign) * sign

    def apply(self, kind: str, a: Ratio) -> Ratio:
        """The function that an atom of that kind is of |a| or a."""
        if kind == "root":
            return self.power(a, fmpq(1, self.order))
        functions = {"log": self.log, "exp": self.exp, "erf": self.erf}
        return functions[kind](a) if kind in functions else self.atom(kind, a)

    def _power(self, base: Ratio, e: fmpq) -> Ratio:
        """|base|^e for the argument of a logarithm."""
        n = e.floor()
        whole = base.raised(int(n)) * (self.sign(base) if n % 2 else 1)
        if e == n:
            return whole
        if base.num == self.root.num:  # a power of u that is none of the root: exp(c log u)
            return whole * self.atom("exp", self.atom("log", base) * (e - n))
        steps = (e - n) * self.order
        require(steps.q == 1, f"a root of order {e.q}, which the certificate's {self.order} does not hold")
        return whole * self.atom("root", base).raised(int(steps.p))

    # Signs: +1, -1, or 0 for what is identically zero; `Unproved` otherwise. Not strict: zeros inside are allowed.

    def sign(self, x: Ratio, strict: bool = True, ladder: int = _LADDER) -> int:
        """The sign that a function keeps on the piece."""
        return 0 if x.zero else self._sign(x.num, strict, ladder) * self._sign(x.den, False, ladder)

    def _sign(self, poly: Any, strict: bool, ladder: int) -> int:
        shared = terms(poly.term_content())[0][0]
        poly = poly // monomial({i: e for i, e in shared.items() if self.atoms[i].positive})
        atoms = [self.atoms[i] for i in used(poly)]
        signs = {1 if c > 0 else -1 for c in poly.coeffs()}
        if len(signs) == 1 and all(atom.positive for atom in atoms):
            return signs.pop()
        if not any(atom.varies for atom in atoms):
            return ball_sign(ball(Ratio(self, poly)))
        if all(sum(powers.values()) == 1 for powers, _ in terms(poly)) and all(atom.kind == "log" for atom in atoms):
            return self.sign(self.exp(Ratio(self, poly)) - self.constant(1), strict, ladder)
        reason = ""
        for rule in (self._sum_sign, self._monotone_sign, self._covered_sign):
            try:
                return rule(poly, strict, ladder)
            except Unproved as error:
                reason = str(error)
        raise Unproved(f"no sign is known: {reason}")

    def _sum_sign(self, poly: Any, strict: bool, ladder: int) -> int:
        """The sign that polynomials in u have in common, which are the coefficients of products of positive atoms."""
        groups: dict[Any, Any] = {}
        for powers, c in terms(poly):
            power = powers.pop(FIRST, 0)
            require(all(self.atoms[i].positive for i in powers), "an atom of either sign")
            others = tuple(powers.items())
            groups[others] = groups.get(others, RING.constant(0)) + monomial({FIRST: power}) * c
        low, high = self.low and self.low.below, self.high and self.high.above
        signs = {polynomial_sign(group, low, high, self.ledger, strict) for group in groups.values()}
        require(len(signs) == 1, "terms of either sign")
        return signs.pop()

    def _monotone_sign(self, poly: Any, strict: bool, ladder: int) -> int:
        """The sign of a quotient y of `poly` that is monotone, by its limit at one end, or bends one way, by both."""
        require(ladder > 0, "no sign is known")
        i = min(i for i in used(poly) if self.atoms[i].varies)  # its highest power is what y is divided by
        most = max(powers.get(i, 0) for powers, _ in terms(poly))
        kept = {i: most if self.atoms[i].kind == "exp" else 0}
        highest = [monomial({**powers, **kept}) * c for powers, c in terms(poly) if powers.get(i, 0) == most]
        divisor = Ratio(self, sum(highest, RING.constant(0)))
        side, y = self.sign(divisor, ladder=ladder - 1), Ratio(self, poly).over(divisor)
        value, ends = ball_sign(ball(y, self.inside)), [_limit_sign(self.end(y, end)) for end in (-1, 1)]
        slope = self.theta(y)
        try:
            rising = self.sign(slope, False, ladder - 1) * value
            shown = (rising >= 0 and ends[0] * value >= 0) or (rising <= 0 and ends[1] * value >= 0)
        except Unproved:  # between two such ends it is enough that y bends away from zero, as a function of log u
            shown = min(end * value for end in ends) >= 0 >= self.sign(self.theta(slope), False, ladder - 1) * value
        require(shown, "no sign is known")
        return value * side

    def _covered_sign(self, poly: Any, strict: bool, ladder: int) -> int:
        """The same sign on the three parts into which the witness cuts the piece: by balls on the middle one."""
        if self.cover is None:
            raise Unproved("no cover is given")
        left, right = (End(self.point.constant(x), x, x) for x in self.cover)
        signs = {self._boxes_sign(poly, *self.cover)}
        for low, high in ((self.low, left), (right, self.high)):
            part = Field(self.ledger, self.point, low, high)
            signs.add(part.sign(substituted(Ratio(self, poly), part, part.u), strict, ladder))
        require(len(signs) == 1, "it changes its sign between the parts of the cover")
        return signs.pop()

    def _boxes_sign(self, poly: Any, low: fmpq, high: fmpq) -> int:
        """The sign on [low, high], by bisection into boxes: the plain enclosure, or the mean value theorem in log u."""
        x, slope, signs, boxes = Ratio(self, poly), self._theta(poly), set(), [(low, high)]
        while boxes:
            a, b = boxes.pop()
            middle, box = (a + b) / 2, arb(a).union(arb(b))
            values = ball(x, box), ball(x, arb(middle)) + ball(slope, box) * (box / middle).log()
            found = {ball_sign(value) for value in values if value > 0 or value < 0}
            if not found:
                near = arb(middle).str(6, radius=False)
                require(len(boxes) < _MOST_BOXES, f"boxes do not part it from zero near u = {near}")
                boxes += [(a, middle), (middle, b)]
            signs |= found
        require(len(signs) == 1, "it changes its sign between boxes")
        return signs.pop()

    @property
    def inside(self) -> Any:
        """A point of the piece."""
        low = fmpq(0) if self.low is None else self.low.above
        return arb(2 * low + 2 if self.high is None else (low + self.high.below) / 2)

    def end(self, x: Ratio, side: int) -> Any:
        """The limit at the lower (-1) or upper (1) end of the piece: a constant, "inf" or "-inf"."""
        end = self.low if side < 0 else self.high
        return limit(x, side) if end is None else substituted(x, self.point, end.value)


def _limit_sign(value: Any) -> int:
    return {"inf": 1, "-inf": -1}[value] if isinstance(value, str) else value.field.sign(value)
