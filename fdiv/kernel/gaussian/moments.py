"""E_Q[f] between Gaussians, for sums of powers of u and log u on a piece, as a function of s."""

from __future__ import annotations

from flint import fmpq

from fdiv.kernel.field import Field
from fdiv.kernel.ledger import require
from fdiv.kernel.polynomials import RING, terms
from fdiv.kernel.ratio import Ratio
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
                c = c * Ratio(field, RING.gen(i)).raised(e)
        found.append((c, p, n))
    return found


def _moment(line: Field, piece: Field, p: fmpq, n: int) -> Ratio:
    """E[u^p (log u)^n] on a piece for log u ~ N(-s/2, s): u^p tilts it into N(m, s) with m = (p - 1/2) s."""
    half, s, one = fmpq(1, 2), line.u, line.constant(1)
    deviation, m = line.power(s, half), s * (p - half)
    found, edges = [line.constant(int(piece.high is None))], []
    for end, way in ((piece.low, -1), (piece.high, 1)):
        if end is not None:
            x = line.log(substituted(end.value, line, one))
            z = (x - m).over(deviation)
            found[0] = found[0] + (line.erf(z * line.power(line.constant(2), -half)) + one) * (half * way)
            density = line.exp(z * z * -half) * line.power(line.apply("pi", one) * 2, -half)
            edges.append((x, density * deviation * way))  # the density of N(m, s) at x, times s
    for j in range(1, n + 1):  # by parts, as (x - m)/s is minus the logarithmic derivative of that density
        found.append(found[-1] * m)
        if j > 1:
            found[-1] = found[-1] + found[-3] * s * (j - 1)
        for x, density in edges:
            found[-1] = found[-1] - x.raised(j - 1) * density
    return found[-1] * line.exp(s * (p * (p - 1) / 2))
