"""What a person reads at the end of a run."""

import pytest

from harness.judging.intervals.measure import wilson
from harness.show.screen import environment, ledger_lines


def _entry(target, before, now, of=72, **changed):
    """Of a ledger, with how many of so many pictures did not show the target when it was erased, and do not now."""
    values = {
        "when_erased": before / of,
        "when_erased_interval": list(wilson(before / of, of)),
        "now": now / of,
        "now_interval": list(wilson(now / of, of)),
    }
    return {"target": target, "sampling": [8, 3.0]} | values | changed


@pytest.mark.parametrize(("now", "came_back"), [(72, False), (70, False), (68, False), (60, True), (0, True)])
def test_a_concept_came_back_where_the_interval_of_the_difference_says_so(now, came_back):
    first, second = ledger_lines([_entry("star", 72, now), _entry("moon", 72, 72)])
    assert (", was 1.000 when erased: some of it came back" in first) == came_back
    assert "came back" not in second


def test_other_samples_are_named_as_a_reason_and_an_older_ledger_says_nothing():
    first, _ = ledger_lines([_entry("star", 72, 40, sampling=[20, 3.0]), _entry("moon", 72, 72)])
    assert first.endswith("or the samples, then of 20 steps at guidance 3, are no longer as good")
    old = {name: value for name, value in _entry("star", 72, 40).items() if "interval" not in name}
    assert ledger_lines([old, _entry("moon", 72, 72)])[0] == '"star": unlearning accuracy 0.556'
    assert ledger_lines([_entry("star", 72, 40)]) == []


def test_a_run_says_when_and_by_which_sources_it_was_made():
    import torch

    found = environment(torch.device("cpu"))
    assert found["date"].endswith("+00:00")
    assert len(found["sources"]) == 64
    assert found["sources"] == environment(torch.device("cpu"))["sources"]
