r"""What Adam and batch averaging leave of a divergence: the shares of the samples, and nothing else.

Statement. Let a batch have errors s_i(theta) and the loss mean_i D(s_i). Its gradient is mean_i w(s_i) grad s_i, of
which sample i has the share w(s_i) |grad s_i| / sum_j w(s_j) |grad s_j|.
1. Adam without its epsilon moves by m/sqrt(v), which is homogeneous of degree 0: D and c D, c > 0, have the same path
   from the same start, to the last step. So f''(1), and any constant in front of a loss, means nothing.
2. If all s_i are equal at all times, the weights of one step are one constant; only their change from step to step
   is left, through Adam's memory. With no memory (sign descent) every divergence takes the same path.
3. So what is left of f is the ratio w(s_i)/w(s_j) within a batch, and it is 1 where w is flat on the batch.
With |grad s_i| = 2 sqrt(s_i) (orthogonal samples, unit Jacobian) the shares are w(s_i) sqrt(s_i), normalised, which is
what is compared with differences of D below. The effective number of samples is (sum of shares)^2/(sum of shares^2).

Proof. 1: m and v are linear and quadratic in the gradients, so c cancels. 2: sign(w g) = sign(g). 3: the display.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np

from fdiv import Divergence
from theory.laws.expectations import Numbers, weight
from theory.theorem import Comparison, Theorem

_SAMPLES, _PARAMETERS, _OUTPUTS = 256, 32, 4
_SPREAD = np.log(5) / 1.2816  # a tenth of the samples below a fifth of the median, a tenth above five times it


@cache
def table(divergence: Divergence) -> Callable[[Numbers], Numbers]:
    """The oracle's w by interpolation of log w in log s, for s in [1e-6, 60], constant beyond."""
    grid = np.geomspace(1e-6, 60, 200)
    logs = np.log([weight(divergence, s) for s in grid])
    return lambda s: np.exp(np.interp(np.log(s), np.log(grid), logs))


@cache
def _problem(median: float) -> tuple[Numbers, Numbers]:
    """Jacobians X (samples, outputs, parameters) and a start theta: errors X theta, s = |X theta|^2, of this median."""
    rng = np.random.default_rng(0)
    theta = rng.normal(size=_PARAMETERS)
    jacobians = rng.normal(size=(_SAMPLES, _OUTPUTS, _PARAMETERS)) / np.sqrt(_PARAMETERS)
    s = ((jacobians @ theta) ** 2).sum(1)
    wanted = median * np.exp(_SPREAD * rng.normal(size=_SAMPLES))
    jacobians *= np.sqrt(wanted / s)[:, None, None]
    return jacobians, theta


def adam_path(w: Callable[[Numbers], Numbers], median: float, steps: int, batch: int = 8) -> Numbers:
    """Return s of all samples after each step, (steps + 1, samples), for Adam without epsilon on batches."""
    jacobians, theta = _problem(median)
    rng, theta = np.random.default_rng(1), theta.copy()
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    path = [((jacobians @ theta) ** 2).sum(1)]
    for step in range(1, steps + 1):
        chosen = jacobians[rng.integers(_SAMPLES, size=batch)]
        errors = chosen @ theta
        weights = w(np.maximum((errors**2).sum(1), 1e-12))
        gradient = 2 * np.einsum("n,no,nop->p", weights, errors, chosen) / batch
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        theta -= 0.02 * (first / (1 - 0.9**step)) / np.sqrt(second / (1 - 0.999**step))
        path.append(((jacobians @ theta) ** 2).sum(1))
    return np.array(path)


def batch_shares(w: Callable[[Numbers], Numbers], s: Numbers) -> Numbers:
    """w(s_i) sqrt(s_i), normalised to a sum of 1."""
    parts = w(s) * np.sqrt(s)
    return parts / parts.sum()


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    w = table(divergence)
    path, scaled = adam_path(w, 4.0, 60), adam_path(lambda s: 1000 * w(s), 4.0, 60)
    yield Comparison("Adam on D and on 1000 D", float(np.median(scaled[-1])), float(np.median(path[-1])), "equal", 1e-6)
    s = np.array([0.8, 2.0, 4.0, 8.0, 20.0])
    stated = np.array([weight(divergence, x) for x in s]) * np.sqrt(s)
    step = 1e-4
    ends = [(np.sqrt(x) + step) ** 2 for x in s], [(np.sqrt(x) - step) ** 2 for x in s]
    high, low = ([divergence.gaussian(float(x)) for x in end] for end in ends)
    slopes = (np.array(high) - np.array(low)) / (2 * step)
    for i, x in enumerate(s):
        share = slopes[i] / slopes.sum()
        yield Comparison(f"share of s={x:g}", float(share), float(stated[i] / stated.sum()), "equal", 1e-4)


