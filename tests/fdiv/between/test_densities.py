"""D_f between densities on the line, against torch's closed forms and integrals done by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch import distributions as laws

import fdiv

DOUBLE = {"dtype": torch.float64}


def double(*values: float) -> list[Any]:
    return [torch.tensor(value, **DOUBLE) for value in values]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (laws.Gamma(*double(2, 1)), laws.Gamma(*double(3.5, 0.5))),
        (laws.Beta(*double(2, 3)), laws.Beta(*double(1.5, 1.2))),
        (laws.Laplace(*double(0, 1)), laws.Laplace(*double(0.5, 2))),
        (laws.Exponential(*double(1)), laws.Exponential(*double(3))),
        (laws.Gumbel(*double(0, 1)), laws.Gumbel(*double(1, 2))),
        (laws.Uniform(*double(0, 1)), laws.Uniform(*double(-1, 3))),
    ],
    ids=lambda given: type(given).__name__,
)
def test_kullback_leibler_is_torchs(p: Any, q: Any) -> None:
    value, truth = fdiv.divergence("kl").between(p, q), float(laws.kl_divergence(p, q))
    assert float(value) == pytest.approx(truth, rel=1e-9)
    assert value.low <= value.high < value.low + 1e-8


@pytest.mark.parametrize(
    ("spec", "p", "q", "truth"),
    [
        ("total_variation", stats.cauchy(0, 1), stats.cauchy(1, 1), 2 / math.pi * math.atan(0.5)),
        ("kl", stats.cauchy(0, 1), stats.cauchy(1, 2), math.log((3**2 + 1) / 8)),
        ("squared_hellinger", stats.expon(), stats.expon(scale=4), 2 - 2 * math.sqrt(1 * 0.25) / 0.625),
        ("pearson", stats.expon(), stats.expon(scale=4), 1 / (0.25 * 1.75) - 1),
        ("jensen_shannon", stats.uniform(0, 1), stats.uniform(3, 1), math.log(2)),
        ("total_variation", stats.uniform(0, 1), stats.uniform(0.25, 1), 0.25),
        ("total_variation", stats.norm(0, 1), stats.laplace(0, 1e-3), None),
        ("neyman", stats.uniform(0.25, 0.5), stats.uniform(0, 1), math.inf),
        ("kl", stats.uniform(0, 1), stats.uniform(0.5, 1), math.inf),
        ("kl", stats.uniform(0.25, 0.5), stats.uniform(0, 1), math.log(2)),
        ("pearson", stats.t(1), stats.norm(), math.inf),
    ],
)
def test_it_is_the_integral_done_by_hand(spec: str, p: Any, q: Any, truth: float | None) -> None:
    value = fdiv.divergence(spec).between(p, q)
    if truth is None:  # nearly disjoint: 1 less the mass of P where Q is denser
        assert 0.98 < value.low <= value.high < 1
        return
    assert float(value) == pytest.approx(truth, rel=1e-9)
    assert value.low <= truth * (1 + 1e-12)
    assert value.high >= truth * (1 - 1e-12)


def test_scipy_and_torch_may_be_compared_and_single_precision_widens_the_interval() -> None:
    js = fdiv.divergence("js")
    exact = js.between(stats.gamma(2), laws.Gamma(*double(3.5, 0.5)))
    rough = js.between(laws.Gamma(2.0, 1.0), laws.Gamma(3.5, 0.5))
    assert rough.low < exact.low <= exact.high < rough.high < rough.low + 1e-4
    assert "estimate of its error" in rough.interval
    assert str(exact).startswith("0.35477 in [0.35477, 0.35477] (quadrature;")


def test_letters_of_torch_are_probabilities() -> None:
    p, q = torch.tensor([0.2, 0.8], **DOUBLE), torch.tensor([0.5, 0.5], **DOUBLE)  # type: ignore[arg-type]
    value = fdiv.divergence("kl").between(laws.Categorical(p), laws.Categorical(q))
    torch.testing.assert_close(value, laws.kl_divergence(laws.Categorical(p), laws.Categorical(q)))


@pytest.mark.parametrize(
    ("p", "message"),
    [
        (stats.poisson(3), "scipy's poisson is discrete"),
        (laws.Poisson(3.0), "torch's Poisson is discrete"),
        (laws.Gamma(torch.ones(2), torch.ones(2)), "a Gamma of several"),
    ],
)
def test_what_is_no_density_on_the_line_is_refused(p: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fdiv.divergence("kl").between(p, stats.gamma(2))
    with pytest.raises(ValueError, match="P and Q are two arrays"):
        fdiv.divergence("kl").between(stats.gamma(2), [0.5, 0.5])


@pytest.mark.parametrize(
    ("name", "p", "q"),
    [
        ("kl", stats.beta(0.5, 0.5), stats.uniform()),  # .24156, with poles at both ends
        ("tv", stats.beta(0.5, 0.5), stats.uniform()),
        ("kl", stats.laplace(), stats.laplace(200)),  # 199, but Q underflows
        ("kl", stats.t(1.5), stats.norm()),  # infinite, for the tails' sake
        ("kl", stats.gamma(0.01), stats.gamma(1)),
        ("pearson", stats.pareto(0.5), stats.pareto(2)),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_quadrature_does_not_settle_is_an_error_and_no_number(name, p, q):
    with pytest.raises(ValueError, match="quadrature does not settle this divergence"):
        fdiv.divergence(name).between(p, q)


def test_mass_where_the_other_has_none_is_infinite_though_tails_underflow():
    assert float(fdiv.divergence("kl").between(stats.norm(), stats.uniform())) == float("inf")
