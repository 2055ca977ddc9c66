"""Which divergences are one, everywhere or between Gaussians: computed, and checked on numbers."""

from __future__ import annotations

import math

import pytest

import fdiv
from fdiv.monotone import bhattacharyya, chernoff, renyi

CLASSES = {
    "shifted_log": {"jensen_shannon": 1.0, "lin_k": 1.0, "capacitory": 0.5},
    "kl": {"reverse_kl": 1.0, "half_jeffreys": 1.0, "jeffreys": 0.5},
    "pearson": {"neyman": 1.0, "symmetric_chi_squared": 0.5},
    "triangular": {"harmonic": 2.0, "le_cam": 2.0},
    "hockey_stick:gamma=1": {"total_variation": 1.0},
    "vajda:k=2": {"pearson": 1.0},
    "alpha:a=1": {"kl": 1.0},
    "max_ratio": {},
}


@pytest.mark.parametrize("spec", CLASSES)
def test_its_equivalents_between_gaussians_are_found_with_their_factor(spec: str) -> None:
    divergence = fdiv.divergence(spec)
    found = fdiv.equivalents(divergence)
    for name, factor in CLASSES[spec].items():
        assert float(found[name]) == factor
    for name, factor in found.items():
        for s in (0.02, 1.3, 7.0):
            value = float(factor) * fdiv.divergence(name).gaussian(s)
            assert divergence.gaussian(s) == pytest.approx(value, rel=1e-12)


def test_what_is_not_found_differs_on_numbers() -> None:
    divergence = fdiv.divergence("jensen_shannon")
    found = fdiv.equivalents(divergence)
    others = [name for name, r in fdiv.CATALOG.items() if not r.parameters and name not in (*found, divergence.name)]
    assert len(others) >= 15
    for name in others:
        ratios = [fdiv.divergence(name).gaussian(s) / divergence.gaussian(s) for s in (0.1, 2.0, 9.0)]
        assert max(ratios) > min(ratios) * (1 + 1e-6)


def test_an_affine_term_is_no_difference_and_a_factor_is_named() -> None:
    shifted = fdiv.from_expression("3*u*log(u) - 5*(u - 1)")
    relation = fdiv.compare(shifted, fdiv.divergence("kl"))
    assert (relation.kind, relation.factor, relation.evidence) == ("proportional", 3, "proved")
    assert relation.gaussian is not None
    assert relation.gaussian.factor == 3


def test_a_divergence_and_its_adjoint_differ_but_not_between_gaussians() -> None:
    relation = fdiv.compare(fdiv.divergence("kl"), fdiv.divergence("reverse_kl"))
    assert relation.kind == "different"
    assert relation.where is not None
    assert relation.where.first == pytest.approx(
        relation.where.point * math.log(relation.where.point) - relation.where.point + 1
    )
    assert relation.gaussian is not None
    assert (relation.gaussian.kind, relation.gaussian.evidence) == ("equal", "proved")


def test_where_two_values_differ_is_shown_with_both() -> None:
    a, b = fdiv.divergence("triangular"), fdiv.divergence("squared_hellinger")
    where = fdiv.compare(a, b).gaussian.where  # type: ignore[union-attr]
    assert where is not None
    assert (where.first, where.second) == (a.gaussian(where.point), b.gaussian(where.point))
    assert abs(where.first - where.second) > 1e-3


def test_kinks_count() -> None:
    two = fdiv.from_expression("Max(u - 2, 0) + Max(1/2 - u, 0)*2")
    folded = fdiv.from_expression("2*Max(u - 2, 0)")
    assert fdiv.compare(two, folded).kind == "different"
    assert fdiv.compare(two, folded).gaussian.kind == "equal"  # type: ignore[union-attr]


@pytest.mark.parametrize("s", [1e-9, 0.3, 5.0, 900.0])
def test_renyi_chernoff_and_bhattacharyya_are_linear_in_s(s: float) -> None:
    assert renyi(0.3).gaussian(s) == pytest.approx(0.3 * s / 2, rel=1e-14)
    assert renyi(3).gaussian(s) == pytest.approx(3 * s / 2, rel=1e-14)
    assert chernoff(0.3).gaussian(s) == pytest.approx(0.21 * s / 2, rel=1e-14)
    assert bhattacharyya().gaussian(s) == pytest.approx(s / 8, rel=1e-14)
    if s < 10:
        assert renyi(3)(renyi(3).divergence.gaussian(s)) == pytest.approx(1.5 * s, rel=1e-12)


def test_they_are_no_f_divergences_and_refuse_impossible_input() -> None:
    assert not {"renyi", "chernoff", "bhattacharyya"} & set(fdiv.names())
    assert bhattacharyya()(4.0) == math.inf  # 4 is the value of alpha 1/2 for singular measures
    with pytest.raises(fdiv.ParameterError, match="kl itself"):
        renyi(1)
    with pytest.raises(ValueError, match="cannot be 5"):
        bhattacharyya()(5.0)
