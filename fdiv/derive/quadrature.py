"""D(s), w(s) and dw/ds by the trapezoid rule on one set of nodes, whose values are computed once in ball arithmetic.

With kappa(x) = e^{-x/2} f(e^x), D(s) = e^{-s/8} E[kappa(sqrt(s) y)] for y ~ N(0, 1), where the even part K0 alone
counts. With K1 = x K0'/2 and K2 = x K1'/2 (the operator s d/ds, moved into the mean) and E_j for the mean of K_j,

    D = e^{-s/8} E_0,   s w = e^{-s/8} (E_1 - s/8 E_0),   s^2 dw/ds = e^{-s/8} (E_2 - E_1 - s/4 E_1 + s^2/64 E_0).

Below s = `switch` f is taken above its tangent at 1, so that K0 >= 0 and no term cancels; above, the terms that
f has in common with c u^p (log u)^n at 0 and at infinity are taken out, whose values are known, so that the rest
decays. The half-line of x = |log u| is cut at 0 and at every kink, and each panel is mapped to the line by
x = A + e^z, or x = A + (B - A)/(1 + e^{-z}). Then e^{-x^2/2s} is as smooth for s = 1e-12 as for 1e6, the integrand
is analytic for |Im z| < a, and the rule with step h errs by at most 2 M/(e^{2 pi a/h} - 1), where M is the integral
of its modulus on Im z = a (Trefethen and Weideman, SIAM Review 56, 2014, theorem 5.1): h = a/5.5 makes that 2e-15 M.
`fdiv.kernel.gaussian.rule` bounds M and what is cut off, for all s; the claims rest on that, and not on what is
chosen here. Where K0 rises like a high power of x the density alone limits h: `gaussian_error` is then the error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import sympy
from flint import acb, arb, ctx, fmpz_poly
from mpmath.libmp import NoConvergence
from numpy.typing import NDArray
from sympy import Expr

from fdiv.derive.generator import Piece, piece_at
from fdiv.exact.roots import in_root
from fdiv.exact.symbols import DerivationError, u, v
from fdiv.numeric.backends import Backend, flint_backend
from fdiv.numeric.lower import lower
from fdiv.numeric.rewrite import outward

Array = NDArray[np.float64]
SMALLEST = 1e-12  # below, D, w and dw/ds follow their leading powers of s
_WIDEST = 0.7  # of the strip: e^{-x^2/2s} decays on the image of |Im z| < pi/4
STEP = 1 / 5.5  # of h over the half-width of the strip: e^{-2 pi/STEP} = 1e-15
_MOST_ERROR = 2e-14  # that the density's own growth off the real axis may make, relative to the integral
_FINER = 0.95
_NEAR_ZERO = (-20, -24)  # z at which the first power of x is read off
_DENSITY = 2 / math.sqrt(2 * math.pi)  # both half-lines of the normal density at its centre
_NEGLIGIBLE = 1e-18
_FAR = 60.0
_MOST_ZEROS = 1000
_BITS = 62
_MOST_BITS = 1 << 14
_SMALLEST_BITS = 256  # a value below 2^-256 of its neighbour is zero


@dataclass(frozen=True)
class Integrand:
    """The even part of kappa for a function given by pieces: K0, K1 and K2 - K1 at x, as balls."""

    pieces: tuple[Piece, ...]

    @property
    def cuts(self) -> tuple[Expr, ...]:
        """0 and |log k| for every place k between two pieces, increasing."""
        places = {sympy.Max(piece.lower, 1 / piece.lower) for piece in self.pieces[1:]}
        return tuple(sympy.log(place) for place in sorted({sympy.S.One, *places}))

    @property
    def rates(self) -> list[float]:
        """The |c| of every e^{c u^p}, which no strip bounds: e^{-u} explodes where Re u < 0, far out.

        Beyond |u|^p = 60/|c| it is nothing in double precision, and what it does beside the real axis does not count.
        """
        powers = {p for piece in self.pieces for p in piece.expression.atoms(sympy.Pow, sympy.exp) if p.exp.has(u)}
        terms = [t for p in powers for t in sympy.Add.make_args(sympy.expand(p.exp * sympy.log(p.base), log=False))]
        return [abs(float(term.as_independent(u, as_Add=False)[0])) for term in terms if term.has(u)]

    def singularities(self) -> list[complex]:
        """Where kappa is not analytic in x = log u: the zeros of divisors, radicands and arguments of log."""
        found = [complex(math.log(_FAR / min(1.0, rate)), math.pi / 2) for rate in self.rates]
        for piece in self.pieces:
            for inner in _inner(piece.expression):
                found += [complex(abs(x.real), abs(x.imag)) for x in _log_zeros(inner)]
        return found

    def columns(self, panel: int) -> Callable[[Any], list[Any]]:
        """Return x -> (K0, K1, K2 - K1) on the panel between two cuts, at the working precision."""
        cuts = (*self.cuts, sympy.oo)
        inside = sympy.exp(cuts[panel] + 1 if cuts[panel + 1] == sympy.oo else (cuts[panel] + cuts[panel + 1]) / 2)
        sides = [_side(piece_at(self.pieces, at), sign) for at, sign in ((inside, 1), (1 / inside, -1))]

        # the even part K0 = (kappa(x) + kappa(-x))/2, then x d/dx/2 twice: K1 = x K0'/2, K2 = K1/2 + x^2 K0''/4
        def values(x: Any) -> list[Any]:
            (k0, k1, k2), (l0, l1, l2) = (side(x) for side in sides)
            once, twice = x * (k1 - l1) / 4, x * x * (k2 + l2) / 8
            return [(k0 + l0) / 2, once, twice - once / 2]

        return values


def _side(piece: Piece, sign: int) -> Callable[[Any], tuple[Any, Any, Any]]:
    """Return x -> kappa, kappa' and kappa'' at sign * x."""
    f = piece.expression
    if sympy.expand(f) == 0:
        return lambda x: (0 * x, 0 * x, 0 * x)
    # d/dx = u d/du for u = e^x, so kappa = e^{-x/2} f gives kappa' = e^{-x/2} (u f' - f/2), and once more
    # kappa'' = e^{-x/2} (u^2 f'' + f/4); both are written for -x too, where d/dx changes its sign once
    forms = [outward(form, sign) for form in (f, u * piece.slope, u**2 * piece.second)]
    lowered = cache(lambda bits: [lower(form, v, flint_backend(bits)) for form in forms])

    def values(x: Any) -> tuple[Any, Any, Any]:
        f, euler, second = (form(x) for form in lowered(ctx.prec))
        half = (-sign * x / 2).exp()
        return half * f, half * (euler - f / 2), half * (second + f / 4)

    return values


