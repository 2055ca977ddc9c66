"""When two divergences are one: as divergences, and between Gaussians of one covariance.

D_f is determined by the measure f'' (f modulo a(u-1)). Between Gaussians only the even part of its density
in x = log u counts, g(x) = e^{3x/2} f''(e^x) / 2, because D(s) does not change when P and Q are exchanged, and
D(s) determines that even part (w(s) is its Gaussian transform). So two divergences have proportional D(s)
exactly when u^{3/2} f''(u) + u^{-3/2} f''(1/u) and the folded masses of the kinks are proportional on u > 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

import flint
import mpmath
import sympy
from sympy import Expr

from fdiv.balls.ball import enclose
from fdiv.derive.generator import Piece, piece_at
from fdiv.evidence.finding import Evidence
from fdiv.exact.comparison import between as number_between
from fdiv.exact.comparison import compare as compare_numbers
from fdiv.exact.comparison import in_order
from fdiv.exact.constants import OpenError, constant_ball, exact
from fdiv.exact.simplify import factored, simplified
from fdiv.exact.symbols import u
from fdiv.numeric.backends import MPMATH
from fdiv.numeric.lower import lower
from fdiv.record import Divergence

_DIGITS = 40
_AGREEMENT = mpmath.mpf(10) ** -25
_SHARES = (0.13, 0.37, 0.71, 0.94)  # where in each interval of log u the ratio is looked at
_REACH = 6.0
_BITS = 256
_TRIED_S = (1.0, 4.0, 0.2, 16.0, 0.01, 60.0)


@dataclass(frozen=True)
class Difference:
    """A place at which two quantities differ: `quantity` is D(s) at s = `point`, or f(u) - f'(1)(u-1) at u."""

    quantity: str
    point: float
    first: float
    second: float


@dataclass(frozen=True)
class Relation:
    """first = factor * second; `factor` is None and `where` shows an example when they are different.

    `evidence` is proved (a symbolic identity, or ratios that enclosures tell apart) or tested (equal, or different, to
    25 digits wherever looked). `gaussian` relates the values D(s) between Gaussians of one covariance.
    """

    kind: Literal["equal", "proportional", "different"]
    factor: Expr | None
    evidence: Evidence
    where: Difference | None = None
    gaussian: Relation | None = None


@dataclass(frozen=True)
class _Measure:
    """f'' as densities on intervals of u (cut at `cuts`) and masses at places."""

    cuts: tuple[Expr, ...]
    densities: tuple[Expr, ...]
    masses: Mapping[Expr, Expr]


def compare(a: Divergence, b: Divergence) -> Relation:
    """Relate two convex generators, as divergences and between Gaussians; a = factor * b.

    Raises DerivationError if a generator cannot be resolved into pieces.
    """
    folded, second = (_folded(a), _folded(b)), (_second(a), _second(b))
    between = _relation(*folded) or Relation("different", None, _certainty(*folded), _apart(a, b))
    found = _relation(*second)
    if found is None:
        return Relation("different", None, _certainty(*second), _generators_apart(a, b), between)
    return Relation(found.kind, found.factor, found.evidence, gaussian=between)


def equivalents(divergence: Divergence) -> Mapping[str, Expr]:
    """Return {spec: factor} of the catalogue entries with D(s) = factor * D_spec(s) between Gaussians, for every s.

    A family is taken at the parameters of `divergence` where it has the same ones, else at its example.
    """
    return _equivalents(divergence)


@cache
def _equivalents(divergence: Divergence) -> Mapping[str, Expr]:
    from fdiv.catalog import CATALOG

    found = {}
    for record in CATALOG.values():
        example = {p.name: p.example for p in record.parameters}
        known = {name: value for name, value in divergence.parameters.items() if name in example}
        try:
            other = record.bind({**example, **known})
        except ValueError:
            other = record.bind(example)
        if other.spec == divergence.spec:
            continue
        relation = _relation(_folded(divergence), _folded(other))
        if relation is not None:
            found[other.spec] = relation.factor
    return MappingProxyType(found)


@cache
def _second(divergence: Divergence) -> _Measure:
    """f'' on (0, inf)."""
    pieces = divergence.pieces
    cuts = (sympy.S.Zero, *(piece.upper for piece in pieces))
    return _Measure(cuts, tuple(piece.second for piece in pieces), dict(divergence.kinks))


