r"""The order of gradients: which divergence weighs an error more, for every pair of the catalogue.

Put g(x) = e^{3x/2} f''(e^x)/2 and G(x) = g(x) + g(-x) for x > 0 (with atoms at kinks). By the gradient law and
u = e^x, x ~ N(-s/2, s),

    w(s) = e^{-s/8} E[g(sqrt(s) y)] = e^{-s/8} integral over x > 0 of G(x) phi(x/sqrt s)/sqrt s dx,        y ~ N(0, 1).

Criterion (ours). Two divergences of one w(0) = f''(1)/2 compare as follows.
1. If G_A <= G_B everywhere, then w_A(s) <= w_B(s) for every s; equality of G is equality of w.
2. In general w_A - w_B changes sign at most as often as G_A - G_B does on (0, inf), and if as often, then in the same
   order. Proof: e^{-x^2/(2s)} is e^{c x^2} with c = -1/(2s) increasing in s, a strictly totally positive kernel of
   (s, x^2); the variation-diminishing theorem (Karlin 1968, chapter 5) counts the sign changes, atoms included.
So one sign change of G means at most one crossing, and exactly one if w_A - w_B differs in sign at two values of s.
It means none if w_A - w_B has the wrong sign as s -> inf, which is that of the integral of G_A - G_B where it
converges.

The chain of `gradient_chain` is criterion 1 where SymPy carries it.
A generator without 0 < w(0) < inf (a kink at 1, or flat there) cannot be normalised; its pairs are compared as they
stand in the catalogue.

Where fewer crossings are found than the criterion allows, the same kernel excludes the others. Cut H = G_A - G_B at its
sign changes into runs H_0, H_1, ..., and let R_i(s) be the integral of |H_i| phi(x/sqrt s). For i < j the ratio R_i/R_j
falls in s, because the kernel is totally positive. Hence
3. if R_0(l) is at least the sum of the R_j(l) of the other sign, then w_A - w_B has the sign of H_0 for every s <= l;
4. as s -> inf it has the sign of the integral of H where that converges, otherwise that of the last run. Both ends
   known, the number of crossings is even or odd: one less than allowed is impossible;
5. for three runs, R_0/R_1 falls and R_2/R_1 rises. So where R_0(h)/R_1(h) + R_2(l)/R_1(l) >= 1 there is no crossing in
   [l, h], where R_0(l) >= R_1(l) none below l, and where R_2(h) >= R_1(h) none above h. Intervals are halved until this
   decides them.
The weights of total variation and of the skew KL divergences cross far beyond the scan, at s = 241: 4 finds that.

Signs of G are taken on a grid of 6200 points in (0, 60], crossings of w are located in [1e-4, 64] and, beyond it, from
the integrals over that grid, all in doubles: tested, not proved, but for the five of `gradient_chain`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import sympy
from scipy.optimize import brentq

from fdiv import Divergence
from theory.gaussians.gradient_chain import CHAIN
from theory.laws.expectations import Numbers, in_doubles, weight
from theory.theorem import Comparison, Theorem, catalogue

GRID = np.concatenate([np.geomspace(1e-8, 0.009, 200), np.arange(1, 6001) / 100])
_S = np.geomspace(1e-4, 64, 57)
_NEAR, _FAR = 0.01, 1e6  # of s, where the ends are decided
_EQUAL = 1e-9
_SOME = (0.01, 0.3, 2.0, 9.0, 40.0, 300.0)


Kind = Literal["equal", "below", "above", "crossing"]


@dataclass(frozen=True)
class Verdict:
    """How w_A compares with w_B; `bound` is the number of sign changes of G_A - G_B; `normalised` to w(0) = 1/2.

    `settled` says that the runs of G_A - G_B exclude further crossings at every s.
    """

    kind: Kind
    crossings: tuple[float, ...]
    bound: int
    normalised: bool
    settled: bool

    @property
    def exhausted(self) -> bool:
        """Whether the crossings found are all that the criterion allows."""
        return self.kind == "equal" or len(self.crossings) == self.bound


@cache
def weight_at_zero(divergence: Divergence) -> float | None:
    """w(0+), half the mean of the one-sided f''(1), or None where it is 0 or infinite."""
    if any(place == 1 for place, _ in divergence.kinks):
        return None
    ends = [p.limit(p.second, end) for p in divergence.pieces for end in _ends_at_one(p.lower, p.upper)]
    total = float(sum(ends)) / (2 * len(ends))
    return total if 0 < total < np.inf else None


def _ends_at_one(lower: object, upper: object) -> list[object]:
    if lower == 1 or upper == 1:
        return [sympy.S.One]
    return [sympy.S.One] if lower < 1 < upper else []  # type: ignore[operator]


@cache
def half_line(divergence: Divergence) -> tuple[Numbers, dict[float, float]]:
    """G on the grid, and its atoms {|log k|: mass}."""
    even = np.zeros_like(GRID)
    for x in (GRID, -GRID):  # g(x) and g(-x) add up at one place of the half-line
        u = np.exp(x)
        for piece in divergence.pieces:
            here = (u > float(piece.lower)) & (u <= float(piece.upper))
            even[here] += u[here] ** 1.5 * in_doubles(piece.second)(u[here]) / 2
    atoms: dict[float, float] = {}
    for place, jump in divergence.kinks:
        # f'' has the mass `jump` at k, so g(x) dx = e^{3x/2} f''(e^x)/2 dx has k^{1/2} jump/2 at log k (dk = k dx)
        x0 = abs(float(np.log(float(place))))
        atoms[x0] = atoms.get(x0, 0.0) + float(place) ** 0.5 * float(jump) / 2
    return even, atoms


@cache
def weights(divergence: Divergence) -> Numbers:
    """w on the grid of s, from the oracle."""
    return np.array([weight(divergence, s) for s in _S])


def _signs(a: Numbers, b: Numbers) -> Numbers:
    """The signs of a - b, 0 where they agree to nine digits."""
    return np.where(np.abs(a - b) <= _EQUAL * (np.abs(a) + np.abs(b)), 0.0, np.sign(a - b))


def _changes(signs: Numbers) -> list[tuple[int, int]]:
    """Return the places (before, after) of the sign changes, zeros skipped."""
    found = np.flatnonzero(signs)
    return [(int(i), int(j)) for i, j in pairwise(found) if signs[i] != signs[j]]


@dataclass(frozen=True)
class Runs:
    """G_A - G_B as masses at places x >= 0, cut at its sign changes; `end` is the sign of w_A - w_B as s -> inf."""

    places: Numbers
    masses: Numbers
    starts: tuple[int, ...]
    end: float

    @property
    def signs(self) -> Numbers:
        """The sign of each run."""
        return np.array([np.sign(self.masses[i:j].sum()) for i, j in pairwise((*self.starts, len(self.masses)))])

    def integrals(self, s: float) -> Numbers:
        """R_i(s), without the factor 1/sqrt(2 pi)."""
        found = self.masses * np.exp(-(self.places**2) / (2 * s))
        return np.abs(np.add.reduceat(found, self.starts))

    def total(self, s: float) -> float:
        """The integral of (G_A - G_B) e^{-x^2/(2s)}, which has the sign of w_A - w_B."""
        return float(self.masses @ np.exp(-(self.places**2) / (2 * s)))


def runs(a: Divergence, b: Divergence, scales: tuple[float, float]) -> Runs:
    """Cut G_A - G_B at its sign changes, where an atom outweighs any density at its place."""
    (even_a, atoms_a), (even_b, atoms_b) = half_line(a), half_line(b)
    signs = _signs(even_a * scales[0], even_b * scales[1])
    difference = np.where(signs == 0, 0.0, even_a * scales[0] - even_b * scales[1])
    # the trapezoid rule: each point of the grid has half of both steps beside it, so that integrals are sums of masses
    share = np.diff(GRID, prepend=0.0, append=GRID[-1])
    places, masses = list(GRID), list(difference * (share[1:] + share[:-1]) / 2)
    for place in {*atoms_a, *atoms_b}:
        mass = np.array([atoms_a.get(place, 0.0) * scales[0]]), np.array([atoms_b.get(place, 0.0) * scales[1]])
        places.append(place)
        masses.append(float((mass[0] - mass[1])[0]) if _signs(*mass)[0] else 0.0)
    order = np.argsort(places, kind="stable")
    where, what = np.array(places)[order], np.array(masses)[order]
    starts = (0, *(j for _, j in _changes(np.sign(what))))
    # argument 4: the sign as s -> inf is that of the integral where it converges, else that of the last run
    total, last = float(what.sum()), np.flatnonzero(what)[-1:]
    converges = abs(difference[-1]) * GRID[-1] < 1e-6 * abs(total)
    return Runs(where, what, starts, float(np.sign(total if converges else what[last].sum())))


def verdict(a: Divergence, b: Divergence) -> Verdict:
    """Settle a pair, once for both orders: below turns into above."""
    if a.spec <= b.spec:
        return _verdict(a, b)
    found = _verdict(b, a)
    turned: dict[str, Kind] = {"below": "above", "above": "below"}
    return replace(found, kind=turned.get(found.kind, found.kind))


@cache
def _verdict(a: Divergence, b: Divergence) -> Verdict:
    zeros = weight_at_zero(a), weight_at_zero(b)
    normalised = None not in zeros
    scale_a, scale_b = (0.5 / zeros[0], 0.5 / zeros[1]) if normalised else (1.0, 1.0)  # type: ignore[operator]
    signs = _signs(weights(a) * scale_a, weights(b) * scale_b)
    cut = runs(a, b, (scale_a, scale_b))
    # criterion 2 bounds how many there are; those that the scan shows are located with the oracle's w
    crossings = tuple(
        float(brentq(lambda s: weight(a, s) * scale_a - weight(b, s) * scale_b, _S[i], _S[j], xtol=1e-10))
        for i, j in _changes(signs)
    )
    # argument 4: w_A - w_B ends with another sign than the scan does, so it crosses once more beyond
    if signs.any() and cut.end * signs[np.flatnonzero(signs)[-1]] < 0:
        crossings += (float(brentq(cut.total, _S[-1], _FAR, xtol=1e-6)),)
    if crossings:
        kind: Kind = "crossing"
    else:
        kind = "equal" if not signs.any() else "below" if signs.sum() < 0 else "above"
    bound = 0 if kind == "equal" else len(cut.starts) - 1
    return Verdict(kind, crossings, bound, normalised, kind == "equal" or _settled(cut, len(crossings), signs))


def _settled(cut: Runs, found: int, signs: Numbers) -> bool:
    """Whether the runs exclude further crossings at every s."""
    missing, turns = len(cut.starts) - 1 - found, cut.signs
    if missing == 0:
        return True
    # argument 3 with l = _NEAR: the first run outweighs all of the other sign, so there is no crossing below l
    first = cut.integrals(_NEAR)
    as_it_starts = signs[np.flatnonzero(signs)[0]] == turns[0]
    if not as_it_starts or first[0] < first[turns != turns[0]].sum():
        return False
    if missing == 1:  # argument 4: both ends known, the number of crossings is even or odd
        return bool(turns[0] * cut.end * (-1) ** found > 0)
    # argument 5
    return missing == 2 and found == 0 and _none_between(cut, _NEAR, _FAR, 14)


def _none_between(cut: Runs, low: float, high: float, depth: int) -> bool:
    """Whether three runs leave the sign of w_A - w_B alone from `low` on."""
    (_, middle, last), (first, middle_high, _) = cut.integrals(low), cut.integrals(high)
    # R_2/R_1 rises: once above 1 it stays there. R_0/R_1 falls: over [low, high] the sum of the two ratios is at least
    # R_0(high)/R_1(high) + R_2(low)/R_1(low), which is asked to exceed 1 (times both denominators)
    if last > middle or first * middle + last * middle_high > middle * middle_high:
        return True
    between = float(np.sqrt(low * high))
    return depth > 0 and _none_between(cut, low, between, depth - 1) and _none_between(cut, between, high, depth - 1)


@cache
def _claimed(divergence: Divergence, s: float) -> float:
    """w by fdiv, not by the oracle."""
    return divergence.gaussian.gradient_weight(s)


def _comparisons(a: Divergence) -> Iterator[Comparison]:
    """Compare with every divergence of the catalogue, itself included, so that no subject is without one."""
    for b in catalogue():
        if not _applies(b):
            continue
        found = verdict(a, b)
        scale_a, scale_b = 1.0, 1.0
        if found.normalised:
            scale_a, scale_b = 0.5 / weight_at_zero(a), 0.5 / weight_at_zero(b)  # type: ignore[operator]
        yield Comparison(f"{b.spec}: crossings", float(len(found.crossings)), float(found.bound), "at_most", 0.0)
        if a in catalogue():  # of other members of the families the runs leave some open
            yield Comparison(f"{b.spec}: settled", float(found.settled), 1.0, "equal", 0.0)
        for s in _SOME:
            turns = sum(crossing < s for crossing in found.crossings)
            if any(abs(crossing / s - 1) < 0.01 for crossing in found.crossings):
                continue
            signs = _signs(weights(a) * scale_a, weights(b) * scale_b)
            first = signs[np.flatnonzero(signs)[0]] if found.crossings else 0
            relation = _relation(found.kind, float(first) * (-1) ** turns)
            yield Comparison(f"{b.spec}, s={s:g}", _claimed(a, s) * scale_a, _claimed(b, s) * scale_b, relation, 3e-9)


def _relation(kind: str, sign: float) -> Literal["equal", "at_most", "at_least"]:
    if kind == "equal":
        return "equal"
    return "at_most" if kind == "below" or (kind == "crossing" and sign < 0) else "at_least"


def _applies(divergence: Divergence) -> bool:
    return divergence.gaussian.evaluable


def _cell(found: Verdict) -> str:
    sign = {"equal": "=", "below": "<", "above": ">"}.get(found.kind)
    text = sign or ", ".join(f"{crossing:.3g}" for crossing in found.crossings)
    return text + ("" if found.exhausted else "*" if found.settled else "?")


def _report() -> str:
    """The table of all pairs."""
    subjects = [divergence for divergence in catalogue() if _applies(divergence)]
    raw = [d.spec for d in subjects if weight_at_zero(d) is None]
    verdicts = [verdict(a, b) for i, a in enumerate(subjects) for b in subjects[i + 1 :]]
    kinds = {kind: sum(v.kind == kind for v in verdicts) for kind in ("equal", "below", "above", "crossing")}
    lines = [
        f"All {len(verdicts)} pairs: {kinds['equal']} equal, {kinds['below'] + kinds['above']} ordered,"
        f" {kinds['crossing']} crossing. For {sum(v.exhausted for v in verdicts)} the crossings found are all that the"
        f" criterion allows; for {sum(v.settled and not v.exhausted for v in verdicts)} more (marked *) arguments 3 to"
        f" 5 exclude others at every s; for {sum(not v.settled for v in verdicts)} (?) only a scan does. A cell"
        " compares w of the row with w of the column: < and > for every s, = equal, a number: they cross at that s."
        " Normalised to w(0) = 1/2, except for the pairs of"
        f" {', '.join(raw) or 'none'}, which have no such normalisation.",
        "",
        "| | " + " | ".join(str(i + 1) for i in range(len(subjects))) + " |",
        "|-" * (len(subjects) + 1) + "|",
    ]
    for i, a in enumerate(subjects):
        cells = [_cell(verdict(a, b)) if b is not a else "" for b in subjects]
        lines.append(f"| {i + 1} {a.spec} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _draw(path: Path) -> None:
    """w(s)/w(0) of the chain, on a logarithmic scale."""
    import fdiv
    from theory.pictures import figure

    with figure(path, 1) as (axes,):
        for name in CHAIN:
            divergence = fdiv.divergence(name)
            s = np.linspace(1e-3, 16, 161)
            values = np.array([weight(divergence, x) for x in s]) / weight_at_zero(divergence)
            axes.plot(s, values, label=name)
        axes.set(yscale="log", ylim=(1e-3, 1e2), xlabel="s", ylabel="w(s)/w(0)", title="The order of gradients")
        axes.legend(fontsize=8)


THEOREM = Theorem(
    number=7,
    part="b",
    name="gradient_order",
    title="The order of gradients, for every pair",
    statement=r"G_A \le G_B \Rightarrow w_A \le w_B, \qquad"
    r" \#\{\text{sign changes of } w_A - w_B\} \le \#\{\text{sign changes of } G_A - G_B\}, \qquad"
    r" G(x) = g(x) + g(-x),\; g(x) = \tfrac12 e^{3x/2} f''(e^x)",
    hypotheses=("P and Q are Gaussians of one covariance sigma^2 I", "D_A and D_B are finite"),
    reference="ours, by total positivity (Karlin 1968)",
    applies=_applies,
    comparisons=_comparisons,
    report=_report,
    draw=_draw,
)
