"""What the specification draws from: the domains of a divergence as objects, in log space, ends included."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

import fdiv
from fdiv.record import Record
from theory.laws import general
from theory.laws.claims import Law

_SINGULAR = {  # values of the parameters at which a formula is 0/0, or two families meet
    "alpha": ("a=0", "a=1", "a=-1.5", "a=3", "a=0.123456"),
    "amari": ("a=-1", "a=1", "a=3"),
    "tsallis": ("a=1", "a=2"),
    "cressie_read": ("la=-1", "la=0"),
    "t_power": ("t=-0.5", "t=2"),
    "skew_jensen_shannon": ("pi=0.8",),
    "skew_kl": ("pi=1",),
    "skew_reverse_kl": ("pi=1",),
    "blended_chi_squared": ("la=0", "la=1"),
    "osterreicher_vajda": ("b=0.3", "b=1", "b=2"),
    "hockey_stick": ("gamma=1",),
    "degroot": ("pi=0.7",),
    "vajda": ("k=1.5", "k=2"),
    "puri_vincze": ("k=1", "k=2"),
}
EXAMPLES = [
    fdiv.divergence(record.name, **{p.name: p.example for p in record.parameters}).spec
    for record in fdiv.CATALOG.values()
]
SPECS = [*EXAMPLES, *(f"{name}:{value}" for name, values in _SINGULAR.items() for value in values)]


def log_ratios(divergence: fdiv.Divergence) -> SearchStrategy[float]:
    """x = log u: far out, near 0, and at every kink and beside it."""
    kinks = [0.0, *(math.log(float(piece.lower)) for piece in divergence.pieces[1:])]
    beside = [k + step for k in kinks for step in (0.0, 1e-9, -1e-9)]
    return st.sampled_from(beside) | st.floats(-30, 30)


def slopes(divergence: fdiv.Divergence) -> SearchStrategy[float]:
    """t: on the whole line, at and below f'(0+), close to the end of the effective domain, at it and beyond it."""
    domain = divergence.conjugate.effective_domain
    start, end = float(divergence.slope_at_zero), float(domain.upper)
    drawn = st.floats(-8, 8)
    if math.isfinite(start):
        drawn |= st.floats(-12, 3).map(lambda x: start - math.exp(x)) | st.just(start)
    if math.isfinite(end):
        near = st.floats(-7, 2).map(math.exp)
        drawn |= near.map(lambda r: end - r) | near.map(lambda r: end + r)
        drawn |= st.just(end) if domain.upper_closed else st.just(end - 1e-3)
    return drawn


def parameters(record: Record) -> SearchStrategy[dict[str, float]]:
    """Values of a family's parameters from their intervals, in units of each interval, its closed ends included."""
    drawn = {}
    for parameter in record.parameters:
        choices = []
        for interval in parameter.domain:
            low, high = float(interval.lower), float(interval.upper)
            inner = st.floats(0.001, 0.999).map(lambda share, low=low, high=high: low + share * (high - low))
            ends = [float(e) for e, c in ((low, interval.lower_closed), (high, interval.upper_closed)) if c]
            choices += [inner, st.sampled_from(ends)] if ends else [inner]
        drawn[parameter.name] = st.one_of(choices)
    return st.fixed_dictionaries(drawn)


def _off_the_end(divergence: fdiv.Divergence) -> SearchStrategy[float]:
    """Slopes, but for the end of the effective domain, which has its own law."""
    return slopes(divergence).filter(lambda t: abs(t - float(divergence.slope_at_infinity)) > 1e-9)


DRAWN: dict[Law, Callable[[fdiv.Divergence], SearchStrategy[Any]]] = {
    general.supremum: _off_the_end,
    general.involution: log_ratios,
}
"""What to draw, beside the points of a law, from the domains of a divergence."""