@cache
def _folded(divergence: Divergence) -> _Measure:
    """u^{3/2} f''(u) + u^{-3/2} f''(1/u) on (1, inf), and sqrt(k) * jump at max(k, 1/k)."""
    inner = [piece.lower for piece in divergence.pieces[1:]]
    sides = [(cut, compare_numbers(cut, sympy.S.One)) for cut in inner]
    folded = in_order([cut if side > 0 else 1 / cut for cut, side in sides if side != 0])
    cuts = (sympy.S.One, *folded, sympy.oo)
    densities = []
    for left, right in pairwise(cuts):
        point = Piece(left, right, u).samples[1]
        above, below = (piece_at(divergence.pieces, where).second for where in (point, 1 / point))
        three_halves = sympy.Rational(3, 2)
        densities.append(u**three_halves * above + u**-three_halves * below.subs(u, 1 / u))
    masses: dict[Expr, Expr] = {}
    for place, jump in divergence.kinks:
        key = place if compare_numbers(place, sympy.S.One) >= 0 else 1 / place
        masses[key] = masses.get(key, sympy.S.Zero) + sympy.sqrt(place) * jump
    return _Measure(cuts, tuple(densities), masses)


def _relation(a: _Measure, b: _Measure) -> Relation | None:
    """Return how a and b are proportional, or None if they are not seen to be."""
    b = _at_the_places_of(a, b)
    if set(a.masses) != set(b.masses):
        return None
    ratio = _ratio(a, b)
    if ratio is None:
        return None
    factor, exact = _exact(ratio)
    proved = exact and all(_is_zero(x - factor * y) for x, y in _pairs(a, b))
    proved = proved and all(_is_zero(a.masses[place] - factor * b.masses[place]) for place in a.masses)
    kind: Literal["equal", "proportional"] = "equal" if factor == 1 else "proportional"
    return Relation(kind, factor, Evidence.PROVED if proved else Evidence.TESTED)


def _at_the_places_of(a: _Measure, b: _Measure) -> _Measure:
    """Write the places of b as a writes equal ones: 1 + sqrt(2) is sqrt(3 + 2 sqrt(2))."""
    known = (*a.cuts, *a.masses)

    def name(place: Expr) -> Expr:
        return next((other for other in known if compare_numbers(place, other) == 0), place)

    return _Measure(tuple(map(name, b.cuts)), b.densities, {name(place): mass for place, mass in b.masses.items()})


def _certainty(a: _Measure, b: _Measure) -> Evidence:
    """Return proved where an enclosure shows that a and b are not proportional, else tested."""
    b = _at_the_places_of(a, b)
    if set(a.masses) != set(b.masses):
        return Evidence.PROVED  # where only one of them has a kink; a place is new if it certainly differs from all
    first: list[Any] = []
    second: list[Any] = []
    for left, right in pairwise(in_order([*a.cuts, *b.cuts])):
        for share in (sympy.Rational(1, 3), sympy.Rational(5, 7)):
            point = number_between(left, right, share)
            for measure, values in ((a, first), (b, second)):
                values.append(_ball_at(_density(measure, left, right), point))
    first += [_mass_ball(mass) for mass in a.masses.values()]
    second += [_mass_ball(b.masses[place]) for place in a.masses]
    # proportional values x = c y have x_i y_j = x_j y_i for all i and j
    pairs = [(x, y) for x, y in zip(first, second, strict=True) if x is not None and y is not None]
    apart = any(not (x * w).overlaps(z * y) for x, y in pairs for z, w in pairs)
    return Evidence.PROVED if apart else Evidence.TESTED


def _ball_at(expression: Expr, point: Expr) -> Any | None:
    try:
        with flint.ctx.workprec(_BITS):
            return enclose(expression, exact(point).log())
    except (OpenError, ZeroDivisionError, ValueError):
        return None


def _mass_ball(mass: Expr) -> Any | None:
    """Return a ball around the mass of a kink, None for one that ball arithmetic does not know."""
    try:
        with flint.ctx.workprec(_BITS):
            return constant_ball(mass)
    except OpenError:
        return None


def _pairs(a: _Measure, b: _Measure) -> list[tuple[Expr, Expr]]:
    """Both densities on each interval on which neither has a cut."""
    cuts = in_order([*a.cuts, *b.cuts])
    return [(_density(a, left, right), _density(b, left, right)) for left, right in pairwise(cuts)]


