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

Where fewer crossings are found than the criterion allows, a second argument excludes more of them. sqrt(s) e^{s/8} w(s)
is the integral of G(x) phi(x/sqrt s), which increases in s, whatever f; so if its value for A at l is at least that for
B at h > l, then w_A > w_B on all of [l, h]. Intervals are halved until this decides them.

Sign changes of G are counted on a grid of 6200 points in (0, 60], and crossings of w located in [1e-4, 64], in doubles:
tested, not proved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.optimize import brentq

from fdiv import Divergence
from theory.gradient_chain import CHAIN
from theory.oracle import Numbers, in_doubles, weight
from theory.theorem import Comparison, Theorem, catalogue

GRID = np.concatenate([np.geomspace(1e-8, 0.009, 200), np.arange(1, 6001) / 100])
_S = np.geomspace(1e-4, 64, 57)
_EQUAL = 1e-9
_SOME = (0.01, 0.3, 2.0, 9.0, 40.0)


@dataclass(frozen=True)
class Verdict:
    """How w_A compares with w_B; `bound` is the number of sign changes of G_A - G_B; `normalised` to w(0) = 1/2.

    `bracketed` says that monotonicity excludes further crossings in [1e-4, 64], but for 1 % around those found.
    """

    kind: Literal["equal", "below", "above", "crossing"]
    crossings: tuple[float, ...]
    bound: int
    normalised: bool
    bracketed: bool

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
        return [1]
    return [1] if lower < 1 < upper else []  # type: ignore[operator]


@cache
def half_line(divergence: Divergence) -> tuple[Numbers, dict[float, float]]:
    """G on the grid, and its atoms {|log k|: mass}."""
    even = np.zeros_like(GRID)
    for x in (GRID, -GRID):
        u = np.exp(x)
        for piece in divergence.pieces:
            here = (u > float(piece.lower)) & (u <= float(piece.upper))
            even[here] += u[here] ** 1.5 * in_doubles(piece.second)(u[here]) / 2
    atoms: dict[float, float] = {}
    for place, jump in divergence.kinks:
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


def _bound(a: Divergence, b: Divergence, scales: tuple[float, float]) -> int:
    """How often w_A - w_B can change sign: as often as G_A - G_B, where an atom outweighs any density at its place.

    Once becomes never where the integral of G_A - G_B converges and contradicts its last sign.
    """
    (even_a, atoms_a), (even_b, atoms_b) = half_line(a), half_line(b)
    places, signs = list(GRID), list(_signs(even_a * scales[0], even_b * scales[1]))
    for place in {*atoms_a, *atoms_b}:
        mass = np.array([atoms_a.get(place, 0.0) * scales[0]]), np.array([atoms_b.get(place, 0.0) * scales[1]])
        places.append(place)
        signs.append(float(_signs(*mass)[0]))
    ordered = np.array(signs)[np.argsort(places, kind="stable")]
    changes = len(_changes(ordered))
    difference = np.where(np.array(signs[: len(GRID)]) == 0, 0.0, even_a * scales[0] - even_b * scales[1])
    atoms = sum(atoms_a.values()) * scales[0] - sum(atoms_b.values()) * scales[1]
    total = float(np.trapezoid(difference, GRID)) + atoms
    converges = abs(difference[-1]) * GRID[-1] < 1e-6 * abs(total)
    contradicts = converges and total * ordered[np.flatnonzero(ordered)[-1:]].sum() < 0
    return 0 if changes == 1 and contradicts else changes


@cache
def verdict(a: Divergence, b: Divergence) -> Verdict:
    """Settle a pair."""
    zeros = weight_at_zero(a), weight_at_zero(b)
    normalised = None not in zeros
    scale_a, scale_b = (0.5 / zeros[0], 0.5 / zeros[1]) if normalised else (1.0, 1.0)  # type: ignore[operator]
    signs = _signs(weights(a) * scale_a, weights(b) * scale_b)
    crossings = tuple(
        float(brentq(lambda s: weight(a, s) * scale_a - weight(b, s) * scale_b, _S[i], _S[j], xtol=1e-10))
        for i, j in _changes(signs)
    )
    if crossings:
        kind: Literal["equal", "below", "above", "crossing"] = "crossing"
    else:
        kind = "equal" if not signs.any() else "below" if signs.sum() < 0 else "above"
    bound = _bound(a, b, (scale_a, scale_b))
    bracketed = len(crossings) < bound and kind != "equal" and _bracketed(a, b, (scale_a, scale_b), crossings)
    return Verdict(kind, crossings, bound, normalised, bracketed)


def _bracketed(a: Divergence, b: Divergence, scales: tuple[float, float], crossings: tuple[float, ...]) -> bool:
    """Whether w_A - w_B keeps its sign between the crossings, by the monotonicity of sqrt(s) e^{s/8} w(s)."""

    @cache
    def raised(divergence: Divergence, s: float) -> float:
        return float(np.sqrt(s) * np.exp(s / 8)) * weight(divergence, s)

    def decided(low: float, high: float, depth: int) -> bool:
        above = raised(a, low) * scales[0] >= raised(b, high) * scales[1]
        below = raised(b, low) * scales[1] >= raised(a, high) * scales[0]
        if above or below or depth == 0:
            return above or below
        middle = float(np.sqrt(low * high))
        return decided(low, middle, depth - 1) and decided(middle, high, depth - 1)

    ends = [1e-4, *(crossing * factor for crossing in crossings for factor in (0.99, 1.01)), 64.0]
    return all(decided(low, high, 14) for low, high in zip(ends[::2], ends[1::2], strict=True))


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
    return text + ("" if found.exhausted else "*" if found.bracketed else "?")


def _report() -> str:
    """The table of all pairs."""
    subjects = [divergence for divergence in catalogue() if _applies(divergence)]
    raw = [d.spec for d in subjects if weight_at_zero(d) is None]
    verdicts = [verdict(a, b) for i, a in enumerate(subjects) for b in subjects[i + 1 :]]
    kinds = {kind: sum(v.kind == kind for v in verdicts) for kind in ("equal", "below", "above", "crossing")}
    lines = [
        f"All {len(verdicts)} pairs: {kinds['equal']} equal, {kinds['below'] + kinds['above']} ordered,"
        f" {kinds['crossing']} crossing. For {sum(v.exhausted for v in verdicts)} the crossings found are all that the"
        f" criterion allows; for {sum(v.bracketed for v in verdicts)} more (marked *) monotonicity excludes others in"
        f" [1e-4, 64]; for {sum(not (v.exhausted or v.bracketed) for v in verdicts)} (?) only a scan does. A cell"
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
