"""What a step saw, rows of the log, and why a run ended."""

import math

import pytest
import torch

import fdiv
from harness.loss.objective import Losses
from harness.loss.scale import Scale
from harness.models.path import diffusion_path
from harness.prompts.concepts import towards
from harness.show import screen
from harness.show.steps import BINS, Seen, bins, log_row, overflow_message
from tests import tiny


def _seen(s, erase=0.0, retain=0.0, norm=0.0, skipped=0.0, timesteps=None):
    s = torch.tensor(s)
    timesteps = torch.zeros(len(s), dtype=torch.long) if timesteps is None else torch.tensor(timesteps)
    numbers = (torch.tensor(float(each)) for each in (erase, retain, math.nan, norm, skipped))
    return Seen(s, timesteps, torch.zeros(len(s), dtype=torch.long), *numbers)


def _row(step, seen, spec, retains=False):
    losses = Losses.of([fdiv.divergence(spec)], [1.0], "closed_form")
    return log_row(step, seen, losses, Scale("unit", diffusion_path(tiny.pipeline())), retains)


@pytest.mark.parametrize("count", [10, 37, 999, 1000])
def test_bins_are_of_equal_width_and_in_order(count):
    result = bins(torch.arange(count), count)
    widths = result.bincount(minlength=BINS)
    assert len(widths) == BINS
    assert widths.max() - widths.min() <= 1
    assert (result.diff() >= 0).all()
    assert (result[0], result[-1]) == (0, BINS - 1)


def test_what_steps_saw_comes_back_from_its_tensors():
    steps = [_seen([1.0, 3.0], 0.1, 0.2, 0.3, timesteps=[7, 8]), _seen([5.0, math.inf], math.nan, skipped=1.0)]
    stacked = Seen.stack(steps)
    assert (stacked["s"].shape, stacked["erase"].shape) == ((2, 2), (2,))
    for ours, theirs in zip(Seen.unstack(stacked, torch.device("cpu")), steps, strict=True):
        for name in stacked:
            torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=0, atol=0, equal_nan=True)
    assert [seen.skipped for seen in steps] == [False, True]


def test_the_reason_for_stopping_names_what_was_not_finite():
    last = _seen([1.0, math.inf, math.nan, 2.0, 3.0], math.nan, 0.3, math.nan, 1.0)
    message = overflow_message(9, 5, last, "bf16")
    assert "up to step 9: s, erasure loss, gradient in bf16; s was 1, 3, inf at its" in message
    assert message.endswith("or --precision fp32")
    assert "precision" not in overflow_message(9, 5, last, "fp32")


def test_a_rows_relative_weights_mirror_its_s_for_squared_hellinger():
    s = torch.linspace(0.5, 40.0, 11)  # 11 samples: their 10, 50 and 90 % quantiles are samples themselves
    row = _row(20, [_seen([each]) for each in s.tolist()], "squared_hellinger")
    assert row["s"] == pytest.approx([4.45, 20.25, 36.05])
    assert row["relative_weight"] == pytest.approx([math.exp(-36.05 / 8), math.exp(-20.25 / 8), math.exp(-4.45 / 8)])
    assert "estimate" not in row


def test_a_row_says_where_in_s_and_time_the_gradient_came_from():
    """For KL the gradient's length is sqrt(s): 3 and 1 of 4 in two bins; of the other decade a tenth."""
    row = _row(1, [_seen([9.0, 1.0, 0.04], timesteps=[50, 950, 951])], "kl")
    assert row["origin"] == [
        [0, 0, pytest.approx(3 / 4.2)],
        [9, -2, pytest.approx(0.2 / 4.2)],
        [9, 0, pytest.approx(1 / 4.2)],
    ]


def test_a_row_averages_its_steps_and_counts_the_skipped():
    nan, inf = math.nan, math.inf
    seen = [_seen([1.0, 3.0], 0.1, 0.2, 0.3), _seen([inf, nan], nan, 0.4, inf, 1.0), _seen([5.0, 7.0], 0.3, 0.4, 0.5)]
    row = _row(20, seen, "kl")
    assert row["s"][1] == 4.0
    assert (row["erase"], row["skipped"]) == (pytest.approx(0.2), 1)
    assert "retain" not in row
    assert _row(20, seen, "kl", retains=True)["retain"] == pytest.approx(0.3)
    assert _row(20, seen[1:2], "kl") == {"step": 20, "skipped": 1}


@pytest.mark.parametrize(
    ("anchor", "said"),
    [
        ("circle", '"star" led towards "circle"'),
        ("retained", '"star" led towards what is retained'),
        ("star", '"star" led away from itself'),
        ("empty", '"star" led towards no prompt'),
        ("superclass", '"star" led towards the same without it'),
    ],
)
def test_a_caption_says_where_the_target_was_led(anchor, said):
    assert screen.caption([["star", towards("star", anchor)]]) == said


def test_a_caption_of_many_keeps_each_with_its_own_anchor():
    pairs = [("star", "circle"), ("pink", "retained"), ("moon", "circle"), ("mosaic", "superclass")]
    said = screen.caption(
        [[target, towards(target, anchor, "style" * (target == "mosaic"))] for target, anchor in pairs]
    )
    assert said == (
        '"star", "moon" each led towards "circle"; "pink" led towards what is retained; "mosaic" led towards "style"'
    )


def test_a_run_of_an_older_version_has_a_caption_too():
    assert screen.caption(screen.directions_of({"target": "a, b", "anchor": "c"})) == '"a, b" led towards "c"'