def _density(measure: _Measure, left: Expr, right: Expr) -> Expr:
    for (low, high), density in zip(pairwise(measure.cuts), measure.densities, strict=True):
        if compare_numbers(low, left) <= 0 and compare_numbers(right, high) <= 0:
            return density
    raise AssertionError(f"({left}, {right}) lies in no interval of {measure.cuts}")


def _ratio(a: _Measure, b: _Measure) -> Any:
    """Return the common ratio of the masses and densities of a and b in 40 digits, or None where there is none."""
    cuts = tuple(in_order([*a.cuts, *b.cuts]))
    with mpmath.workdps(_DIGITS):
        ratios = [MPMATH.number(mass) / MPMATH.number(b.masses[place]) for place, mass in a.masses.items()]
        for x, y in zip(_values(a.densities, a.cuts, cuts), _values(b.densities, b.cuts, cuts), strict=True):
            if x == y == 0:
                continue
            if x == 0 or y == 0:
                return None
            ratios.append(x / y)
            if abs(ratios[-1] - ratios[0]) > _AGREEMENT * abs(ratios[0]):
                return None
    return ratios[0] if ratios else None


@cache
def _values(densities: tuple[Expr, ...], own_cuts: tuple[Expr, ...], cuts: tuple[Expr, ...]) -> tuple[Any, ...]:
    """Evaluate the densities, which `own_cuts` part, at four points inside every interval between `cuts`."""
    measure, values = _Measure(own_cuts, densities, {}), []
    with mpmath.workdps(_DIGITS):
        for left, right in pairwise(cuts):
            function = lower(_density(measure, left, right), u, MPMATH)
            low = mpmath.log(MPMATH.number(left)) if left != 0 else -mpmath.mpf(_REACH)
            high = mpmath.log(MPMATH.number(right)) if right != sympy.oo else max(low, 0) + mpmath.mpf(_REACH)
            values += [mpmath.mpf(function(mpmath.exp(low + share * (high - low)))) for share in _SHARES]
    return tuple(values)


def _exact(ratio: Any) -> tuple[Expr, bool]:
    """Return the rational that a 40-digit number is, if it is one of at most 12 digits."""
    with mpmath.workdps(_DIGITS):
        near = Fraction(mpmath.nstr(ratio, _DIGITS)).limit_denominator(10**12)
        rational = sympy.Rational(near.numerator, near.denominator)
        if near and abs(MPMATH.number(rational) / ratio - 1) < _AGREEMENT:
            return rational, True
    return sympy.Float(float(ratio)), False


def _is_zero(expression: Expr) -> bool:
    if expression == 0 or sympy.expand(expression) == 0:
        return True
    return bool(factored(expression) == 0 or simplified(expression) == 0)


def _apart(a: Divergence, b: Divergence) -> Difference | None:
    """Find an s at which D(s) differs, or None where a D(s) is infinite."""
    if not (a.gaussian.evaluable and b.gaussian.evaluable):
        return None
    values = [Difference("D(s)", s, a.gaussian(s), b.gaussian(s)) for s in _TRIED_S]
    finite = [d for d in values if math.isfinite(d.first) and math.isfinite(d.second)]
    return max(finite, key=_relative, default=None)


def _generators_apart(a: Divergence, b: Divergence) -> Difference | None:
    values = []
    for log_ratio in (-3, -1, 1, 3):
        point = mpmath.exp(log_ratio)
        first, second = (_above_tangent(d, point) for d in (a, b))
        values.append(Difference("f(u) - f'(1)(u-1)", float(point), first, second))
    return max(values, key=_relative)


def _above_tangent(divergence: Divergence, point: Any) -> float:
    """f(u) - f'(1)(u-1), with the mean of the two slopes where 1 is a kink."""
    jump = dict(divergence.kinks).get(sympy.S.One, sympy.S.Zero)
    tangent = divergence.slope_at_one - jump / 2
    piece = piece_at(divergence.pieces, sympy.Float(point))
    return float(lower(piece.expression - tangent * (u - 1), u, MPMATH)(point))


def _relative(difference: Difference) -> float:
    scale = max(abs(difference.first), abs(difference.second))
    return abs(difference.first - difference.second) / scale if scale else 0.0
