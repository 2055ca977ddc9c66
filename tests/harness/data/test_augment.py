"""Latents zoomed out and in."""

import pytest
import torch

from harness.data.augment import FAR, NEAR, SUFFIXES, augment, draw_kinds

SHAPES = [(4, 4), (2, 2), (5, 7), (9, 9), (64, 64), (64, 96)]


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _latents(n, shape):
    return torch.randn(n, 4, *shape, generator=_generator(1)) + 10  # no zeros


def _all(kind, n):
    return torch.full((n,), kind)


def _sides(mask):
    """Height, width, top and left of the box of ones in each mask, which is all there is in it."""
    for each in mask[:, 0]:
        rows, columns = each.amax(1).nonzero()[:, 0], each.amax(0).nonzero()[:, 0]
        assert each.sum() == len(rows) * len(columns)
        assert rows[-1] - rows[0] + 1 == len(rows)
        assert columns[-1] - columns[0] + 1 == len(columns)
        yield len(rows), len(columns), int(rows[0]), int(columns[0])


def test_kinds_are_all_alike_likely_and_decided_by_the_generator():
    kinds = draw_kinds(30_000, _generator())
    assert kinds.dtype == torch.int64
    shares = kinds.bincount() / len(kinds)
    torch.testing.assert_close(shares, torch.full((len(SUFFIXES),), 1 / 3), atol=0.01, rtol=0)
    assert torch.equal(kinds, draw_kinds(30_000, _generator()))


def test_the_views_are_named_after_what_they_do():
    assert (SUFFIXES[0], SUFFIXES[FAR], SUFFIXES[NEAR]) == ("", ", far away", ", zoomed in")


@pytest.mark.parametrize("shape", SHAPES)
def test_the_first_kind_leaves_every_bit_as_it_is(shape):
    clean = _latents(5, shape)
    result, mask = augment(clean, _all(0, 5), _generator())
    assert torch.equal(result, clean)
    assert torch.equal(mask, torch.ones(5, 1, *shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_latent_zoomed_out_is_a_smaller_box_on_zeros_and_its_mask_that_box(shape):
    n = 100
    result, mask = augment(_latents(n, shape), _all(FAR, n), _generator())
    assert result.shape == (n, 4, *shape)
    assert torch.equal((result != 0).float(), mask.expand_as(result))
    for height, width, _, _ in _sides(mask):
        for length, side in [(height, shape[0]), (width, shape[1])]:
            assert max(1, round(0.4 * side)) <= length <= min(side - 1, round(0.9 * side))


def test_zooming_out_reaches_both_ends_of_its_sizes_and_all_borders():
    boxes = list(_sides(augment(torch.ones(2000, 1, 20, 20), _all(FAR, 2000), _generator())[1]))
    assert all(height == width for height, width, _, _ in boxes)
    assert {height for height, *_ in boxes} == set(range(8, 19))
    for extent, start in [(0, 2), (1, 3)]:
        assert min(box[start] for box in boxes) == 0
        assert max(box[start] + box[extent] for box in boxes) == 20
    assert {box[2] == box[3] for box in boxes} == {True, False}


def test_zooming_out_shows_the_whole_latent():
    ramp = torch.linspace(1, 2, 64).expand(20, 1, 64, 64)
    result, mask = augment(ramp, _all(FAR, 20), _generator())
    for row, (height, width, top, left) in zip(result[:, 0], _sides(mask), strict=True):
        seen = row[top : top + height, left : left + width]
        torch.testing.assert_close(seen[0], torch.linspace(1, 2, width), atol=0.03, rtol=0)
        torch.testing.assert_close(seen, seen[:1].expand_as(seen))


def test_zooming_out_averages_instead_of_leaving_out():
    stripes = torch.tensor([-1.0, 1.0]).repeat(32).expand(50, 1, 64, 64)
    result, mask = augment(stripes, _all(FAR, 50), _generator())
    halved = [row for row, (_, width, _, _) in zip(result, _sides(mask), strict=True) if width <= 32]
    assert halved
    assert max(row.abs().max() for row in halved) < 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_a_constant_latent_stays_constant_when_zoomed_in(shape):
    clean = torch.tensor([-2.0, 0.1, 3.0, 7.0]).view(1, 4, 1, 1).repeat(50, 1, *shape)
    result, mask = augment(clean, _all(NEAR, 50), _generator())
    torch.testing.assert_close(result, clean)
    assert torch.equal(mask, torch.ones(50, 1, *shape))


def test_zooming_in_enlarges_a_crop_by_1_1_to_1_4_anywhere():
    down, across = torch.meshgrid(torch.arange(80.0), torch.arange(80.0), indexing="ij")
    clean = torch.stack([down, across]).expand(500, 2, 80, 80)
    result, _ = augment(clean, _all(NEAR, 500), _generator())
    middle = result[:, :, 10:70, 10:70]
    steps = torch.stack([middle[:, 0].diff(dim=1).flatten(1), middle[:, 1].diff(dim=2).flatten(1)], 1)
    torch.testing.assert_close(steps, steps[..., :1].expand_as(steps), atol=1e-3, rtol=0)
    zooms = 1 / steps[..., 0]
    torch.testing.assert_close(zooms[:, 0], zooms[:, 1], atol=1e-3, rtol=0)
    assert zooms.min() == pytest.approx(80 / 73, abs=1e-3)
    assert zooms.max() == pytest.approx(80 / 57, abs=1e-3)
    for axis in (0, 1):
        assert result[:, axis].min() == 0
        assert result[:, axis].max() == 79


def test_the_generator_decides_all_and_one_rows_kind_nothing_of_the_others():
    clean, kinds = _latents(6, (8, 8)), torch.tensor([0, 1, 2, 0, 1, 2])
    first, again, other = (augment(clean, kinds, _generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    changed, _ = augment(clean, torch.tensor([2, 1, 0, 1, 1, 2]), _generator())
    assert torch.equal(changed[[1, 4, 5]], first[0][[1, 4, 5]])


def test_rows_of_one_kind_differ_from_each_other():
    for kind in (FAR, NEAR):
        result, _ = augment(_latents(1, (16, 16)).repeat(8, 1, 1, 1), _all(kind, 8), _generator())
        assert len({tuple(each.flatten().tolist()) for each in result}) > 4


def test_the_given_latents_stay_as_they_are():
    clean = _latents(3, (8, 8))
    before = clean.clone()
    augment(clean, torch.tensor([0, 1, 2]), _generator())
    assert torch.equal(clean, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_latents_keep_their_precision(dtype):
    result, mask = augment(_latents(3, (8, 8)).to(dtype), torch.tensor([0, 1, 2]), _generator())
    assert (result.dtype, mask.dtype) == (dtype, dtype)


def test_no_rows_give_none():
    result, mask = augment(torch.zeros(0, 4, 8, 8), _all(0, 0), _generator())
    assert (result.shape, mask.shape) == ((0, 4, 8, 8), (0, 1, 8, 8))


@pytest.mark.gpu
def test_every_device_sees_the_same():
    clean, kinds = _latents(6, (9, 8)), torch.tensor([0, 1, 2, 0, 1, 2])
    for here, there in zip(
        augment(clean, kinds, _generator()), augment(clean.cuda(), kinds, _generator()), strict=True
    ):
        assert there.device.type == "cuda"
        torch.testing.assert_close(there.cpu(), here)
