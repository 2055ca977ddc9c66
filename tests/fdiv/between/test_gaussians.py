"""D_f between Gaussians of different covariances, against torch, textbook formulas and integrals on the line."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.integrate import quad
from torch.distributions import Independent, MultivariateNormal, kl_divergence
from torch.distributions import Normal as TorchNormal

import fdiv
from fdiv import Normal
from tests.laws.strategies import EXAMPLES
from theory.laws.published import published

Numbers = NDArray[np.float64]


def drawn(seed: int, dimension: int) -> tuple[Numbers, Numbers]:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(dimension, dimension)) / 3 + np.eye(dimension)
    return rng.normal(size=dimension) / 2, root @ root.T


def pair(seed: int, dimension: int) -> tuple[Normal, Normal]:
    return Normal(*drawn(seed, dimension)), Normal(*drawn(seed + 50, dimension))


def integral(spec: str, p: tuple[float, float], q: tuple[float, float]) -> float:
    """The published term of the densities, integrated on the line; (mean, variance) of each."""
    term, one, other = published(spec), *(stats.norm(m, math.sqrt(v)) for m, v in (p, q))
    assert term is not None
    ends = [-14.0, -3.0, 0.0, 3.0, 14.0]
    parts = [
        quad(lambda x: term([one.pdf(x)], [other.pdf(x)]), a, b, epsabs=1e-13, limit=200)[0] for a, b in pairwise(ends)
    ]
    return math.fsum(parts)


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_kullback_leibler_is_torchs_with_its_gradients(dimension: int) -> None:
    given = [torch.tensor(x, requires_grad=True) for x in (*drawn(1, dimension), *drawn(2, dimension))]
    ours = fdiv.divergence("kl").between(Normal(*given[:2]), Normal(*given[2:]))
    theirs = kl_divergence(MultivariateNormal(given[0], given[1]), MultivariateNormal(given[2], given[3]))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    for one, other in zip(torch.autograd.grad(ours, given), torch.autograd.grad(theirs, given), strict=True):
        torch.testing.assert_close(one + one.mT if one.ndim == 2 else one, other + other.mT if one.ndim == 2 else other)


@pytest.mark.parametrize("dimension", [1, 3])
def test_hellinger_is_the_bhattacharyya_coefficient_of_the_textbook(dimension: int) -> None:
    p, q = pair(3, dimension)
    middle, step = (p.covariance + q.covariance) / 2, p.mean - q.mean
    roots = (np.linalg.det(p.covariance) * np.linalg.det(q.covariance)) ** 0.25 / math.sqrt(np.linalg.det(middle))
    coefficient = roots * math.exp(-step @ np.linalg.solve(middle, step) / 8)
    assert fdiv.divergence("hellinger").between(p, q) == pytest.approx(2 - 2 * coefficient, rel=1e-12)


CLOSED = ["kl", "reverse_kl", "jeffreys", "pearson", "neyman", "symmetric_chi_squared", "squared_hellinger"]
CLOSED += ["alpha:a=0.3", "alpha:a=1.4", "tsallis:a=0.3", "cressie_read:la=0.5", "geometric_jensen_shannon"]
OPEN = ["jensen_shannon", "total_variation", "triangular", "lin_k", "hockey_stick:gamma=1.5", "soft_chi", "vajda:k=1.5"]


@pytest.mark.parametrize("spec", [*CLOSED, *OPEN])
@pytest.mark.parametrize(("p", "q"), [((0.0, 1.0), (0.7, 1.4)), ((0.3, 0.8), (0.0, 1.1)), ((0.0, 0.9), (0.0, 1.3))])
def test_on_the_line_it_is_the_integral(spec: str, p: tuple[float, float], q: tuple[float, float]) -> None:
    value = fdiv.divergence(spec).between(Normal(*p), Normal(*q))
    truth = integral(spec, p, q)
    assert isinstance(value, fdiv.Estimate) is (spec in OPEN)
    assert float(value) == pytest.approx(truth, rel=1e-8)
    if isinstance(value, fdiv.Estimate):
        assert value.low <= value.value <= value.high < value.low + 1e-9


@pytest.mark.parametrize("order", [-0.2, 0.4, 1.5])
def test_a_moment_is_a_product_over_independent_coordinates_in_every_basis(order: float) -> None:
    divergence, rng = fdiv.divergence("alpha", a=order), np.random.default_rng(1)
    means, variances = rng.normal(size=(2, 3)) / 3, rng.uniform(0.8, 1.3, (2, 3))
    basis = rng.normal(size=(3, 3))
    p, q = (Normal(basis @ m, basis @ np.diag(v) @ basis.T) for m, v in zip(means, variances, strict=True))
    moments = [
        1
        + order
        * (order - 1)
        * integral(f"alpha:a={order}", (means[0, i], variances[0, i]), (means[1, i], variances[1, i]))
        for i in range(3)
    ]
    whole = 1 + order * (order - 1) * divergence.between(p, q)
    assert whole == pytest.approx(math.prod(moments), rel=1e-8)


def test_where_the_moment_is_infinite_so_is_the_divergence() -> None:
    wide, narrow = Normal(np.zeros(2), np.diag([1.0, 2.1])), Normal(np.zeros(2), np.eye(2))
    assert fdiv.divergence("pearson").between(wide, narrow) == math.inf
    assert math.isfinite(fdiv.divergence("pearson").between(Normal(np.zeros(2), np.diag([1.0, 1.9])), narrow))
    assert fdiv.divergence("neyman").between(narrow, wide) == math.inf
    assert math.isfinite(fdiv.divergence("kl").between(wide, narrow))


@pytest.mark.parametrize("spec", EXAMPLES[::4])
def test_of_one_covariance_it_is_the_gaussian_value_at_mahalanobis_distance(spec: str) -> None:
    divergence, (mean, covariance) = fdiv.divergence(spec), drawn(7, 3)
    step = np.array([0.4, -0.3, 0.9])
    s = float(step @ np.linalg.inv(covariance) @ step)
    value = divergence.between(Normal(mean + step, covariance), Normal(mean, covariance))
    assert value == pytest.approx(divergence.gaussian(s), rel=1e-10)


def test_a_batch_of_gaussians_and_the_dtype_are_kept() -> None:
    mean, covariance = torch.zeros(4, 2), torch.eye(2).expand(4, 2, 2)
    other = Normal(torch.arange(8.0).reshape(4, 2), 2 * torch.eye(2).expand(4, 2, 2))
    for name in ("kl", "hellinger"):
        value = fdiv.divergence(name).between(Normal(mean, covariance), other)
        assert (value.shape, value.dtype) == ((4,), torch.float32)
        alone = fdiv.divergence(name).between(
            Normal(mean[2], covariance[2]), Normal(other.mean[2], other.covariance[2])
        )
        torch.testing.assert_close(value[2], alone)


@pytest.mark.parametrize("name", ["kl", "hellinger", "alpha:a=1.3"])
def test_first_derivatives_pass_gradcheck(name: str) -> None:
    divergence = fdiv.divergence(name)

    def value(mean: Any, root: Any) -> Any:
        covariance = root @ root.T + torch.eye(2).double()
        return divergence.between(Normal(mean, covariance), Normal(0 * mean, 2.5 * torch.eye(2).double()))

    mean = torch.tensor([0.3, -0.6], dtype=torch.float64, requires_grad=True)
    root = torch.tensor([[0.5, 0.1], [-0.2, 0.3]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(value, (mean, root))


def test_gaussians_of_scipy_and_torch_are_read_as_such() -> None:
    between = fdiv.divergence("kl").between
    truth = between(Normal(0.0, 1.0), Normal(0.5, 4.0))
    assert between(stats.norm(0, 1), stats.norm(0.5, 2)) == truth
    assert between(stats.multivariate_normal(0, 1), stats.multivariate_normal(0.5, 4)) == pytest.approx(truth)
    zero, half, two = torch.zeros(3).double(), torch.full((3,), 0.5).double(), torch.full((3,), 2.0).double()
    assert between(TorchNormal(zero, 1 + zero), TorchNormal(half, two)) == pytest.approx(np.full(3, truth))
    independent = Independent(TorchNormal(zero, 1 + zero), 1), Independent(TorchNormal(half, two), 1)
    assert float(between(*independent)) == pytest.approx(3 * truth)
    p, q = MultivariateNormal(zero, torch.eye(3).double()), MultivariateNormal(half, 4 * torch.eye(3).double())
    assert float(between(p, q)) == pytest.approx(3 * truth)


@pytest.mark.parametrize("spec", ["jensen_shannon", "total_variation", "lin_k", "soft_chi"])
def test_monte_carlo_holds_the_truth_of_a_product_and_says_what_its_interval_is(spec: str) -> None:
    # a second coordinate of one law for P and Q adds nothing to the divergence of the first
    p, q = Normal([0.0, 1.0], np.diag([1.0, 3.0])), Normal([0.7, 1.0], np.diag([1.4, 3.0]))
    divergence = fdiv.divergence(spec)
    value, truth = divergence.between(p, q, draws=20_000), integral(spec, (0.0, 1.0), (0.7, 1.4))
    assert value.low < truth < value.high < truth + 0.05
    assert value.interval == ("95 % by empirical Bernstein" if spec not in ("lin_k", "soft_chi") else value.interval)
    assert value == divergence.between(p, q, draws=20_000)
    assert value != divergence.between(p, q, draws=20_000, seed=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0, 0.0], [[1.0, 0.5], [0.2, 1.0]]), "symmetric"),
        (([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]), "positive definite"),
        (([0.0], [[math.nan]]), "finite"),
        (([0.0, 0.0], [[1.0]]), r"got \(2,\) and \(1, 1\)"),
        ((0.0, -1.0), "positive definite"),
    ],
)
def test_what_is_no_gaussian_is_refused(arguments: tuple[Any, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Normal(*arguments)


def test_what_cannot_be_computed_says_why_and_what_can() -> None:
    js = fdiv.divergence("js")
    with pytest.raises(ValueError, match=r"no closed form .* in 2 dimensions; draws=100000"):
        js.between(*pair(1, 2))
    with pytest.raises(ValueError, match="one dimension, got 2 and 3"):
        js.between(pair(1, 2)[0], pair(1, 3)[0])
    with pytest.raises(ValueError, match="all tensors or all arrays"):
        js.between(Normal(0.0, 1.0), Normal(torch.tensor(0.0), torch.tensor(1.0)))
    with pytest.raises(ValueError, match="draws >= 100, got draws=3"):
        js.between(*pair(1, 2), draws=3)
    root = torch.eye(2).requires_grad_()
    with pytest.raises(ValueError, match="detach it"):
        js.between(Normal(torch.zeros(2), root), Normal(torch.ones(2), root))
    with pytest.raises(ValueError, match=r"P and Q are two arrays .* got Normal and list"):
        js.between(Normal(0.0, 1.0), [0.5, 0.5])


@pytest.mark.parametrize("mean", [math.nan, math.inf, -math.inf])
def test_a_mean_is_finite(mean):
    with pytest.raises(ValueError, match="a mean is finite; got"):
        fdiv.Normal(mean, 1.0)