def _inner(expression: Expr) -> Iterator[Expr]:
    """Yield divisors, radicands and arguments of log; raises DerivationError for a function that has other poles."""
    for node in sympy.preorder_traversal(expression):
        if isinstance(node, sympy.log):
            yield node.args[0]
        elif isinstance(node, sympy.Function) and not isinstance(node, sympy.exp) and node.has(u):
            raise DerivationError(f"the singularities of {node} in the complex plane are not known")
        elif node.is_Pow and node.base != u and not (node.exp.is_Integer and node.exp > 0):
            yield node.base


def _log_zeros(expression: Expr) -> list[complex]:
    """The zeros of an expression in u as complex numbers log u; raises DerivationError unless it is algebraic."""
    if expression == u or not expression.has(u):
        return []
    if expression.has(sympy.exp):
        return _log_zeros_of_exponential(expression)
    terms = sympy.Add.make_args(expression)
    if len(terms) == 2 and sum(term.has(u) for term in terms) == 1:  # c + d u^p, where p may be any number
        constant, power = sorted(terms, key=lambda term: term.has(u))
        coefficient, monomial = power.as_independent(u, as_Add=False)
        base, exponent = monomial.as_base_exp()
        if base == u:
            return [complex(np.log(complex(-constant / coefficient))) / float(exponent)]
    root = sympy.Symbol("root", positive=True)
    fraction = in_root(expression, root)
    if fraction is None:
        return _log_zeros_of_powers(expression)
    order, numerator, _ = fraction
    return [order * complex(np.log(zero)) for zero in _zeros(sympy.Poly(numerator, root)) if zero != 0]


def _zeros(polynomial: sympy.Poly) -> list[complex]:
    """The zeros of a polynomial, by FLINT where its coefficients are rational: SymPy's search may not converge."""
    if polynomial.domain.is_ZZ or polynomial.domain.is_QQ:
        _, whole = polynomial.clear_denoms(convert=True)
        return [complex(z) for z, _ in fmpz_poly([int(c) for c in whole.all_coeffs()[::-1]]).complex_roots()]
    try:
        return [complex(zero) for zero in polynomial.nroots(n=20)]
    except NoConvergence:
        raise DerivationError(f"the zeros of {polynomial.as_expr()} were not found") from None


