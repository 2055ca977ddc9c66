"""The theorem of the reverse step against diffusers' own schedulers, and mutants of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from theory.theorem import Comparison
from theory.training import reverse_step
from theory.training.reverse_step import THEOREM

STEPS = {step.spec: step for step in THEOREM.universe()}
RIGHT = reverse_step.stated


@cache
def checked(spec: str) -> tuple[Comparison, ...]:
    return THEOREM.check(STEPS[spec])


@pytest.mark.parametrize("spec", STEPS)
def test_it_holds_for_every_scheduler_and_prediction(spec: str) -> None:
    assert [comparison for comparison in checked(spec) if not comparison.holds] == []
    assert THEOREM.evidence(STEPS[spec]) in ("proved", "tested")


def test_the_schedulers_are_at_least_so_many() -> None:
    assert len(STEPS) == len(THEOREM.subjects()) >= 13


@pytest.mark.parametrize("factor", [0.99, 1.01, -1.0, 0.0])
@pytest.mark.parametrize("spec", list(STEPS)[:3])
def test_a_slightly_wrong_statement_of_it_is_caught(spec: str, factor: float) -> None:
    assert not all(replace(c, stated=factor * c.stated).holds for c in checked(spec) if c.stated)


BREAKS: tuple[tuple[str, Callable[..., float]], ...] = (
    ("DDPM:fixed_small:epsilon", lambda *a: 2 * RIGHT(*a)),
    ("DDPM:fixed_small:v_prediction", lambda step, *t: RIGHT(replace(step, prediction="epsilon"), *t)),
    ("DDPM:fixed_large:epsilon", lambda step, *t: RIGHT(replace(step, options=()), *t)),
    ("DDIM:1.0:sample", lambda step, t, before: reverse_step.signal_to_noise(step, before)),
    ("EulerAncestralDiscrete:epsilon", lambda step, t, before: RIGHT(step, t, before) ** 0.5),
    ("FlowMatchEulerDiscrete:True:velocity", lambda step, *t: RIGHT(replace(step, options=()), *t)),
)


@pytest.mark.parametrize(("spec", "mutant"), BREAKS, ids=lambda part: part if isinstance(part, str) else "")
def test_a_broken_formula_fails(spec: str, mutant: Callable[..., float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverse_step, "stated", mutant)
    assert not all(comparison.holds for comparison in THEOREM.comparisons(STEPS[spec]))
