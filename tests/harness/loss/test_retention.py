"""The gradient of a step from those of erasure and retention."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.loss.retention import METHODS, combine

PROJECTIONS = METHODS[1:]


def _vectors(*rows, dtype=torch.float32):
    return [torch.tensor(row, dtype=dtype) for row in rows]


def _inner(a, b):
    return sum((x.double() * y.double()).sum() for x, y in zip(a, b, strict=True))


def test_weight_adds_the_two_gradients_whether_or_not_they_conflict():
    (result,) = combine(_vectors([1.0, -2.0]), _vectors([3.0, 4.0]), "weight", 0.5)
    torch.testing.assert_close(result, torch.tensor([2.5, 0.0]))


@pytest.mark.parametrize("method", PROJECTIONS)
def test_a_conflict_is_projected_away_and_then_the_weighted_gradient_is_added(method):
    # <e, r> = 3 - 8 = -5 and |r|^2 = 25, so e + r / 5 = (1.6, -1.2), which is orthogonal to (3, 4).
    erase, retain = _vectors([1.0, -2.0]), _vectors([3.0, 4.0])
    torch.testing.assert_close(combine(erase, retain, method, 0.0)[0], torch.tensor([1.6, -1.2]))
    torch.testing.assert_close(combine(erase, retain, method, 2.0)[0], torch.tensor([7.6, 6.8]))


def test_a_projected_gradient_is_orthogonal_to_the_retain_gradient():
    generator = torch.Generator().manual_seed(0)
    erase = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in [(3, 4), (5,), (2, 2, 2)]]
    retain = [-each + 0.1 * torch.randn(each.shape, generator=generator, dtype=torch.float64) for each in erase]
    whole = combine(erase, retain, "projection", 0.0)
    assert abs(_inner(whole, retain)) < 1e-12
    assert all(abs(_inner([each], [r])) > 1e-6 for each, r in zip(whole, retain, strict=True))
    for each, r in zip(combine(erase, retain, "projection-per-tensor", 0.0), retain, strict=True):
        assert abs(_inner([each], [r])) < 1e-12


@pytest.mark.parametrize("method", PROJECTIONS)
def test_without_a_conflict_projection_is_the_weighted_sum_bit_for_bit(method):
    erase, retain = _vectors([1.0, 2.0], [0.1]), _vectors([3.0, -1.0], [0.7])
    for result, expected in zip(
        combine(erase, retain, method, 0.3), combine(erase, retain, "weight", 0.3), strict=True
    ):
        assert torch.equal(result, expected)


def test_one_tensors_conflict_counts_on_its_own_or_against_all_others():
    # Tensor by tensor the inner products are -1 and 4; over both, 3.
    erase, retain = _vectors([-1.0, 1.0], [2.0]), _vectors([1.0, 0.0], [2.0])
    together = combine(erase, retain, "projection", 0.0)
    apart = combine(erase, retain, "projection-per-tensor", 0.0)
    assert [each.tolist() for each in together] == [[-1.0, 1.0], [2.0]]
    assert [each.tolist() for each in apart] == [[0.0, 1.0], [2.0]]


def test_a_conflict_over_all_tensors_changes_those_too_that_do_not_conflict():
    # <e, r> = -4 + 1 = -3 and |r|^2 = 3.
    erase, retain = _vectors([-4.0], [1.0, 0.0]), _vectors([1.0], [1.0, 1.0])
    assert [each.tolist() for each in combine(erase, retain, "projection", 0.0)] == [[-3.0], [2.0, 1.0]]


@pytest.mark.parametrize("method", METHODS)
def test_a_retain_gradient_of_zero_changes_nothing(method):
    erase = _vectors([1.0, -2.0], [3.0])
    result = combine(erase, [torch.zeros_like(each) for each in erase], method, 5.0)
    assert all(torch.equal(each, e) for each, e in zip(result, erase, strict=True))


def test_a_tensor_that_retention_does_not_reach_is_left_alone_beside_one_that_conflicts():
    result = combine(_vectors([5.0], [-1.0]), _vectors([0.0], [2.0]), "projection-per-tensor", 0.0)
    assert [each.tolist() for each in result] == [[5.0], [0.0]]


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_is_rounded_once_at_the_end(method):
    generator = torch.Generator().manual_seed(0)
    erase = [torch.randn(1000, generator=generator).bfloat16()]
    retain = [(0.3 * torch.randn(1000, generator=generator) - erase[0]).bfloat16()]
    (result,) = combine(erase, retain, method, 0.7)
    (exact,) = combine([erase[0].double()], [retain[0].double()], method, 0.7)
    assert result.dtype == torch.bfloat16
    assert torch.equal(result, exact.bfloat16())


@pytest.mark.parametrize("method", PROJECTIONS)
def test_a_retain_gradient_too_small_to_square_counts_as_zero(method):
    erase, retain = _vectors([1e3, 1.0]), _vectors([-1e-25, 0.0])
    assert torch.equal(combine(erase, retain, method, 0.0)[0], erase[0])


def test_double_precision_is_kept():
    tiny = 1e-12
    erase, retain = _vectors([1 + tiny, 1.0], dtype=torch.float64), _vectors([-1.0, 1.0], dtype=torch.float64)
    (result,) = combine(erase, retain, "projection", 0.0)
    assert result.dtype == torch.float64
    torch.testing.assert_close(result, torch.full((2,), 1 + tiny / 2, dtype=torch.float64), rtol=1e-15, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_the_given_gradients_stay_as_they_are(method):
    erase, retain = _vectors([1.0, -2.0]), _vectors([3.0, 4.0])
    combine(erase, retain, method, 2.0)
    assert (erase[0].tolist(), retain[0].tolist()) == ([1.0, -2.0], [3.0, 4.0])


def test_another_method_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"'pcgrad'; choices: weight, projection, projection-per-tensor"):
        combine(_vectors([1.0]), _vectors([1.0]), "pcgrad", 1.0)


SIZES = st.floats(1e-6, 1e3)  # below about 1e-19 squares vanish in fp32, and such a gradient counts as zero
ENTRIES = st.lists(st.just(0.0) | SIZES | SIZES.map(float.__neg__), min_size=6, max_size=6)


@pytest.mark.parametrize("method", PROJECTIONS)
@given(erase=ENTRIES, retain=ENTRIES, weight=st.floats(0, 10))
def test_a_projected_step_never_goes_against_retention(method, erase, retain, weight):
    erase, retain = ([torch.tensor(each[:4]).view(2, 2), torch.tensor(each[4:])] for each in (erase, retain))
    result = combine(erase, retain, method, weight)
    assert all(each.isfinite().all() for each in result)
    rounding = 1e-5 * (_inner(erase, erase) * _inner(retain, retain)).sqrt() + 1e-30
    assert _inner(result, retain) >= -rounding
