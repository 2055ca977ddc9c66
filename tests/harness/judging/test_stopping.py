"""When to stop early."""

import pytest

from harness.config import Config, UsageError
from harness.judging.stopping import StopRule

UA, IRA, CRA = "unlearning_accuracy", "in_domain_retain_accuracy", "cross_domain_retain_accuracy"
ORIGINAL = {UA: 0.0, IRA: 1.0, CRA: 0.9}


def _rule(when, budget=0.05):
    return StopRule.of(Config(stop_when=when, retention_budget=budget), axes=3)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        ({UA: 0.94, IRA: 1.0, CRA: 0.9}, ""),
        ({UA: 0.95, IRA: 1.0, CRA: 0.86}, "the conditions hold: UA 0.950, IRA 1.000, CRA 0.860"),
        ({UA: 0.95, IRA: 1.0, CRA: 0.84}, "CRA lost more than the retention budget of 0.05"),
        ({UA: 0.2, IRA: 0.9, CRA: 0.8}, "IRA and CRA lost more than the retention budget"),
    ],
)
def test_a_run_stops_when_erased_or_when_too_much_is_lost(now, reason):
    found = _rule("UA>=0.95").reason(now, ORIGINAL)
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_every_condition_must_hold():
    rule = _rule("UA >= .5, IRA>=1", budget=1)
    assert not rule.reason({UA: 0.6, IRA: 0.99, CRA: 0.9}, ORIGINAL)
    assert rule.reason({UA: 0.5, IRA: 1.0, CRA: 0.9}, ORIGINAL)


def test_no_condition_is_no_rule():
    assert StopRule.of(Config(), axes=0) is None


@pytest.mark.parametrize("when", ["UA>0.9", "KID>=0.1", "UA>=2", "UA>=0.9;IRA>=0.9", "UA>=", "UA>=0.9,"])
def test_another_form_is_refused_with_an_example(when):
    with pytest.raises(UsageError, match="expected conditions such as"):
        _rule(when)


def test_a_metric_is_asked_for_once():
    with pytest.raises(UsageError, match="asks for the same metric twice"):
        _rule("UA>=1,UA>=0")


def test_watching_alone_measures_and_never_stops():
    rule = StopRule.of(Config(watch=True, evaluate_every=7), axes=3)
    assert rule.every == 7
    assert not rule.reason({UA: 1.0, IRA: 0.0, CRA: 0.0}, ORIGINAL)
    with pytest.raises(UsageError, match="--watch: this model's folder holds no judge"):
        StopRule.of(Config(watch=True), axes=0)
