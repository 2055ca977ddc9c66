"""The clock and the memory are last guards: what a person would write is judged the same with a quarter of the time."""

from __future__ import annotations

import mmap
import random
import sys
import time
from collections import deque
from typing import Any

import pytest
import sympy

import fdiv
from fdiv import deadline, u
from fdiv.deadline import OutOfMemory, OutOfTime, pace, within
from fdiv.evidence import certificate, store, witness
from fdiv.evidence.certificate import Certificate
from fdiv.record import Divergence, custom

STEEP = "log(1+exp(50*(u-2)))/50-log(1+exp(-50))/50"


def skewed(name: str, weight: sympy.Rational) -> Divergence:
    """D_f(P || weight P + (1 - weight) Q), whose generator has fractions of fractions."""
    record = fdiv.CATALOG[name]
    f = record.bind({parameter.name: parameter.example for parameter in record.parameters}).generator
    mixture = weight * u + 1 - weight
    return custom(mixture * f.subs(u, u / mixture))


def judged(divergence: Divergence, share: float, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    monkeypatch.setattr(store, "load", lambda key: None)
    monkeypatch.setattr(certificate, "_SECONDS", certificate._SECONDS * share)
    return certificate.certify.__wrapped__(divergence)


CASES: dict[str, tuple[Any, float]] = {
    "puri_vincze:k=16": (lambda: fdiv.CATALOG["puri_vincze"].bind({"k": 16}), 1 / 2),
    "steep softplus": (lambda: fdiv.from_expression(STEEP), 1 / 4),
    "skewed taneja_type": (lambda: skewed("taneja_type", sympy.Rational(1, 8)), 1 / 2),
    "skewed puri_vincze": (lambda: skewed("puri_vincze", sympy.Rational(7, 9)), 1 / 4),
    "ten million digits at u = 10^6": (lambda: fdiv.from_expression("10**(-10*u)-10**-10"), 1 / 4),
}


@pytest.mark.parametrize("name", CASES)
def test_the_clock_does_not_decide(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a share of the time is not used up, more of it changes nothing."""
    make, share = CASES[name]
    found = judged(make(), share, monkeypatch)
    assert "last guard" not in str(found)
    assert found.accepted, str(found)
    assert found.claim("activation").evidence.settled
    assert found.claim("D(s)").evidence.settled


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CASES, "skewed taneja_type again"])
def test_four_times_the_time_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, share = CASES.get(name, (lambda: skewed("taneja_type", sympy.Rational(8, 43)), 1 / 2))
    short = judged(make(), share, monkeypatch)
    assert judged(make(), 4, monkeypatch).claims == short.claims


def test_what_the_clock_cut_short_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[Any] = []
    monkeypatch.setattr(store, "save", lambda key, data: saved.append(data))

    def never(*_: Any) -> None:
        raise OutOfTime

    whole = judged(fdiv.from_expression("u*log(u)+(u-1)**2/19"), 1, monkeypatch)
    assert len(saved) == 1
    assert whole.claim("convexity").evidence == "proved"
    monkeypatch.setattr(witness, "write", never)
    cut = judged(fdiv.from_expression("u*log(u)+(u-1)**2/23"), 1, monkeypatch)
    assert len(saved) == 1
    assert cut.accepted
    assert cut.claim("convexity").evidence == "tested"


def test_memory_is_a_last_guard_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "MOST_GROWTH", 40)
    held: list[mmap.mmap] = []

    def grow() -> None:
        while len(held) < 400:
            held.append(mmap.mmap(-1, 1 << 20))  # new pages: a process may have freed ones at hand, and need not grow
            held[-1].write(b"x" * (1 << 20))
            time.sleep(0.01)  # long enough that the watcher has its turn on a busy machine

    with pytest.raises(OutOfMemory):
        within(60, grow)
    assert len(held) < 400


def test_a_pace_is_that_of_a_known_computation() -> None:
    assert 0.5 <= pace() <= 20
    assert pace() == pace()


def test_the_guard_follows_a_machine_that_grows_slower_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    takes = deque([deadline._KNOWN] * 3, maxlen=3)
    monkeypatch.setattr(deadline, "_takes", takes)
    monkeypatch.setattr(deadline, "_PACED", 1)

    def work() -> int:
        end = time.thread_time() + 0.5
        while time.thread_time() < end:
            random.random()
        return 7

    with monkeypatch.context() as steady:
        steady.setattr(deadline, "_take", lambda: takes.append(deadline._KNOWN))
        with pytest.raises(OutOfTime):
            within(0.12, work)
    monkeypatch.setattr(deadline, "_take", lambda: takes.append(20 * deadline._KNOWN))
    assert within(0.12, work) == 7


def test_an_interruption_that_comes_too_late_leaves_nothing_behind() -> None:
    """CPython 3.11 would run in circles under a profiler if its flag stayed up."""

    def swallow() -> int:
        end = time.thread_time() + 0.4
        while time.thread_time() < end:
            try:
                random.random()
            except OutOfTime:
                continue
        return 7

    for _ in range(3):
        try:
            assert within(0.01, swallow) == 7
        except OutOfTime:
            continue
    calls: list[str] = []
    sys.setprofile(lambda frame, event, argument: calls.append(event))
    try:
        sympy.Symbol("x").is_positive  # noqa: B018
    finally:
        sys.setprofile(None)
    assert "call" in calls
