"""E_Q[f] between Gaussians, for sums of powers of u and log u on a piece, as a function of s."""

from __future__ import annotations

import math

from flint import fmpq

from fdiv.kernel.field import Field
from fdiv.kernel.ratio import Ratio, generator, require, terms
from fdiv.kernel.values import substituted


def expectation(f: Ratio, line: Field) -> Ratio:
    """E_Q[f; u in the piece] for log u ~ N(-s/2, s), in a field whose variable is s > 0."""
    total = line.constant(0)
    for factor, p, n in _powers(f):
        total = total + substituted(factor, line, line.constant(1)) * _moment(line, f.field, p, n)
    return total


def _powers(f: Ratio) -> list[tuple[Ratio, fmpq, int]]:
    """f as a sum of c u^p (log u)^n, as (c, p, n)."""
    field, outside = f.field, "f is no sum of powers of u and log u"
    require(len(f.den) == 1, outside)
    ((below, _),) = terms(f.den)
    found = []
    for above, coefficient in terms(f.num):
        c, p, n = field.constant(coefficient), fmpq(0), 0
        for i in above.keys() | below.keys():
            atom, e = field.atoms[i], above.get(i, 0) - below.get(i, 0)
            rate = atom.argument.over(field.atom("log", field.root)).rational if atom.kind == "exp" else fmpq(1)
            if atom.kind in ("u", "exp") and atom.varies:  # u^(1/order), or exp(c log u^(1/order))
                require(rate is not None, outside)
                p += rate * fmpq(e, field.order)
            elif atom.varies:
                require(atom.kind == "log" and atom.argument.num == field.root.num and e > 0, outside)
                c, n = c * fmpq(1, field.order**e), n + e
            else:
                c = c * Ratio(field, generator(i)).raised(e)
        found.append((c, p, n))
    return found


def _moment(line: Field, piece: Field, p: fmpq, n: int) -> Ratio:
    """E[u^p (log u)^n] on a piece for log u ~ N(-s/2, s): u^p tilts it into N(m, s) with m = (p - 1/2) s."""
    half, s, one = fmpq(1, 2), line.u, line.constant(1)
    d, m, pi = line.power(s, half), s * (p - half), line.apply("pi", one)
    require(n <= 8, "a high power of log u")
    parts = []  # for each end, the integrals up to it of z^j against the standard normal density, j = 0, 1, ..., n
    for end, mass in ((piece.low, 0), (piece.high, 1)):
        if end is None:
            doubled = [line.constant(mass * math.prod(range(1, j, 2)) * (1 - j % 2)) for j in range(n + 1)]
            parts.append(doubled)
            continue
        z = (line.log(substituted(end.value, line, one)) - m).over(d)
        density = line.exp(z * z * -half) * line.power(pi * 2, -half)
        parts.append([(line.erf(z * line.power(line.constant(2), -half)) + one) * half, density * -1])
        for j in range(2, n + 1):  # by parts, as z is minus the logarithmic derivative of the density
            parts[-1].append(parts[-1][j - 2] * (j - 1) - z.raised(j - 1) * density)
    total = line.constant(0)
    for j in range(n + 1):
        total = total + m.raised(n - j) * d.raised(j) * math.comb(n, j) * (parts[1][j] - parts[0][j])
    return total * line.exp(s * (p * (p - 1) / 2))
