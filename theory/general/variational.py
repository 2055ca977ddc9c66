r"""The variational representation: every critic gives a lower bound, the log-ratio the value, and then the gradient.

Proof. For every u, t: u t <= f(u) + f*(t), with equality at t in the subdifferential of f at u. With t = T(x) and
E_Q[u T] = E_P[T] this is E_P[T] - E_Q[f*(T)] <= D_f(P||Q), with equality at T = f'(p/q).

The canonical activation T(v) = f'(e^v) maps every real v into the domain of f*, and f*(T(v)) = e^v f'(e^v) - f(e^v)
needs no formula for f*; the bound is tight at v = log p/q, for every smooth f the same v.

Envelope. Let v* be optimal for the model theta_0. F(theta) = E_P[T(v*)] - E_Q(theta)[f*(T(v*))] is at most D(theta),
with equality at theta_0, so (if both are differentiable) their gradients agree there: the model needs no derivative
of the critic. As Q moves by d delta towards P this is dD/d delta = -2 d w(s): the variational route has the weights
of the closed form, once its critic is optimal. A stale or small critic has neither value nor gradient.

At a kink T is replaced by a smooth step (no network learns a jump): still a bound, no longer tight. The subgradient
T = f'(u) attains it, with fdiv's conjugate: on three letters, where the two laws of a critic are read as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

from fdiv import Divergence
from fdiv.exact.symbols import v
from fdiv.numeric.backends import numpy_backend
from fdiv.numeric.lower import lower
from theory.laws.claims import claims
from theory.laws.expectations import Numbers, kinks, value, weight
from theory.laws.general import bound, tight
from theory.theorem import Comparison, Theorem

_DISTANCES = (0.4, 1.6)
_CRITICS: dict[str, Callable[[Numbers], Numbers]] = {
    "half": lambda x: 0.5 * x,
    "double": lambda x: 2 * x,
    "shifted": lambda x: x + 0.4,
    "sine": np.sin,
    "blind": np.zeros_like,
    "wrong sign": lambda x: -x,
}


@cache
def activation(divergence: Divergence) -> tuple[Callable[[Numbers], Numbers], Callable[[Numbers], Numbers]]:
    """T and f* o T as fdiv derives them, on arrays."""
    derived, backend = divergence.activation, numpy_backend()
    return lower(derived.output, v, backend), lower(derived.conjugate_term, v, backend)


@cache
def line(breaks: tuple[float, ...] = ()) -> tuple[Numbers, Numbers]:
    """Nodes and weights for an integral over y in (-14, 18): narrow panels, for Q = N(0, 1) and P = N(d, 1)."""
    nodes, shares = np.polynomial.legendre.leggauss(16)
    ends = np.unique(np.concatenate([np.linspace(-14, 18, 97), breaks]))
    half = np.diff(ends) / 2
    middle = (ends[:-1] + ends[1:]) / 2
    return (middle[:, None] + half[:, None] * nodes).ravel(), (half[:, None] * shares).ravel()


def _normal(y: Numbers) -> Numbers:
    return np.exp(-(y**2) / 2) / math.sqrt(2 * math.pi)


def _breaks(divergence: Divergence, distance: float) -> tuple[float, ...]:
    """The y at which the ratio passes from one piece of f to the next."""
    return tuple(math.log(float(k)) / distance + distance / 2 for k in kinks(divergence))


def _bound(divergence: Divergence, distance: float, critic: Callable[[Numbers], Numbers]) -> float:
    """E_P[T(v)] - E_Q[f*(T(v))] for Q = N(0, 1), P = N(distance, 1), and v a function of the true log-ratio."""
    y, share = line(_breaks(divergence, distance))
    output, term = activation(divergence)
    estimate = critic(distance * y - distance**2 / 2)
    return float(np.sum(share * (_normal(y - distance) * output(estimate) - _normal(y) * term(estimate))))


def _envelope(divergence: Divergence, distance: float) -> float:
    """d/d delta of -E_Q[f*(T(v*))] with v* held fixed, as Q's mean moves towards P, by a central difference."""
    y, share = line(_breaks(divergence, distance))
    term, step = activation(divergence)[1](distance * y - distance**2 / 2), 1e-4
    moved = [float(np.sum(share * _normal(y - shift) * term)) for shift in (step, -step)]
    return -(moved[0] - moved[1]) / (2 * step)


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    for distance in _DISTANCES:
        s = distance**2
        exact = float(value(divergence, s))
        for name, critic in _CRITICS.items():
            yield Comparison(f"{name}, s={s:g}", _bound(divergence, distance, critic), exact, "at_most", 1e-9)
        at_log_ratio = _bound(divergence, distance, lambda x: x)
        if divergence.activation.canonical:
            yield Comparison(f"log-ratio, s={s:g}", at_log_ratio, exact, "equal", 1e-8)
            gradient = -2 * distance * weight(divergence, s)
            yield Comparison(f"envelope, s={s:g}", _envelope(divergence, distance), gradient, "equal", 1e-6)
        else:
            yield Comparison(f"smoothed, s={s:g}", at_log_ratio, exact, "at_most", 1e-9)
    for law in (bound, tight):
        yield from law.everywhere(claims(divergence))


THEOREM = Theorem(
    number=10,
    part="a",
    name="variational",
    title="The variational representation",
    statement=r"\mathbb{E}_P[T] - \mathbb{E}_Q[f^*(T)] \le D_f(P\|Q), \text{ with equality at } T = f'(p/q) = T(v^*),"
    r"\; T(v) = f'(e^v),\; v^* = \log\tfrac{p}{q}; \qquad"
    r" \nabla_\theta D_f = -\nabla_\theta \mathbb{E}_{Q_\theta}[f^*(T(v^*))]",
    hypotheses=(
        "f is convex and lower semicontinuous; T takes values in the domain of f*",
        "for the envelope: f is smooth, and the critic is optimal",
    ),
    reference="Nguyen et al. arXiv:0809.0853; Nowozin et al. arXiv:1606.00709, section 2; the activation: ours",
    applies=lambda divergence: divergence.gaussian.evaluable,
    comparisons=_comparisons,
)
