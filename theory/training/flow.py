r"""Convergence of the flow: how long gradient descent on D needs from one error to another.

Proof. Let theta be the difference of the means in units of sigma, s = |theta|^2. The gradient flow
theta' = -grad D(s) = -2 w(s) theta moves on a ray, ds/dt = 2 theta . theta' = -4 s w(s), hence

    T(s_0 -> s_1) = integral from s_1 to s_0 of ds / (4 s w(s)).

With u^2 f'' = c u^a the weight is c e^{k s}/2, k = a(a-1)/2, and T = (Ei(-k s_0) - Ei(-k s_1))/(2 c):
- KL, k = 0: s = s_0 e^{-2 c t}, exponential from the start.
- Squared Hellinger, c = 1/2, k = -1/8: T = Ei(s_0/8) - Ei(s_1/8), about 8 e^{s_0/8}/s_0 for large s_0. The start is a
  plateau, as long as the time grows exponentially in s_0; afterwards Ei(x) = log x + ..., the exponential rate of its
  curvature. By robustness_limit no f-divergence has a plateau of a larger exponential rate.
- Pearson, c = 2, k = 1: T = (E_1(s_1) - E_1(s_0))/4 <= E_1(s_1)/4: from however far, s falls to s_1 in bounded time:
  sudden.
- Total variation (w of order 1/sqrt(s) near 0): 1/(s w) is integrable at 0, so the flow arrives in finite time. A
  generator that is flat at 1 never does in practice: 1/(s w) grows like e^{(log k)^2/(2s)}.

T scales with 1/f''(1), so equal learning rates do not compare divergences: Adam's normalisation (adam) removes that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.integrate import solve_ivp
from scipy.special import expi

from fdiv import Divergence
from theory.gaussians.alpha_family import terms
from theory.laws.expectations import weight
from theory.theorem import Comparison, Theorem

_LEGS = ((8.0, 1.0), (1.0, 0.1))


def time(divergence: Divergence, start: float, end: float) -> float:
    """The integral of 1/(4 s w(s)) over (end, start), in log s, with the oracle's w."""
    nodes, shares = np.polynomial.legendre.leggauss(40)
    half = math.log(start / end) / 2
    points = np.exp(math.log(start * end) / 2 + half * nodes)
    return float(sum(share / weight(divergence, s) for s, share in zip(points, shares, strict=True))) * half / 4


def _simulated(divergence: Divergence, start: float, end: float, horizon: float) -> float:
    """The time at which the flow of theta in the plane, with fdiv's w, has brought |theta|^2 from start to end."""

    def velocity(t: float, theta: np.ndarray) -> np.ndarray:
        s = min(float(theta @ theta), 2 * start)  # s falls; only a rejected trial step could be beyond, and overflow
        return -2 * divergence.gaussian.gradient_weight(s) * theta

    def arrived(t: float, theta: np.ndarray) -> float:
        return float(theta @ theta) - end

    arrived.terminal = True  # type: ignore[attr-defined]
    origin = math.sqrt(start) * np.array([0.6, -0.8])
    path = solve_ivp(velocity, (0, 2 * horizon), origin, events=arrived, method="DOP853", rtol=1e-8, atol=1e-12)
    return float(path.t_events[0][0]) if len(path.t_events[0]) else math.inf


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    pairs = terms(divergence)
    for start, end in _LEGS:
        stated = time(divergence, start, end)
        simulated = _simulated(divergence, start, end, stated)
        yield Comparison(f"s={start:g} to {end:g}", simulated, stated, "equal", 1e-5)
        if len(pairs) == 1:
            c, a = float(pairs[0][0]), float(pairs[0][1])
            k = a * (a - 1) / 2
            closed = math.log(start / end) / (2 * c) if k == 0 else float(expi(-k * start) - expi(-k * end)) / (2 * c)
            yield Comparison(f"closed form, s={start:g} to {end:g}", stated, closed, "equal", 1e-10)
        if pairs == ((2, 2),):
            yield Comparison(f"from anywhere to {end:g}", stated, -float(expi(-end)) / 4, "at_most", 0.0)


def _report() -> str:
    """The plateau, in numbers."""
    import fdiv

    names = ("kl", "squared_hellinger", "jensen_shannon", "triangular", "pearson", "total_variation")
    lines = [
        "Time from s_0 to s = 1, in units in which the rate at s = 0 is 1 (for total variation, in its own):",
        "",
        "| s_0 | " + " | ".join(names) + " |",
        "|-" * (len(names) + 1) + "|",
    ]
    for start in (2.0, 4.0, 8.0, 16.0, 32.0, 60.0):
        cells = []
        for name in names:
            divergence = fdiv.divergence(name)
            curvature = divergence.curvature
            rate = 2 * float(curvature) if curvature is not None and curvature.is_finite else 1.0
            cells.append(f"{rate * time(divergence, start, 1.0):.3g}")
        lines.append(f"| {start:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _draw(path: Path) -> None:
    """s(t) from three starts, and the time to s = 1 over the start."""
    import fdiv
    from theory.pictures import figure

    with figure(path, 2) as (left, right):
        for name in ("kl", "squared_hellinger", "triangular", "pearson"):
            divergence = fdiv.divergence(name)
            rate = 2 * float(divergence.curvature)  # type: ignore[arg-type]
            s = np.geomspace(16, 0.05, 60)
            steps = [time(divergence, a, b) * rate for a, b in pairwise(s)]
            left.plot(np.concatenate([[0], np.cumsum(steps)]), s, label=name)
            starts = np.geomspace(1.2, 60, 30)
            right.plot(starts, [time(divergence, x, 1.0) * rate for x in starts], label=name)
        left.set(yscale="log", xlim=(0, 30), xlabel="time, rate at s = 0 is 1", ylabel="s", title="From s = 16")
        right.set(yscale="log", xlabel="s_0", ylabel="time to s = 1", title="The plateau")
        left.legend(fontsize=8)


THEOREM = Theorem(
    number=9,
    part="a",
    name="flow",
    title="Convergence of the flow",
    statement=r"\dot s = -4\, s\, w(s), \qquad T(s_0 \to s_1) = \int_{s_1}^{s_0} \frac{\mathrm{d}s}{4 s w(s)}, \quad"
    r" w = \tfrac{c}{2} e^{ks} \Rightarrow T = \frac{\mathrm{Ei}(-k s_0) - \mathrm{Ei}(-k s_1)}{2c}",
    hypotheses=(
        "P and Q are Gaussians of one covariance sigma^2 I",
        "the mean of Q itself moves by gradient flow on D (a network's Jacobian changes the metric)",
        "w > 0 between s_1 and s_0: f is not affine",
    ),
    reference="ours; the proof is in this file. Paper: Novello et al. arXiv:2509.21167 on gradient magnitudes",
    applies=lambda divergence: divergence.gaussian.evaluable and weight(divergence, 0.1) > 1e-6,
    comparisons=_comparisons,
    report=_report,
    draw=_draw,
)