def _log_zeros_of_powers(expression: Expr) -> list[complex]:
    """The zeros of every factor; of a sum a + b of products of powers, those of a^k - (-b)^k, which are no fewer."""
    parts = sympy.together(expression).as_numer_denom()
    bases = [factor.as_base_exp()[0] for part in parts for factor in sympy.Mul.make_args(part)]
    if len([base for base in bases if base.has(u)]) > 1:
        return [zero for base in bases for zero in _log_zeros(base)]
    terms, exponents = sympy.Add.make_args(expression), [p.exp for p in expression.atoms(sympy.Pow) if p.has(u)]
    if len(terms) != 2 or not all(exponent.is_Rational for exponent in exponents):
        raise DerivationError(f"the zeros of {expression} in the complex plane are not known")
    k = math.lcm(*(int(exponent.q) for exponent in exponents))
    a, b = (sympy.Mul(*(base ** (k * e) for base, e in term.as_powers_dict().items())) for term in terms)
    return _log_zeros(sympy.together(a - (-1) ** k * b))


def _log_zeros_of_exponential(expression: Expr) -> list[complex]:
    """The zeros c + d e^{k u} = 0, u = (log(-c/d) + 2 pi i n)/k, up to |u| = 60 or four times the first."""
    c, d, k = sympy.Wild("c", exclude=[u]), sympy.Wild("d", exclude=[u, 0]), sympy.Wild("k", exclude=[u, 0])
    found = sympy.expand(expression, power_exp=True).match(c + d * sympy.exp(k * u))
    if not found or found[c] == 0:
        raise DerivationError(f"the zeros of {expression} in the complex plane are not known")
    first, rate = np.log(complex(-found[c] / found[d])), float(found[k])
    most = max(_FAR, 4 * abs(first / rate)) * abs(rate) / (2 * math.pi)
    turns = np.arange(-math.ceil(min(most, _MOST_ZEROS)), math.ceil(min(most, _MOST_ZEROS)) + 1)
    zeros = (first + 2j * math.pi * turns) / rate
    return [complex(x) for x in np.log(zeros[zeros.real > 0])]


@dataclass(frozen=True, eq=False)
class Table:
    """Nodes x, on one panel e^{j step} from j = `first` on, and the weighted values of K0, K1 and K2 - K1 there.

    `masses` are (c, m): a kink at |log u| = c > 0 adds m to K2 there.
    """

    nodes: Array
    columns: Array
    masses: tuple[tuple[float, float], ...]
    step: float
    first: int | None

    def means(self, s: Any, backend: Backend) -> tuple[Any, Any, Any]:
        """E_0, E_1 and E_2 - E_1 at every element of s > 0."""
        exp, root = backend.functions[sympy.exp], backend.functions[sympy.sqrt](s)
        density = exp(-(backend.array(self.nodes, s) ** 2) / (2 * s[..., None]))
        columns = backend.array(self.columns, s)
        first, second, third = (density @ columns[:, k] / root for k in range(3))
        for place, mass in self.masses:
            third = third + mass * exp(-(place**2) / (2 * s)) / root
        return first, second, third


def tabulate(integrand: Integrand, kinks: tuple[tuple[Expr, Expr], ...], smallest: float, largest: float) -> Table:
    """Compute the nodes and values that serve every s in [smallest, largest].

    Args:
        integrand: the function whose means are wanted.
        kinks: (place, jump of the slope) in u, as of a generator.
        smallest: the smallest s, > 0.
        largest: the largest s, possibly infinite.

    Raises:
        DerivationError: a singularity is not known, or the integrand does not decay.
    """
    cuts = [float(cut) for cut in integrand.cuts]
    panels = list(pairwise([*cuts, math.inf]))
    step = _strip(panels, integrand.singularities()) * STEP
    columns_of = [integrand.columns(i) for i in range(len(panels))]
    order = _order_at_zero(columns_of[0], integrand.cuts[:2])
    while gaussian_error(order, step) > _MOST_ERROR:
        step *= _FINER
    scales = (smallest, largest)
    walks = [_walk(columns_of[i], integrand.cuts[i : i + 2], panel, step, scales) for i, panel in enumerate(panels)]
    nodes = np.array([x for walk in walks for _, x, _ in walk])
    columns = np.array([values for walk in walks for *_, values in walk]) * (step * _DENSITY)
    masses = [
        (abs(float(sympy.log(place))), float(jump * sympy.sqrt(place) * sympy.log(place) ** 2 / 8) * _DENSITY)
        for place, jump in kinks
        if place != 1
    ]
    return Table(nodes, columns, tuple(masses), step, walks[0][0][0] if len(walks) == 1 else None)


def gaussian_error(order: float, step: float) -> float:
    """Return the largest relative error of the rule for x^(order - 1) e^{-x^2/2s} on the half-line, for any s.

    With x = e^z the sum differs from the integral by its Fourier transform at the multiples of 2 pi/step, the first of
    which is sup 2 |Gamma(order/2 + i pi/step)| / Gamma(order/2) over all shifts of the grid.
    """
    half = arb(order) / 2
    return float(2 * abs(acb(half, arb.pi() / step).gamma()) / half.gamma())


