"""How well erasing and keeping the neighbours are balanced."""

from harness.judging.metric import Judged, Measure, Metric
from harness.judging.metrics import in_domain_retain_accuracy, unlearning_accuracy


def measure(judged: Judged) -> Measure | None:
    """Of UA and IRA; the interval is made of both of theirs."""
    erased, kept = unlearning_accuracy.measure(judged), in_domain_retain_accuracy.measure(judged)
    return None if erased is None or kept is None else balance(erased, kept)


def balance(erased: Measure, kept: Measure) -> Measure:
    """The harmonic mean of two measures.

    It rises with both, so each limit is as far off as the limits of either alone, squared and added: Newcombe's way
    (1998, method 10) from Wilson's intervals, for another function than the difference (Zou and Donner 2008).
    """
    value = harmonic_mean(erased.value, kept.value)
    down, up = (
        sum((value - harmonic_mean(*pair)) ** 2 for pair in pairs) ** 0.5
        for pairs in ([(erased.interval[end], kept.value), (erased.value, kept.interval[end])] for end in (0, 1))
    )
    return Measure(value, (max(0.0, value - down), min(1.0, value + up)))


def harmonic_mean(one: float, other: float) -> float:
    """2 / (1 / one + 1 / other); 0 where either is."""
    return 2 * one * other / (one + other) if one + other else 0.0


METRIC = Metric(
    name="erasing_retention_balance",
    short="ERB",
    formula="2 UA IRA / (UA + IRA)",
    source="FADE (Thakral et al., 2503.19783), with UA as erasing accuracy and IRA as adjacency accuracy",
    higher_is_better=True,
    of_retained=False,
    is_share=False,
    order=5,
    measure=measure,
)
