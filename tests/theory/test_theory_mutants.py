"""Every theorem's check notices a false statement: plausible mistakes, one by one, each with the check that sees it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import sympy

import fdiv
import theory
from fdiv.exact.symbols import u
from theory.gaussians import alpha_family, gradient_chain, gradient_order, local_universality
from theory.general import conjugacy, data_processing, finite_alphabets, mixture, variational
from theory.laws import expectations, gaussians, general
from theory.laws.claims import claims
from theory.theorem import Comparison, Theorem
from theory.training import adam, calibration, finite_pictures, flow, minmax, retraining, small_batch


def theorem(name: str) -> Theorem:
    (found,) = [one for one in theory.theorems() if one.name == name]
    return found


def subject(of: Theorem, spec: str) -> Any:
    (found,) = [one for one in of.universe() if one.spec == spec and of.applies(one)]
    return found


@dataclass(frozen=True)
class Claim:
    """A false statement: what it states instead, at the comparisons whose point contains `where`."""

    mistake: str
    theorem: str
    spec: str
    where: str
    false: Callable[[Comparison], float]


def number(comparison: Comparison) -> float:
    assert isinstance(comparison.point, float)
    return comparison.point


CLAIMS = (
    Claim("s/4 for s/2", "mse_is_kl", "kl", "0.3", lambda c: c.stated / 2),
    Claim("sigma for sigma^2", "mse_is_kl", "kl", "two pixels", lambda c: c.stated * 0.7),
    Claim("mean for sum over pixels", "mse_is_kl", "kl", "two pixels", lambda c: c.stated / 2),
    Claim("bits for nats", "mse_is_kl", "reverse_kl", "4.0", lambda c: c.stated / math.log(2)),
    Claim("D is not 0 at 0", "one_optimum", "kl", "D(0)", lambda c: 1e-300),
    Claim("D = 0 away from 0", "one_optimum", "triangular", "0.05", lambda c: 1.0),
    Claim("a(a-1)s for a(a-1)s/2", "alpha_family", "alpha:a=0.3", "0.3", lambda c: math.expm1(-0.21 * 0.3) / -0.21),
    Claim("1 forgotten", "alpha_family", "pearson", "0.3", lambda c: math.exp(0.3)),
    Claim("Renyi a s", "alpha_family", "pearson", "Renyi", lambda c: 2 * c.stated),
    Claim("w is dD/dd", "gradient_law", "jensen_shannon", "0.9", lambda c: c.stated * 2 * math.sqrt(0.9)),
    Claim("w without 1/2", "gradient_law", "triangular", "fdiv, s=0.9", lambda c: 2 * c.stated),
    Claim("f''(1) s for f''(1) s/2", "local_universality", "triangular", "1e-06", lambda c: 2 * c.stated),
    Claim("no term of second order", "local_universality", "pearson", "coefficient", lambda c: 1.0),
    Claim("e^{-s/4}", "robustness_limit", "kl", "oracle, s=5", lambda c: 10.0),
    Claim("Hellinger e^{-s/4}", "robustness_limit", "squared_hellinger", "e^{s/8} w", lambda c: 1e-44),
    Claim("mass of g/2", "robustness_limit", "total_variation", "sqrt(2 pi s)", lambda c: c.stated / 2),
    Claim("D <= s e^{s/8} w", "robustness_limit", "total_variation", "D(s), s=0.04", lambda c: c.stated / 2),
    Claim("e^{s/8} w rises", "robustness_limit", "total_variation", "rises, s=0.04", lambda c: 40**0.5 * c.stated),
    Claim("ds/dt = -2 s w", "flow", "squared_hellinger", "s=8 to 1", lambda c: 2 * c.stated),
    Claim("Hellinger as fast as KL", "flow", "squared_hellinger", "closed form, s=8", lambda c: math.log(8)),
    Claim("shares by w alone", "adam", "kl", "share of s=20", lambda c: 0.2),
    Claim("an upper bound", "variational", "kl", "blind", lambda c: -1.0),
    Claim("not tight", "variational", "pearson", "log-ratio, s=0.16", lambda c: 0.9 * c.stated),
    Claim("gradient with the wrong sign", "variational", "kl", "envelope, s=0.16", lambda c: -c.stated),
    Claim("clock 1/f''", "minmax", "squared_hellinger", "Re, kappa=1", lambda c: -2.0),
    Claim("a centre, undamped", "minmax", "kl", "Re, kappa=1", lambda c: 0.0),
    Claim("stable at every step size", "minmax", "kl", "step 1.1", lambda c: 0.95),
    Claim("variance per pair, not per sample", "small_batch", "kl", "variance, s=0.2", lambda c: 2 * c.stated),
    Claim("sqrt(2/(n s))", "small_batch", "jensen_shannon", "relative deviation", lambda c: math.sqrt(2)),
    Claim("bias f''/(2 n)", "small_batch", "triangular", "bias", lambda c: c.stated / 2),
    Claim("a supremum beyond f(0) + f'(inf)", "small_batch", "triangular", "separated", lambda c: 2 * c.stated),
    Claim("KL bounded on every batch", "small_batch", "kl", "without a maximum, n=4", lambda c: 0.0),
    Claim("no branch below f'(0)", "conjugacy", "pearson", "f*, t=-3", lambda c: -0.75),
    Claim("f* finite above f'(inf)", "conjugacy", "total_variation", "f'(inf) + 0.1", lambda c: 0.6),
    Claim("range f'(inf) alone", "finite_alphabets", "triangular", "disjoint", lambda c: 1.0),
    Claim("f not adjoint", "finite_alphabets", "kl", "adjoint, P, Q", lambda c: 1.001 * c.stated),
    Claim("data processing reversed", "data_processing", "kl", "channel 3", lambda c: 1 + (c.computed - 1) / 2),
    Claim("Pinsker without 1/2", "pinsker", "kl", "TV=0.02", lambda c: 2 * c.stated),
    Claim("Gilardoni with f''(1)", "pinsker", "pearson", "the constant", lambda c: c.stated / 2),
    Claim("Bretagnolle-Huber with e^{-2 KL}", "bretagnolle_huber", "kl", "TV=0.5", lambda c: 2 * c.stated),
    Claim("f''(1)/g''(1) for the supremum", "sason_verdu", "kl<=pearson", "best constant", lambda c: 0.5),
    Claim("f(0) without f'(inf)", "sason_verdu", "lin_k<=total_variation", "best constant", lambda c: 0.5),
    Claim("mixture without 1/2", "mixture", "total_variation", "3.0", lambda c: 2 * c.stated),
    Claim("M(pi^2/s)", "mordell", "jensen_shannon", "0.3", lambda c: c.stated / 2),
    Claim("within 4 %", "calibration", "pearson", "exactly", lambda c: 1.04),
    Claim("s* = |k|", "calibration", "squared_hellinger", "s*", lambda c: 1 / 8),
    Claim("all samples count", "calibration", "squared_hellinger", "n_eff/n, scale 1", lambda c: 1.0),
)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.theorem}: {claim.mistake}")
def test_a_false_claim_fails(claim: Claim) -> None:
    about = theorem(claim.theorem)
    concerned = [c for c in about.check(subject(about, claim.spec)) if claim.where in str(c.point)]
    assert concerned
    assert all(c.holds for c in concerned)
    assert not all(replace(c, stated=claim.false(c)).holds for c in concerned)


def test_every_theorem_has_a_mutant() -> None:
    mutated = {claim.theorem for claim in CLAIMS} | {name for name, *_ in BREAKS}
    assert mutated | {"reverse_step"} == {one.name for one in theory.theorems()}  # which has a file of its own


def _without_kinks(divergence: fdiv.Divergence, s: float) -> float:
    return expectations.weight(divergence, s) - sum(
        float(place * jump) * math.exp(-((float(sympy.log(place)) + s / 2) ** 2) / (2 * s)) / math.sqrt(8 * math.pi * s)
        for place, jump in divergence.kinks
    )


def _swapped(divergence: fdiv.Divergence, s: float) -> float:
    """E_P for E_Q: the law for u f'' dP, which is u^3 f'' under Q."""
    return float(expectations.expectation(u**3 * sympy.diff(divergence.generator, u, 2), s)) / 2


RIGHT_VERDICT = gradient_order.verdict
RIGHT_SHARES = adam.adam_path
RIGHT_COEFFICIENTS = local_universality.coefficients
RIGHT_POSTERIORS, RIGHT_MEAN = retraining.Classes.posteriors, finite_pictures.weighted_mean
C4_ONLY = "(u-1)**2+Abs(u-1)**(9/2)"


def _upside_down(a: fdiv.Divergence, b: fdiv.Divergence) -> gradient_order.Verdict:
    return RIGHT_VERDICT(b, a)


def _no_crossing(a: fdiv.Divergence, b: fdiv.Divergence) -> gradient_order.Verdict:
    return replace(RIGHT_VERDICT(a, b), kind="above", crossings=())


def _near_crossings_only(a: fdiv.Divergence, b: fdiv.Divergence) -> gradient_order.Verdict:
    """As if what a scan up to s = 64 does not show were not there."""
    found = RIGHT_VERDICT(a, b)
    near = tuple(s for s in found.crossings if s < 64)
    return found if near or not found.crossings else replace(found, kind="above", crossings=())


def _with_epsilon(w: Any, median: float, steps: int, batch: int = 8) -> Any:
    """As if the scale of the loss mattered: what an epsilon as large as the gradients does."""
    return RIGHT_SHARES(w, median, steps, batch) * float(w(np.array([1.0]))[0])


BREAKS: tuple[tuple[str, str, Any, str, Any], ...] = (
    ("gradient_law", "total_variation", gaussians, "weight", _without_kinks),
    ("gradient_law", "kl", gaussians, "weight", _swapped),
    ("gradient_chain", "kl", gradient_chain, "CHAIN", gradient_chain.CHAIN[::-1]),
    ("gradient_chain", "pearson", gradient_chain, "CHAIN", ("triangular", "pearson", "jensen_shannon")),
    ("gradient_chain", "squared_hellinger", gradient_chain, "_ALPHAS", (0.45, 0.5)),
    ("gradient_order", "squared_hellinger", gradient_order, "verdict", _upside_down),
    ("gradient_order", "total_variation", gradient_order, "verdict", _no_crossing),
    ("gradient_order", "total_variation", gradient_order, "verdict", _near_crossings_only),
    ("adam", "kl", adam, "adam_path", _with_epsilon),
    ("alpha_family", "alpha:a=0.3", alpha_family, "terms", lambda divergence: ((sympy.S.One, sympy.Rational(-3, 10)),)),
    ("local_universality", "triangular", local_universality, "coefficients",
     lambda divergence: (RIGHT_COEFFICIENTS(divergence)[0], sympy.S.Zero)),
    # four derivatives taken for six: the rest is neither O(s^3) nor, of w, O(s^2)
    ("local_universality", C4_ONLY, local_universality, "coefficients",
     lambda divergence: (*RIGHT_COEFFICIENTS(divergence), sympy.S.One)),
    ("calibration", C4_ONLY, calibration, "six_derivatives", lambda divergence: True),
    # and one for four
    ("local_universality", "soft_chi", local_universality, "coefficients",
     lambda divergence: (*RIGHT_COEFFICIENTS(divergence), sympy.S.One)),
    ("variational", "kl", variational, "activation", lambda d: (lambda v: v, np.exp)),
    ("minmax", "kl", minmax, "field", lambda d, theta, psi: (psi, -theta)),
    ("small_batch", "kl", small_batch, "simulate", lambda d, s, n, draws: np.zeros(draws)),
    ("conjugacy", "pearson", conjugacy, "claims",
     lambda divergence: claims(divergence).but(conjugate=claims(fdiv.divergence("kl")).conjugate)),
    ("finite_alphabets", "kl", finite_alphabets, "divergence_of",
     lambda c, pair: sum(p * c.oracle.value(math.log(p / q)) for p, q in zip(*pair, strict=True))),
    ("data_processing", "kl", data_processing, "on_letters",
     lambda f, ends, pair: sum(q * math.log(p / q) ** 3 for p, q in zip(*pair, strict=True))),
    ("mixture", "total_variation", mixture, "hockey_stick", lambda k, s: 0.9),
    ("flow", "pearson", flow, "time", lambda divergence, start, end: math.log(start / end) / 4),
    ("calibration", "pearson", calibration, "second_coefficient", lambda divergence: 1.0),
    # not divided by 1 - p(o); p(o) for its odds; ESD's constant weight; towards the target; nothing retrained
    ("retraining", "target_apart", retraining, "by_bayes", lambda p, m: p[1:] @ m[1:]),
    ("retraining", "target_apart", retraining, "guided_away", lambda p, m: p @ m + p[0] * (p @ m - m[0])),
    ("retraining", "target_rare", retraining, "guided_away", lambda p, m: 2 * (p @ m) - m[0]),
    ("retraining", "one_retained", retraining, "guided_away", lambda p, m: p @ m + p[0] / p[1] * (m[0] - p @ m)),
    ("retraining", "one_retained", retraining, "retrained", lambda w, *x: RIGHT_POSTERIORS(w, *x) @ w.predictions(*x)),
    # shares forgotten; classes as narrow as pictures; a class's mean for the regression on x_t
    ("retraining", "target_apart", retraining.Classes, "posteriors",
     lambda world, *at: RIGHT_POSTERIORS(replace(world, shares=(1.0,) * 3), *at)),
    ("retraining", "target_wide", retraining.Classes, "posteriors",
     lambda world, *at: RIGHT_POSTERIORS(replace(world, deviations=(1e-3,) * 3), *at)),
    ("retraining", "one_retained", retraining.Classes, "predictions", lambda world, *at: np.array(world.means)),
    # shares forgotten; d for d^2; d^2 for 2 d^2; x_t - z for x_t - a z; the nearest picture alone
    ("finite_pictures", "unequal_shares", finite_pictures, "weighted_mean",
     lambda world, *at: RIGHT_MEAN(replace(world, shares=(1 / 3,) * 3), *at)),
    ("finite_pictures", "two", finite_pictures, "weighted_mean", lambda w, x, a, d: RIGHT_MEAN(w, x, a, d**0.5)),
    ("finite_pictures", "two", finite_pictures, "weighted_mean", lambda w, x, a, d: RIGHT_MEAN(w, x, a, d / 2**0.5)),
    ("finite_pictures", "two", finite_pictures, "weighted_mean", lambda w, x, a, d: RIGHT_MEAN(w, x, 1.0, d)),
    ("finite_pictures", "two", finite_pictures, "weighted_mean", lambda w, x, a, d: RIGHT_MEAN(w, x, a, 1e-3)),
)  # fmt: skip


@pytest.mark.parametrize("broken", BREAKS, ids=lambda b: f"{b[0]}-{b[1]}-{b[3]}")
def test_a_broken_formula_fails(broken: tuple[str, str, Any, str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    name, spec, module, attribute, mutant = broken
    about = theorem(name)
    target = subject(about, spec)
    monkeypatch.setattr(module, attribute, mutant)
    assert not all(comparison.holds for comparison in about.comparisons(target))


def test_exchanging_p_and_q_cannot_be_seen_between_gaussians_and_is_seen_on_two_atoms() -> None:
    divergence = fdiv.divergence("kl")
    s = 1.7
    exchanged = expectations.expectation(u * divergence.generator.subs(u, 1 / u), s)
    assert float(exchanged) == pytest.approx(float(expectations.value(divergence, s)), rel=1e-14)
    p, q = (0.2, 0.8), (0.6, 0.4)
    ways = [general.divergence_of(claims(divergence), pair) for pair in ((p, q), (q, p))]
    assert abs(ways[0] - ways[1]) > 0.01


def test_a_free_critic_of_kl_has_no_finite_expected_maximum_and_that_of_triangular_has() -> None:
    means: dict[str, list[float]] = {"kl": [], "triangular": []}
    for name, found in means.items():
        for reach in (6.0, 300.0):
            found.append(float(small_batch.fitted(fdiv.divergence(name), 0.0, 4, 1000, reach)[0].mean()))
    assert means["kl"][1] > 5 * means["kl"][0]
    assert means["triangular"][1] < 2 * means["triangular"][0] < 2 * 2


def test_four_derivatives_do_not_bound_the_rest_by_s_cubed_and_six_do() -> None:
    points = (1e-2, 1e-3, 1e-4, 1e-5)
    four, six = local_universality.four_derivatives_only(), fdiv.divergence("pearson")
    rests = [local_universality.rest(four, s, 2) for s in points]
    assert rests == pytest.approx([149.78, 774.93, 4320.6, 24275.6], rel=1e-4)
    assert [local_universality.rest(six, s, 2) for s in points] == pytest.approx([1 / 6] * 4, rel=1e-2)


@pytest.mark.parametrize("generator", ["u*log(u)**2", "-log(u)-(1+u)*log((1+u)/2)+u-1"])
def test_what_is_not_convex_violates_data_processing(generator: str) -> None:
    false = fdiv.from_expression(generator)
    assert not all(comparison.holds for comparison in theorem("data_processing").comparisons(false))


@pytest.mark.parametrize(
    ("name", "generator", "point"),
    [("gradient_law", "(u-1)**2*(3-u)", "sign, s=0.9"), ("finite_alphabets", "-u*log(u)", "0 <= D, pair 0")],
)
def test_what_is_not_convex_fails_by_its_sign(name: str, generator: str, point: str) -> None:
    (found,) = [c for c in theorem(name).comparisons(fdiv.from_expression(generator)) if c.point == point]
    assert found.relation == "at_least"
    assert not found.holds


def test_a_positive_weight_does_not_make_a_divergence() -> None:
    """D(s) = s + s^2/4 between Gaussians, though u log^2 u is not convex: the Gaussian value alone proves nothing."""
    false = fdiv.from_expression("u*log(u)**2")
    for s in (0.05, 1.0, 6.0):
        assert expectations.weight(false, s) == pytest.approx(1 + s / 2, rel=1e-12)


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        ("triangular", "jensen_shannon"),
        ("jensen_shannon", "squared_hellinger"),
        ("squared_hellinger", "kl"),
        ("kl", "pearson"),
    ],
)
def test_the_chain_of_weights_is_settled_and_strict(smaller: str, larger: str) -> None:
    found = gradient_order.verdict(fdiv.divergence(smaller), fdiv.divergence(larger))
    assert (found.kind, found.bound, found.normalised) == ("below", 0, True)


def test_the_chain_is_proved_and_a_wrong_link_of_its_proof_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    chain, kl = theorem("gradient_chain"), fdiv.divergence("kl")
    assert {chain.row(one).evidence for one in chain.subjects()} == {"proved"}
    for attribute in ("_EVEN", "_GAPS"):
        with monkeypatch.context() as patch:
            patch.setattr(gradient_chain, attribute, getattr(gradient_chain, attribute)[::-1])
            with pytest.raises(theory.TheoremError, match="not an identity for kl"):
                chain.evidence(kl)


@pytest.mark.parametrize(
    ("name", "spec", "attribute", "false"),
    [
        ("mordell", "jensen_shannon", "pieces", fdiv.divergence("triangular").pieces),
        ("finite_alphabets", "kl", "adjoint", fdiv.divergence("kl")),
        ("alpha_family", "pearson", "generator", u**3),
    ],
)
def test_a_symbolic_proof_fails_for_another_generator(name: str, spec: str, attribute: str, false: Any) -> None:
    other = fdiv.from_expression(str(fdiv.divergence(spec).generator))
    assert theorem(name).evidence(other) == "proved"
    other.__dict__[attribute] = false
    with pytest.raises(theory.TheoremError, match="is not an identity for"):
        theorem(name).evidence(other)


@pytest.mark.parametrize("wrong", [lambda c: (c[0] * 2, *c[1:]), lambda c: (c[0], c[1] + 1, c[2])])
def test_the_proof_of_local_universality_sees_a_wrong_coefficient(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_universality, "coefficients", lambda one: wrong(RIGHT_COEFFICIENTS(one)))
    with pytest.raises(theory.TheoremError, match="is not an identity for triangular"):
        theorem("local_universality").evidence(fdiv.divergence("triangular"))


def test_the_weight_of_alpha_grows_with_the_distance_of_alpha_from_one_half() -> None:
    alphas = (0.45, 0.25, 1.3, -0.6, 2.5)
    distances = [abs(a - 0.5) for a in alphas]
    assert distances == sorted(distances)
    family = [fdiv.divergence("alpha", a=a) for a in alphas]
    assert [gradient_order.verdict(a, b).kind for a, b in pairwise(family)] == ["below"] * 4


def test_a_mixture_of_a_flat_and_a_steep_weight_crosses_squared_hellinger_once() -> None:
    mixed = fdiv.from_expression("(u-1)**2/(u+1)/2 * 0.5 + (u-1)*log(u)/2 * 0.25 + (sqrt(u)-1)**2*2 * 0.25")
    found = gradient_order.verdict(mixed, fdiv.divergence("squared_hellinger"))
    assert (found.kind, found.bound, found.exhausted) == ("crossing", 1, True)
    (s,) = found.crossings
    weights = [expectations.weight(mixed, x) / expectations.weight(mixed, 1e-9) for x in (s / 1.1, s, s * 1.1)]
    assert weights[1] == pytest.approx(math.exp(-s / 8), rel=1e-6)
    assert weights[0] < math.exp(-s / 8.8)
    assert weights[2] > math.exp(-s * 1.1 / 8)


@pytest.mark.parametrize(("middle", "crosses"), [(0.5, False), (1.3, False), (1.5, True), (3.0, True)])
def test_three_runs_are_settled_only_where_the_weights_do_not_cross(middle: float, crosses: bool) -> None:
    masses = np.array([1.0, -middle, 1.0])
    cut = gradient_order.Runs(np.array([0.1, 1.0, 3.0]), masses, (0, 1, 2), float(np.sign(masses.sum())))
    assert (min(cut.total(s) for s in np.geomspace(0.01, 1e3, 400)) < 0) is crosses
    assert gradient_order._settled(cut, 0, np.array([1.0])) is not crosses


def test_total_variation_and_skew_kl_cross_far_beyond_the_scan() -> None:
    pair = fdiv.divergence("total_variation"), fdiv.divergence("skew_kl", pi=0.3)
    found = gradient_order.verdict(*pair)
    assert (found.kind, found.bound, found.settled) == ("crossing", 1, True)
    (s,) = found.crossings
    assert 240 < s < 242
    for place, sign in ((s / 1.01, 1), (s * 1.01, -1)):
        assert sign * np.subtract(*(one.gaussian.gradient_weight(place) for one in pair)) > 0