def _order_at_zero(columns: Callable[[Any], list[Any]], cuts: tuple[Expr, ...]) -> float:
    """The power of x = |log u| with which K0 dx/dz starts at 0, at least 1; 1 where it vanishes there."""
    (first, *_), (second, *_) = (_accurate(columns, cuts, acb(z), 128)[1] for z in _NEAR_ZERO)
    if not (abs(first).lower() > 0 and abs(second).lower() > 0):
        return 1.0
    return max(float((abs(first) / abs(second)).log()) / (_NEAR_ZERO[0] - _NEAR_ZERO[1]), 1.0)


def _strip(panels: list[tuple[float, float]], singularities: list[complex]) -> float:
    """The half-width a of a strip |Im z| < a on which every panel's integrand is analytic.

    x = A + e^z maps the strip onto the sector |arg(x - A)| < a, and x = A + (B - A)/(1 + e^{-z}) onto the lens
    |arg((x - A)/(B - x))| < a. So a must stay below that angle of every singularity; a tenth is kept away.
    """
    widest = _WIDEST
    for low, high in panels:
        for x in singularities:
            if min(abs(x - low), abs(x - high)) > 1e-9:  # an end is not inside
                away = x - low if high == math.inf else (x - low) / (high - x)
                angle = abs(float(np.angle(away)))
                widest = min(widest, 0.9 * angle) if angle > 1e-9 else widest
    return widest


def _walk(
    columns: Callable[[Any], list[Any]],
    cuts: tuple[Expr, ...],
    panel: tuple[float, float],
    step: float,
    scales: tuple[float, float],
) -> list[tuple[int, float, Array]]:
    """Walk the grid in z outwards from the middle until nothing counts for any s between the two scales."""
    low = panel[0]
    narrowest = max(scales[0], low**2 / 1500)  # below, e^{-low^2/2s} is zero in double precision
    nearest = min(math.sqrt(narrowest), narrowest / low if low else math.inf)
    middle = math.sqrt(scales[1]) if math.isfinite(scales[1]) else 1.0
    start = round(math.log(middle) / step) if panel[1] == math.inf else 0
    rows = []
    for direction, scale in ((1, scales[1]), (-1, narrowest)):
        largest, bits = np.zeros(3), 128
        j = start if direction == 1 else start - 1
        while True:
            point, balls, bits = _accurate(columns, cuts, acb(j * step), bits)
            x, values = complex(point).real, np.array([complex(ball).real for ball in balls])
            rows.append((j, x, values))
            # e^{-x^2/2s} relative to its value at the panel's near end, for the s that reaches farthest this way
            share = np.abs(values) * math.exp((low - x) * (low + x) / (2 * scale))
            largest = np.maximum(largest, share)
            far = (j - start) * step > 3 if direction == 1 else x - low < nearest
            if far and (share <= _NEGLIGIBLE * largest).all():
                break
            if abs(j - start) * step > 400:
                raise DerivationError("its rest without a closed form does not decay")
            j += direction
    return sorted(rows, key=lambda row: row[0])


def _accurate(columns: Callable[[Any], list[Any]], cuts: tuple[Expr, ...], z: Any, bits: int) -> Any:
    """x(z), (K0, K1, K2 - K1) dx/dz there, and the precision from `bits` on that made the balls small enough."""
    while bits <= _MOST_BITS:
        with ctx.workprec(bits):
            x, jacobian = _mapped(cuts, z)
            values = [value * jacobian for value in columns(x)]
            size = max(_log2(value) for value in values)
            if all(_settled(value, size) for value in values):
                return x, values, bits
        bits *= 2
    raise DerivationError("kappa cannot be evaluated to double precision")


def _log2(value: Any) -> float:
    """log2 |value| of the midpoint of a ball, -inf at zero."""
    middle = abs(acb(value.real.mid(), value.imag.mid())).mid()
    return float(middle.log() / arb(2).log()) if middle > 0 else -math.inf


def _settled(value: Any, size: float) -> bool:
    if not value.is_finite():
        return False
    radius = max(value.real.rad(), value.imag.rad())
    if radius == 0:
        return True
    # 62 bits of the value itself, or 256 below its neighbours, or nothing that a double could hold
    error = float(arb(radius).log() / arb(2).log())
    return error <= max(_log2(value) - _BITS, size - _SMALLEST_BITS, -1060.0)


def _mapped(cuts: tuple[Expr, ...], z: Any) -> tuple[Any, Any]:
    """x(z) and dx/dz."""
    number = flint_backend(ctx.prec).number
    low = number(cuts[0])
    if len(cuts) == 1:
        return low + z.exp(), z.exp()
    width = number(cuts[1]) - low
    part = 1 / (1 + (-z).exp())
    return low + width * part, width * part * (1 - part)
