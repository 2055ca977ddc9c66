"""The gate: `certify` gathers evidence for the claims about a divergence; `require` refuses without it.

A claim is *proved* by an exact argument, *tested* by an oracle that shares no code with the derivation
(SymPy's own lambdify, a brute supremum, plain quadrature), or *refuted* with a counterexample. A
required claim that is refuted, or could not be settled at all, means that the divergence has no loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import sympy

from fdiv import oracles
from fdiv.calculus import DerivationError, factored, normal, s, t, u
from fdiv.divergence import Divergence
from fdiv.signs import Counterexample, Evidence, Finding, is_finite, keeps_sign

_SETTLED = (Evidence.PROVED, Evidence.CERTIFIED, Evidence.TESTED)


class Refused(ValueError):  # noqa: N818  (it reads as the verdict that it is)
    """The mathematics forbids what was asked; the message shows the counterexample."""


@dataclass(frozen=True)
class Claim:
    """One statement about a divergence, with its evidence and the reason for it."""

    name: str
    evidence: Evidence
    reason: str
    required: bool = True
    counterexample: Counterexample | None = None

    @property
    def holds(self) -> bool:
        """Whether the claim does not stand in the way of a loss."""
        return self.evidence in _SETTLED or (not self.required and self.evidence is not Evidence.REFUTED)

    def to_dict(self) -> dict[str, Any]:
        """Return the claim as JSON-able data."""
        shown = self.counterexample
        example = None if shown is None else {"u": shown.point, "quantity": shown.quantity, "value": _json(shown.value)}
        return {
            "name": self.name,
            "evidence": str(self.evidence),
            "reason": self.reason,
            "required": self.required,
            "counterexample": example,
        }


@dataclass(frozen=True)
class Certificate:
    """All claims about one divergence."""

    spec: str
    generator: str
    claims: tuple[Claim, ...]

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
        verdict = "accepted" if self.accepted else "refused"
        claims = [claim.to_dict() for claim in self.claims]
        return {"divergence": self.spec, "generator": self.generator, "verdict": verdict, "claims": claims}

    def __str__(self) -> str:
        """Return a table for people, with counterexamples under the claims they refute."""
        width = max(len(claim.name) for claim in self.claims)
        lines = [f"{self.spec}: f(u) = {self.generator}", ""]
        for claim in self.claims:
            lines.append(f"  {claim.name:<{width}}  {claim.evidence:<14}  {claim.reason}")
            if claim.counterexample is not None:
                lines.append(f"  {'':<{width}}  {'':<14}  {claim.counterexample}")
        return "\n".join([*lines, "", "accepted" if self.accepted else "refused"])


def _json(value: float) -> float | str:
    return value if abs(value) < float("inf") else str(value)


@cache
def certify(divergence: Divergence) -> Certificate:
    """Gather the evidence; later claims are left out when an earlier one, on which they rest, fails."""
    claims: list[Claim] = []
    for name, judge in _FOUNDATIONS:
        claims.append(_judged(name, judge, divergence))
        if not claims[-1].holds:
            return Certificate(divergence.spec, str(divergence.generator), tuple(claims))
    claims += [_judged(name, judge, divergence) for name, judge in _CONSEQUENCES]
    return Certificate(divergence.spec, str(divergence.generator), tuple(claims))


def require(divergence: Divergence) -> None:
    """Raise `Refused`, with the first objection and its counterexample, unless certified."""
    certificate = certify(divergence)
    if not certificate.accepted:
        claim = certificate.objections[0]
        shown = "" if claim.counterexample is None else f"; {claim.counterexample}"
        raise Refused(f"{divergence.spec} is refused: {claim.name}: {claim.evidence}: {claim.reason}{shown}")


# what SymPy raises where it cannot go on; the claim is then open, and a required one refuses
_UNDERIVED = (DerivationError, ArithmeticError, NotImplementedError, TypeError, ValueError, sympy.PolynomialError)
Judge = Callable[[Divergence], Finding]


def _judged(name: str, judge: Judge, divergence: Divergence) -> Claim:
    try:
        finding = judge(divergence)
    except _UNDERIVED as error:
        finding = Finding(Evidence.NOT_APPLICABLE, f"not derived: {error}")
    required = name not in _OPTIONAL
    return Claim(name, finding.evidence, finding.reason, required, finding.counterexample)


def _vanishes_at_one(divergence: Divergence) -> Finding:
    value = sympy.simplify(divergence.generator.subs(u, 1))
    if value == 0:
        return Finding(Evidence.PROVED, "by substitution")
    number = float(value) if value.is_real and value.is_finite else float("nan")
    return Finding(Evidence.REFUTED, f"f(1) = {value}, not 0", Counterexample(1.0, "f(u)", number))


def _weakest(findings: list[Finding]) -> Finding:
    order = list(Evidence)
    return max(findings, key=lambda finding: order.index(finding.evidence))


def _finite(divergence: Divergence) -> Finding:
    return _weakest([is_finite(piece) for piece in divergence.pieces])


def _convex(divergence: Divergence) -> Finding:
    """Convex on each piece, continuous, and with a slope that never jumps down."""
    findings = [keeps_sign(piece.second, piece, "f''(u)") for piece in divergence.pieces]
    for left, right in pairwise(divergence.pieces):
        place = left.upper
        step = sympy.simplify(right.limit(right.expression, place) - left.limit(left.expression, place))
        jump = sympy.simplify(right.limit(right.slope, place) - left.limit(left.slope, place))
        if step != 0:
            shown = Counterexample(float(place), "jump of f", float(step))
            findings.append(Finding(Evidence.REFUTED, f"f is not continuous at u = {place}", shown))
        elif not jump >= 0:
            shown = Counterexample(float(place), "jump of f'", float(jump))
            findings.append(Finding(Evidence.REFUTED, f"the slope jumps down at u = {place}", shown))
    return _weakest(findings)


def _conjugate_identity(divergence: Divergence) -> Finding:
    """f*(f'(u)) = u f'(u) - f(u): with the slope range it proves f* on the interior, however it was found."""
    pieces = [piece for piece in divergence.conjugate.pieces if piece.source is not None]
    if any(piece.expression is None for piece in pieces):
        return Finding(Evidence.TESTED, "f* is a numeric inverse of f' with an asserted residual")
    for piece in pieces:
        assert piece.source is not None
        assert piece.expression is not None
        slope = sympy.together(piece.source.slope) if piece.source.slope.is_rational_function(u) else piece.source.slope
        if not _is_identity(piece.expression.subs(t, slope) - (u * slope - piece.source.expression)):
            return Finding(Evidence.TESTED, "f*(f'(u)) = u f'(u) - f(u) was not simplified to an identity")
    return Finding(Evidence.PROVED, "f*(f'(u)) = u f'(u) - f(u) identically, and f' is monotone")


def _is_identity(residual: sympy.Expr) -> bool:
    """Whether the residual is identically zero for u > 0, by exact rules only."""
    residual = residual.replace(sympy.exp, lambda x: sympy.powsimp(sympy.exp(sympy.expand(x)).expand(power_exp=True)))
    residual = residual.replace(sympy.LambertW, _lambert_of_product)
    residual = residual.replace(sympy.Pow, lambda base, power: factored(base) ** power)
    residual = sympy.powdenest(sympy.expand_log(residual.replace(sympy.log, _log_of_factored), force=False))
    return bool(normal(residual) == 0 or sympy.simplify(residual) == 0)


def _log_of_factored(argument: sympy.Expr) -> sympy.Expr:
    return sympy.log(factored(argument))


def _lambert_of_product(z: sympy.Expr, branch: sympy.Expr = sympy.S.Zero) -> sympy.Expr:
    """W(y e^y) = y, on branch 0 where y >= -1 and on branch -1 where y <= -1."""
    factored = sympy.factor(sympy.powsimp(sympy.expand_power_exp(z)))
    for factor in sympy.Mul.make_args(factored):
        if isinstance(factor, sympy.exp):
            rest = sympy.cancel(factored / factor)
            constant = sympy.simplify(rest - factor.args[0])
            y = rest if constant == 0 else _shifted(rest, factor.args[0])
            if y is not None and _on_branch(y, branch):
                return y
    return sympy.LambertW(z, branch)


def _shifted(rest: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr | None:
    """Return y = c rest with y = exponent - log c, if there is such a constant c."""
    scale = sympy.cancel(sympy.diff(exponent, u) / sympy.diff(rest, u)) if rest.has(u) else sympy.S.Zero
    if scale.has(u) or not scale.is_positive:
        return None
    y = sympy.cancel(scale * rest)
    return y if sympy.simplify(exponent - sympy.log(scale) - y) == 0 else None


def _on_branch(y: sympy.Expr, branch: sympy.Expr) -> bool:
    margin = sympy.factor(sympy.together(y + 1))
    return bool(margin.is_nonnegative if branch == 0 else margin.is_nonpositive)


def _adjoint(divergence: Divergence) -> Finding:
    """The adjoint of the adjoint is f, and it exchanges f(0+) with f'(inf)."""
    once = divergence.adjoint
    swapped = (once.value_at_zero, once.slope_at_infinity) == (
        divergence.slope_at_infinity,
        divergence.value_at_zero,
    )
    swapped = swapped or _same_limits(divergence, once)
    pairs = zip(once.adjoint.pieces, divergence.pieces, strict=True)
    involution = all(normal(a.expression - b.expression) == 0 for a, b in pairs)
    if swapped and involution:
        return Finding(Evidence.PROVED, "an involution that exchanges f(0+) and f'(inf)")
    return Finding(Evidence.NOT_APPLICABLE, "the involution u f(1/u) was not simplified to f")


def _same_limits(divergence: Divergence, once: Divergence) -> bool:
    differences = (
        once.value_at_zero - divergence.slope_at_infinity,
        once.slope_at_infinity - divergence.value_at_zero,
    )
    return all(sympy.simplify(difference) == 0 for difference in differences)


def _gaussian_value(divergence: Divergence) -> Finding:
    if not divergence.gaussian.evaluable:
        return Finding(Evidence.NOT_APPLICABLE, divergence.gaussian.reason)
    return oracles.compare_gaussian(divergence)


def _gaussian_weight(divergence: Divergence) -> Finding:
    """w = dD/ds by differences of the oracle's D; w >= 0 rests on convexity through w = E_Q[u^2 f'']/2."""
    if not divergence.gaussian.evaluable:
        return Finding(Evidence.NOT_APPLICABLE, divergence.gaussian.reason)
    return oracles.compare_gradient_weight(divergence)


def _mean_squared_error(divergence: Divergence) -> Finding:
    curvature, gaussian = divergence.curvature, divergence.gaussian
    if curvature is None:
        return Finding(Evidence.NOT_APPLICABLE, "f''(1) differs from the left and from the right")
    if not (curvature.is_finite and curvature > 0):
        return Finding(Evidence.NOT_APPLICABLE, f"the hypothesis 0 < f''(1) < inf fails: f''(1) = {curvature}")
    if not gaussian.evaluable:
        return Finding(Evidence.NOT_APPLICABLE, gaussian.reason)
    if gaussian.formula is not None:
        limit = sympy.limit(gaussian.formula / s, s, 0, "+")
        if sympy.simplify(limit - curvature / 2) == 0:
            return Finding(Evidence.PROVED, f"0 < f''(1) = {curvature} < inf, and lim D(s)/s = f''(1)/2")
        return Finding(Evidence.REFUTED, f"lim D(s)/s = {limit}, not f''(1)/2 = {curvature / 2}")
    slope = gaussian(1e-9) / 1e-9
    if abs(slope - float(curvature) / 2) <= 1e-7 * float(curvature):
        return Finding(Evidence.TESTED, f"0 < f''(1) = {curvature} < inf, and D(s)/s = f''(1)/2 at s = 1e-9")
    return Finding(Evidence.REFUTED, f"D(s)/s = {slope} at s = 1e-9, not f''(1)/2 = {curvature / 2}")


_FOUNDATIONS: tuple[tuple[str, Judge], ...] = (
    ("f(1) = 0", _vanishes_at_one),
    ("finite on (0, inf)", _finite),
    ("convexity", _convex),
)
_CONSEQUENCES: tuple[tuple[str, Judge], ...] = (
    ("conjugate", _conjugate_identity),
    ("conjugate on the whole line", oracles.compare_conjugate),
    ("adjoint", _adjoint),
    ("activation", oracles.compare_activation),
    ("D(s)", _gaussian_value),
    ("w(s) = dD/ds >= 0", _gaussian_weight),
    ("reduction to MSE", _mean_squared_error),
)
# a valid divergence may lack these: no finite Gaussian value, no activation at a kink, no curvature at 1
_OPTIONAL = ("activation", "D(s)", "w(s) = dD/ds >= 0", "reduction to MSE", "adjoint")
