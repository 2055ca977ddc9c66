"""D(s), w(s) and f*(t) against golden values of 30 digits, and against SciPy's and torch's own divergences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import kl_div, rel_entr

import fdiv
from theory.laws.claims import claims
from theory.laws.general import divergence_of

HERE = Path(__file__).parents[1] / "golden"
GOLDEN = json.loads((HERE / "values.json").read_text())
ROWS = [(spec, quantity) for spec, quantities in GOLDEN.items() for quantity in quantities]


@pytest.mark.parametrize(("spec", "quantity"), ROWS)
def test_spec_golden_values_of_thirty_digits(spec: str, quantity: str) -> None:
    divergence = fdiv.divergence(spec)
    gaussian = divergence.gaussian
    function = {"gaussian": gaussian, "gradient-weight": gaussian.gradient_weight, "conjugate": divergence.conjugate}
    for point, golden in GOLDEN[spec][quantity].items():
        assert len(golden) <= 50
        assert function[quantity](float(point)) == pytest.approx(float(golden), rel=1e-12, abs=1e-14), point


def test_spec_the_golden_values_are_many_and_their_script_uses_mpmath_alone() -> None:
    assert sum(len(values) for quantities in GOLDEN.values() for values in quantities.values()) >= 200
    assert len(GOLDEN) >= 25
    script = (HERE / "make.py").read_text()
    imports = {line.split()[1].split(".")[0] for line in script.splitlines() if line.startswith(("import ", "from "))}
    assert imports == {"__future__", "json", "collections", "pathlib", "mpmath"}


P, Q = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.3, 0.5])


def test_spec_relative_entropy_is_scipys_and_torchs() -> None:
    c = claims(fdiv.divergence("kl"))
    torchs = torch.distributions.kl_divergence(
        torch.distributions.Categorical(torch.tensor(P)), torch.distributions.Categorical(torch.tensor(Q))
    )
    value = divergence_of(c, (P.tolist(), Q.tolist()))
    assert value == pytest.approx(rel_entr(P, Q).sum(), rel=1e-14)
    assert value == pytest.approx(kl_div(P, Q).sum(), rel=1e-14)
    assert value == pytest.approx(float(torchs), rel=1e-14)


def test_spec_between_gaussians_relative_entropy_is_torchs() -> None:
    p, q = torch.distributions.Normal(0.3, 1.7), torch.distributions.Normal(-1.1, 1.7)
    s = float(((p.mean - q.mean) / 1.7) ** 2)
    expected = float(torch.distributions.kl_divergence(p, q))
    for name in ("kl", "reverse_kl"):
        assert fdiv.divergence(name).gaussian(s) == pytest.approx(expected, rel=1e-6)
