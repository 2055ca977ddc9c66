"""How long the Kullback-Leibler divergence on a million atoms takes beside SciPy's and torch's, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from scipy.special import rel_entr
from torch.distributions import Categorical, kl_divergence

import fdiv

_RUNS = 15
_ATOMS = 10**6


def seconds(functions: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """The least time of each, all of them in turns, so that what else the machine does falls on all alike."""
    found = {name: [] for name in functions}  # type: dict[str, list[float]]
    for _ in range(_RUNS):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            found[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in found.items()}


@pytest.mark.slow
def test_a_million_atoms_take_at_most_half_as_long_again_as_scipy_and_torch() -> None:
    p, q = np.random.default_rng(0).dirichlet(np.ones(_ATOMS), 2)
    p_torch, q_torch = torch.tensor(p), torch.tensor(q)
    between = fdiv.divergence("kl").between
    found = seconds(
        {
            "numpy": lambda: between(p, q),
            "scipy": lambda: rel_entr(p, q).sum(),
            "torch": lambda: between(p_torch, q_torch),
            "torch.distributions": lambda: kl_divergence(Categorical(p_torch), Categorical(q_torch)),
        }
    )
    print({name: f"{1000 * value:.1f} ms" for name, value in found.items()})
    assert found["numpy"] <= 1.5 * found["scipy"]
    assert found["torch"] <= 1.5 * found["torch.distributions"]