def effective_number(shares: Numbers) -> float:
    """(sum of shares)^2 / (sum of squared shares)."""
    return float(shares.sum() ** 2 / (shares**2).sum())


def _report() -> str:
    """Shares and progress under Adam."""
    import fdiv

    names = ("kl", "squared_hellinger", "jensen_shannon", "triangular", "pearson", "total_variation")
    s = np.exp(np.random.default_rng(2).normal(size=4096) * _SPREAD)
    lines = [
        "A simulation: 256 linear samples with s spread over two decades around its median, Adam (no epsilon, rate"
        " .02), batches of 8, one seed. Share: what the tenth of the samples with the largest s has of the gradient; n:"
        " the effective number out of 8 (both of s cut at 60); after: the median, and the 90 % quantile, of s after 100"
        " steps.",
        "",
        "| median s | quantity | " + " | ".join(names) + " |",
        "|-" * (len(names) + 2) + "|",
    ]
    for median in (0.02, 1.0, 4.0, 16.0):
        rows: dict[str, list[str]] = {"share of the top tenth": [], "n of 8": [], "after: median, 90 %": []}
        for name in names:
            w, batch = table(fdiv.divergence(name)), np.minimum(median * s, 60.0)
            shares = batch_shares(w, batch)
            rows["share of the top tenth"].append(f"{np.sort(shares)[-410:].sum():.2f}")
            numbers = [effective_number(batch_shares(w, part)) for part in batch.reshape(-1, 8)]
            rows["n of 8"].append(f"{np.mean(numbers):.1f}")
            last = adam_path(w, median, 100)[-1] / median
            rows["after: median, 90 %"].append(f"{np.median(last):.2g}, {np.quantile(last, 0.9):.2g} of the median")
        lines += [f"| {median:g} | {label} | " + " | ".join(cells) + " |" for label, cells in rows.items()]
    return "\n".join(lines)


def _draw(path: Path) -> None:
    """Quantiles of s over Adam's steps, and the shares within a batch."""
    import fdiv
    from theory.pictures import figure

    s = np.geomspace(0.1, 60, 100)
    with figure(path, 3) as (small, large, shares):
        for name in ("kl", "squared_hellinger", "triangular", "pearson"):
            w = table(fdiv.divergence(name))
            for axes, median in ((small, 0.02), (large, 4.0)):
                axes.plot(np.quantile(adam_path(w, median, 150), 0.5, axis=1), label=name)
                axes.set(yscale="log", xlabel="Adam steps", ylabel="median s", title=f"From a median of {median:g}")
            shares.plot(s, w(s) * np.sqrt(s) / (w(np.array([4.0])) * 2), label=name)
        shares.set(xscale="log", yscale="log", ylim=(1e-3, 1e2), xlabel="s of a sample", title="Its pull, 1 at s = 4")
        small.legend(fontsize=8)


THEOREM = Theorem(
    number=9,
    part="b",
    name="adam",
    title="What Adam and batch averaging leave of a divergence",
    statement=r"\mathrm{Adam}_{\epsilon=0}[c D] = \mathrm{Adam}_{\epsilon=0}[D], \qquad \text{share}_i ="
    r" \frac{w(s_i)\, \|\nabla s_i\|}{\sum_j w(s_j)\, \|\nabla s_j\|}, \quad \|\nabla s_i\| = 2\sqrt{s_i}",
    hypotheses=(
        "Adam's epsilon is 0, or far below the gradients",
        "for the display of the shares: the samples' gradients are orthogonal, with unit Jacobians",
        "D is finite, w > 0, and its square does not overflow",
    ),
    reference="ours; Adam: Kingma and Ba arXiv:1412.6980, section 2.1 for the invariance. The tables are simulations",
    applies=lambda divergence: (
        divergence.gaussian.evaluable and weight(divergence, 1e-6) > 1e-12 and weight(divergence, 60.0) < 1e100
    ),
    comparisons=_comparisons,
    report=_report,
    draw=_draw,
)
