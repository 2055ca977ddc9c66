"""The gate: `certify` gathers evidence for the claims about a divergence; `require` refuses without it.

A claim is *proved* by an exact argument, *certified* by ball arithmetic, *tested* by an oracle that shares no
code with the derivation (SymPy's own lambdify, a brute supremum, plain quadrature), or *refuted* with a
counterexample; a law whose hypothesis fails is *not applicable*, and the reason says why. A required claim that is
refuted, or could not be settled at all, means that the divergence has no loss.

What is proved or certified is so by `fdiv.kernel`, which judges the certificate's statement anew: a claim that it
does not confirm is at most tested, wherever it was derived and wherever it was kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from fdiv.deadline import MOST_GROWTH, OutOfMemory, OutOfTime, pace, within
from fdiv.evidence import consequences, foundations, inheritance, store, witness
from fdiv.evidence.finding import Claim, Evidence, Finding, left_open
from fdiv.kernel.claims import Verdict, verify
from fdiv.record import Divergence

_SECONDS = 24.0  # of a modern core for one certificate: a last guard, where no counted limit bites
_LEAST = 1.0  # to write what the kernel judges


class Refused(ValueError):  # noqa: N818  (it reads as the verdict that it is)
    """The mathematics forbids what was asked; the message shows the counterexample."""


@dataclass(frozen=True)
class Certificate:
    """All claims about one divergence, what they are about, and the versions that found them.

    `fingerprint` is the SHA-256 of the generator's `srepr`; `gaussian` the kind of D(s), "unknown" if a claim on
    which it rests failed; `statement` what the kernel read, with its witnesses, as JSON (`docs/kernel.md`).
    """

    spec: str
    generator: str
    fingerprint: str
    claims: tuple[Claim, ...]
    gaussian: str
    versions: tuple[tuple[str, str], ...]
    statement: Mapping[str, Any]

    @property
    def accepted(self) -> bool:
        """Whether every required claim is settled and none is refuted."""
        return all(claim.holds for claim in self.claims)

    @property
    def objections(self) -> tuple[Claim, ...]:
        """The claims that stand in the way."""
        return tuple(claim for claim in self.claims if not claim.holds)

    def claim(self, name: str) -> Claim:
        """Return the claim of that name; KeyError if it was not reached."""
        found = {claim.name: claim for claim in self.claims}
        return found[name]

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as JSON-able data."""
        first = self.objections[0].to_dict() if self.objections else {"counterexample": None}
        return {
            "divergence": self.spec,
            "generator": self.generator,
            "fingerprint": self.fingerprint,
            "verdict": "accepted" if self.accepted else "refused",
            "counterexample": first["counterexample"],
            "claims": [claim.to_dict() for claim in self.claims],
            "gaussian": self.gaussian,
            "versions": dict(self.versions),
            "statement": self.statement,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Certificate:
        """Return the certificate that `to_dict` described; the verdict is drawn from the claims again.

        Raises ValueError, KeyError or TypeError for anything else. It is a record, and no evidence by itself: what
        it says can be believed as far as the place it was kept.
        """
        return Certificate(
            str(data["divergence"]),
            str(data["generator"]),
            str(data["fingerprint"]),
            tuple(Claim.from_dict(claim) for claim in data["claims"]),
            str(data["gaussian"]),
            tuple((str(name), str(version)) for name, version in data["versions"].items()),
            dict(data["statement"]),
        )

    def __str__(self) -> str:
        """Return a table for people, with counterexamples under the claims they refute."""
        width = max(len(claim.name) for claim in self.claims)
        lines = [f"{self.spec}: f(u) = {self.generator}", ""]
        for claim in self.claims:
            lines.append(f"  {claim.name:<{width}}  {claim.evidence:<14}  {claim.reason}")
            if claim.counterexample is not None:
                lines.append(f"  {'':<{width}}  {'':<14}  {claim.counterexample}")
        return "\n".join([*lines, "", "accepted" if self.accepted else f"refused{self._limit}"])

    @property
    def _limit(self) -> str:
        """Say so where nothing is refuted."""
        refuted = any(claim.evidence is Evidence.REFUTED for claim in self.claims)
        return "" if refuted else ": what is not settled is a limit of this software, and not of the mathematics"


@dataclass(frozen=True)
class Judge:
    """Who judges the claim of that name: what is derived, and the evidence of the claims before it, give a finding.

    A valid divergence may lack what is not `required`. A claim that `admits` a divergence is found anew each time, and
    where it does not hold nothing more is asked.
    """

    name: str
    judge: Callable[[Divergence, consequences.Settled], Finding]
    required: bool = True
    admits: bool = False


def _foundation(name: str, judge: Callable[[Divergence], Finding]) -> Judge:
    return Judge(name, lambda divergence, settled: judge(divergence), admits=True)


_FOUNDATIONS = (
    _foundation("f(1) = 0", foundations.vanishes_at_one),
    _foundation("finite on (0, inf)", foundations.finite),
    _foundation("convexity", foundations.convex),
    _foundation("not affine", foundations.not_affine),
)
_CONSEQUENCES = (
    Judge("limits", consequences.limits),
    Judge("conjugate", consequences.conjugate),
    Judge("conjugate on the whole line", consequences.conjugate_everywhere),
    Judge("biconjugation", consequences.biconjugation),
    Judge("Fenchel-Young", consequences.fenchel_young),
    # there may be no finite Gaussian value, no activation at a kink, no curvature at 1
    Judge("adjoint", consequences.adjoint, required=False),
    Judge("activation", consequences.activation, required=False),
    Judge("D(s)", consequences.gaussian_value, required=False),
    Judge("D(0) = 0 <= D(s)", consequences.gaussian_sign, required=False),
    Judge("w(s) = dD/ds >= 0", consequences.gaussian_weight, required=False),
    Judge("gradient law", consequences.gradient_law, required=False),
    Judge("reduction to MSE", consequences.mean_squared_error, required=False),
    Judge("large s", consequences.large_s, required=False),
)


@cache
def certify(divergence: Divergence) -> Certificate:
    """Gather the evidence; later claims are left out when an earlier one, on which they rest, fails.

    What admits a divergence (f(1) = 0, finite, convex, not affine) is always found anew; the rest may come from
    the disk (see `fdiv.evidence.store`). Work is limited by counted steps; what the last guard, a clock, ends is said
    to be open, and is not stored.

    Raises TypeError for what is no divergence, such as a name, and nothing else.
    """
    if not isinstance(divergence, Divergence):
        raise TypeError(
            f"a certificate needs a Divergence, got {divergence!r}: "
            "name it with fdiv.divergence(...), or read an expression or a file with fdiv.resolve(...)"
        )
    left = _timer()
    claims = _judged(divergence, _FOUNDATIONS, (), left())
    claims = _or_inherited(divergence, claims, left())
    if not all(claim.holds for claim in claims):
        statement, _ = _stated(divergence, ("generator", "cuts"), left())
        return _certificate(divergence, _weighed(claims, statement), "unknown", statement)
    key = store.key(divergence)
    kept = _kept(divergence, claims, store.load(key))
    if kept is not None:
        return kept
    claims = _judged(divergence, _CONSEQUENCES, claims, left())
    statement, whole = _stated(divergence, witness.PARTS, left())
    weighed = _or_inherited(divergence, _weighed(claims, statement), left())
    found = _certificate(divergence, weighed, _kind(divergence, claims), statement)
    if found.accepted and whole and not any(claim.open or claim.evidence is Evidence.INHERITED for claim in weighed):
        store.save(key, found.to_dict())
    return found


def _timer() -> Callable[[], float]:
    """Return a function that says how many seconds of the last guard are left."""
    start = time.thread_time()
    return lambda: _SECONDS - (time.thread_time() - start) / pace()


def _stated(divergence: Divergence, parts: Iterable[str], seconds: float) -> tuple[dict[str, Any], bool]:
    """Return what the kernel is to judge, and whether the last guard let all of it be written."""
    found: dict[str, Any] = {}
    try:
        within(max(seconds, _LEAST), lambda: witness.write(divergence, parts, found))
    except OutOfTime:
        return witness.completed(found), False
    return witness.completed(found), True


def _weighed(claims: tuple[Claim, ...], statement: Mapping[str, Any]) -> tuple[Claim, ...]:
    """Believe as proved, or certified by a bound, what the kernel confirms and nothing refutes; the rest as tested."""
    verdicts = verify(dict(statement))
    return tuple(_weigh(claim, verdicts.get(claim.name, Verdict(False, "it was not stated"))) for claim in claims)


def _weigh(claim: Claim, verdict: Verdict) -> Claim:
    most, settled = Evidence.CERTIFIED if verdict.enclosed else Evidence.PROVED, (Evidence.PROVED, Evidence.CERTIFIED)
    says_more = claim.evidence is Evidence.PROVED or verdict.reason not in claim.reason  # than a bound does
    if verdict.confirmed and (
        claim.evidence in (Evidence.INHERITED, Evidence.TESTED)
        or (claim.evidence in settled and verdict.enclosed and says_more)
    ):
        return replace(claim, evidence=most, reason=f"{verdict.reason}, by the kernel; {claim.reason}")
    if claim.evidence in settled and not verdict.confirmed:
        reason = f"not confirmed by the kernel: {verdict.reason}; {claim.reason}"
        return replace(claim, evidence=Evidence.TESTED, reason=reason)
    return claim


def _or_inherited(divergence: Divergence, claims: tuple[Claim, ...], seconds: float) -> tuple[Claim, ...]:
    """Give what a sum's own proof does not show the evidence of its parts, if the time that is left suffices."""
    try:
        return within(max(seconds, _LEAST), lambda: inheritance.inherit(divergence, claims))
    except MemoryError:
        raise
    except (OutOfTime, Exception):  # whatever SymPy raises of a term, the sum has then nothing from it
        return claims


def _kept(divergence: Divergence, claims: tuple[Claim, ...], data: Any) -> Certificate | None:
    """Return the stored certificate with today's foundations; None where it is another's or the kernel differs."""
    try:
        found = Certificate.from_dict(data)
        stated = witness.expression(divergence.generator)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    expected = [(judge.name, judge.required) for judge in _FOUNDATIONS + _CONSEQUENCES]
    if [(claim.name, claim.required) for claim in found.claims] != expected:
        return None
    if any(claim.evidence is Evidence.INHERITED for claim in found.claims):  # the parts are not kept
        return None
    weighed = _weighed(claims + found.claims[len(claims) :], found.statement)
    fresh = _certificate(divergence, weighed, found.gaussian, found.statement)
    if weighed[len(claims) :] != found.claims[len(claims) :] or found.statement.get("generator") != stated:
        return None
    return fresh if (fresh.spec, fresh.fingerprint) == (found.spec, found.fingerprint) else None


def _certificate(
    divergence: Divergence, claims: tuple[Claim, ...], gaussian: str, statement: Mapping[str, Any]
) -> Certificate:
    fingerprint, generator = store.fingerprint(divergence.generator), str(divergence.generator)
    return Certificate(divergence.spec, generator, fingerprint, claims, gaussian, store.versions(), statement)


def require(divergence: Divergence, *names: str) -> None:
    """Raise `Refused`, with the first objection and its counterexample, unless certified; TypeError as `certify` does.

    The claims with these `names`, which a divergence may lack, must be settled too.
    """
    certificate = certify(divergence)
    if not certificate.accepted:
        claim = certificate.objections[0]
        shown = "" if claim.counterexample is None else f"; {claim.counterexample}"
        why = f"{claim.name}: {claim.evidence}: {claim.reason}{shown}{certificate._limit}"
        raise Refused(f"{divergence.spec} is refused: {why}")
    for claim in map(certificate.claim, names):
        if not claim.evidence.settled:
            limit = "; this is a limit of time or of this software, not of the divergence" if claim.open else ""
            raise Refused(f"{divergence.spec} has no such loss: {claim.name}: {claim.reason}{limit}")


def _judged(
    divergence: Divergence, judges: tuple[Judge, ...], earlier: tuple[Claim, ...], seconds: float
) -> tuple[Claim, ...]:
    """Return the earlier claims and those of `judges`, up to the first that would admit the divergence and fails."""
    claims = list(earlier)

    def gather() -> None:
        for judge in judges:
            claims.append(_claim(judge, divergence, {claim.name: claim.evidence for claim in claims}))
            if judge.admits and not claims[-1].holds:
                return

    try:
        within(seconds, gather)
    except OutOfTime as end:
        spent = f"{MOST_GROWTH} MiB of memory" if isinstance(end, OutOfMemory) else f"{_SECONDS:g} s of processor time"
        reached = {claim.name for claim in claims}
        for judge in [judge for judge in judges if judge.name not in reached]:
            claims.append(_named(judge, left_open(f"the last guard, {spent}, ended the work")))
            if judge.admits:
                break
    return tuple(claims)


def _claim(judge: Judge, divergence: Divergence, settled: consequences.Settled) -> Claim:
    try:
        return _named(judge, judge.judge(divergence, settled))
    except MemoryError:  # says nothing about the divergence
        raise
    except Exception as error:  # SymPy raises all kinds where it cannot go on; the claim is then open
        why = " ".join(f"{error}".split())[:300] or type(error).__name__
        return _named(judge, Finding(Evidence.NOT_APPLICABLE, f"not derived: {why}", open=True))


def _named(judge: Judge, finding: Finding) -> Claim:
    return Claim(judge.name, finding.evidence, finding.reason, judge.required, finding.counterexample, finding.open)


def _kind(divergence: Divergence, claims: tuple[Claim, ...]) -> str:
    """Return the kind of D(s); "unknown" where the claim about it was left open, and D(s) may not be derived yet."""
    known = any(claim.name == "D(s)" and not claim.open for claim in claims)
    return str(divergence.gaussian.kind) if known else "unknown"
