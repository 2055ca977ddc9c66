"""Semantic mutants: what published code got wrong, done to every divergence of the catalogue by a list of operators.

An operator changes one claim of `Claims`, a plain function or number, or the generator of the record. `verdict` puts
the mutant before the laws and names the first that fails. A mutant that no law can tell from the original must be
equal to it by a theorem: `EQUIVALENT` names the theorem, and its hypothesis is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import sympy

import fdiv
from fdiv.exact.symbols import u
from tests.laws.strategies import EXAMPLES
from theory.laws import gaussians, general
from theory.laws.claims import Claims, Law, claims
from theory.laws.general import LOGS
from theory.laws.generators import Oracle

SPECS = [*EXAMPLES, "alpha:a=0", "alpha:a=1", "alpha:a=3", "alpha:a=-1.5", "vajda:k=1.5"]
LAWS = (*general.LAWS, *gaussians.LAWS)


@dataclass(frozen=True)
class Operator:
    """One kind of fault: what it does to the claims about one thing, or None where it cannot be made."""

    name: str
    about: str
    mutate: Callable[[Claims], Claims | None]

    @property
    def judges(self) -> tuple[Law, ...]:
        """The laws that must see it."""
        return tuple(law for law in LAWS if self.about in law.about)


def _of(field: str, change: Callable[[Any, Claims], Any]) -> Callable[[Claims], Claims | None]:
    def mutate(c: Claims) -> Claims | None:
        found = change(getattr(c, field), c)
        return None if found is None else c.but(**{field: found})

    return mutate


def _itself(change: Callable[[Claims], Claims | None]) -> Callable[[Claims], Claims | None]:
    return change


def _record(change: Callable[[sympy.Expr, Claims], sympy.Expr | None]) -> Callable[[Claims], Claims | None]:
    def mutate(c: Claims) -> Claims | None:
        found = change(c.oracle.expression, c)
        return None if found is None else c.but(oracle=Oracle(found, c.oracle.breaks))

    return mutate


def _parameters(change: Callable[[float], float]) -> Callable[[Claims], Claims | None]:
    """The family at another value of its first parameter."""

    def mutate(c: Claims) -> Claims | None:
        found = c.divergence
        if not found.parameters:
            return None
        symbol = next(x for x in found.record.generator.free_symbols if x.name == found.record.parameters[0].name)
        value = sympy.Float(change(found.values[0][1]), 40)
        generator = found.record.generator.subs(symbol, value)
        if generator.has(sympy.nan, sympy.zoo, sympy.oo):
            return None
        return c.but(oracle=Oracle(generator, c.oracle.breaks))

    return mutate


def _half(x: float) -> float:
    return float(np.float16(np.clip(x, -65504, 65504)))


def _finite(x: float, then: Any) -> Any:
    return then if math.isfinite(x) else None


_GENERATORS = {
    "constant added": lambda f, c: f + sympy.Rational(1, 10),
    "scaled by two": lambda f, c: 2 * f,
    "scaled by a half": lambda f, c: f / 2,
    "in bits": lambda f, c: f / sympy.log(2),
    "scaled by log 2": lambda f, c: f * sympy.log(2),
    "sign changed": lambda f, c: -f,
    "adjoint instead": lambda f, c: u * f.subs(u, 1 / u),
    "affine term added": lambda f, c: f + (u - 1) / 3,
    "u - 1 dropped for u": lambda f, c: f + u / 3,
    "log1p for log": lambda f, c: f.replace(sympy.log, lambda x: sympy.log(1 + x)) if f.has(sympy.log) else None,
    "sqrt for u": lambda f, c: f.subs(u, sympy.sqrt(u)),
    "an eps in u": lambda f, c: f.subs(u, u + sympy.Rational(1, 1000)),
}
_CONJUGATES: dict[str, Callable[[Any, Claims], Any]] = {
    "branch below f'(0+) dropped": lambda g, c: _finite(
        c.slope_at_zero, lambda t: g(t) if t > c.slope_at_zero else g(c.slope_at_zero) + t - c.slope_at_zero
    ),
    "+inf below f'(0+)": lambda g, c: _finite(c.slope_at_zero, lambda t: g(t) if t >= c.slope_at_zero else math.inf),
    "f(0) of the wrong sign": lambda g, c: (
        (lambda t: g(t) if t > c.slope_at_zero else c.value_at_zero)
        if math.isfinite(c.slope_at_zero) and c.value_at_zero
        else None
    ),
    "f(0+) for f'(inf) as the end": lambda g, c: (
        (lambda t: g(t) if t <= c.value_at_zero else math.inf) if c.value_at_zero < c.slope_at_infinity else None
    ),
    "closed end opened": lambda g, c: (lambda t: g(t) if t < c.slope_at_infinity else math.inf) if c.closed else None,
    "open end closed": lambda g, c: (
        None
        if c.closed or math.isinf(c.slope_at_infinity)
        else lambda t: g(t) if t != c.slope_at_infinity else g(t - 1e-9)
    ),
    "continued beyond the domain": lambda g, c: _finite(
        c.slope_at_infinity, lambda t: g(min(t, c.slope_at_infinity - 1e-6))
    ),
    "domain too narrow": lambda g, c: lambda t: g(t) if t < min(c.slope_at_infinity, 3.0) - 0.6 else math.inf,
    "t shifted": lambda g, c: lambda t: g(t - 0.1),
    "a constant added": lambda g, c: lambda t: g(t) + 1,
    "an eps": lambda g, c: lambda t: g(t) + 1e-5,
    "scaled outside alone": lambda g, c: lambda t: 2 * g(t),
    "scaled inside alone": lambda g, c: lambda t: g(2 * t),
    "in bits": lambda g, c: lambda t: g(t) / math.log(2),
    "sign changed": lambda g, c: lambda t: -g(t),
    "half precision": lambda g, c: lambda t: _half(g(t)) if math.isfinite(g(t)) else g(t),
    "exp - 1 for exp": lambda g, c: lambda t: g(t) - 1,
    "the line through f*(0)": lambda g, c: lambda t: t if t < c.slope_at_infinity else math.inf,
    "NaN where it is infinite": lambda g, c: _finite(c.slope_at_infinity, lambda t: g(t) if g(t) < 1e300 else math.nan),
}
_GAUSSIANS: dict[str, Callable[[Any, Claims], Any]] = {
    "s/2 for s": lambda d, c: lambda s: d(s / 2),
    "s/4 for s": lambda d, c: lambda s: d(s / 4),
    "2s for s": lambda d, c: lambda s: d(2 * s),
    "sigma for sigma squared": lambda d, c: lambda s: d(math.sqrt(s)),
    "the constant dropped": lambda d, c: lambda s: d(s) + 1,
    "mean for sum": lambda d, c: lambda s: d(s) / 3,
    "sum over both orders": lambda d, c: lambda s: 2 * d(s),
    "in bits": lambda d, c: lambda s: d(s) / math.log(2),
    "log(1 + D) for D": lambda d, c: lambda s: math.log1p(d(s)),
    "exp(D) - 1 for D": lambda d, c: lambda s: math.expm1(min(d(s), 700)),
    "sign changed": lambda d, c: lambda s: -d(s),
    "half precision": lambda d, c: lambda s: _half(d(s)),
    "an eps": lambda d, c: lambda s: d(s) + 1e-6,
    "the limit at zero for D": lambda d, c: lambda s: c.weight(1e-9) * s,
    "1 - exp(-D) for D": lambda d, c: lambda s: -math.expm1(-d(s)),
    "s w(s) for D": lambda d, c: lambda s: s * c.weight(s),
}
_WEIGHTS: dict[str, Callable[[Any, Claims], Any]] = {
    "in d, not in s": lambda w, c: lambda s: 2 * math.sqrt(s) * w(s),
    "D/s for dD/ds": lambda w, c: lambda s: c.gaussian(s) / s,
    "sign changed": lambda w, c: lambda s: -w(s),
    "halved": lambda w, c: lambda s: w(s) / 2,
    "at s/2": lambda w, c: lambda s: w(s / 2),
    "detached": lambda w, c: lambda s: 0.0,
    "half precision": lambda w, c: lambda s: _half(w(s)),
    "kink mass dropped": lambda w, c: (lambda s: w(s) - _kink_mass(c, s)) if c.kinks else None,
}
_LIMITED: dict[str, Callable[[Claims], Claims | None]] = {
    "f(0+) and f'(inf) exchanged": lambda c: c.but(
        value_at_zero=c.slope_at_infinity, slope_at_infinity=c.value_at_zero
    ),
    "atoms with q = 0 dropped": lambda c: c.but(slope_at_infinity=0.0),
    "atoms with p = 0 dropped": lambda c: c.but(value_at_zero=0.0),
    "f'(0+) forgotten": lambda c: c.but(slope_at_zero=-math.inf),
    "an infinite limit clipped": lambda c: c.but(
        value_at_zero=min(c.value_at_zero, 1e4), slope_at_infinity=min(c.slope_at_infinity, 1e4)
    ),
}
_CRITICS: dict[str, Callable[[Claims], Claims | None]] = {
    "T decreasing": lambda c: c.but(output=lambda x: c.output(-x)),
    "T outside the domain": lambda c: (
        c.but(output=lambda x: c.output(x) + 1) if math.isfinite(c.slope_at_infinity) else None
    ),
    "T too narrow": lambda c: c.but(output=lambda x: c.output(x / 2), term=lambda x: c.term(x / 2)),
    "T of a shifted ratio": lambda c: c.but(output=lambda x: c.output(x + 0.1), term=lambda x: c.term(x + 0.1)),
    "T of the adjoint": lambda c: c.but(output=lambda x: -c.output(-x)),
    "an eps in f*(T)": lambda c: c.but(term=lambda x: c.term(x) + 1e-5),
    "-1 dropped in f*(T)": lambda c: c.but(term=lambda x: c.term(x) + 1),
    "f for f*(T)": lambda c: c.but(term=c.oracle.value),
    "T for f*(T)": lambda c: c.but(term=c.output),
    "detached": lambda c: c.but(output_slope=lambda x: 0.0),
    "f*(T) detached": lambda c: c.but(term_slope=lambda x: 0.0),
    "slope in u, not in v": lambda c: c.but(output_slope=lambda x: c.output_slope(x) * math.exp(-x)),
    "slope of T for f*(T)": lambda c: c.but(term_slope=c.output_slope),
    "half precision": lambda c: c.but(output=lambda x: _half(c.output(x)), term=lambda x: _half(c.term(x))),
}
_ADJOINTS: dict[str, Callable[[Claims], Claims | None]] = {
    "f for its adjoint": lambda c: c.but(adjoint=c.oracle.value),
    "f(1/u), u dropped": lambda c: c.but(adjoint=lambda x: c.oracle.value(-x)),
    "limits not exchanged": lambda c: c.but(adjoint_limits=c.adjoint_limits[::-1]),
    "twice the adjoint is the adjoint": lambda c: c.but(twice_adjoint=c.adjoint),
}


def _kink_mass(c: Claims, s: float) -> float:
    z = {k: (math.log(float(k)) + s / 2) / math.sqrt(s) for k in c.kinks}
    masses = (float(k) * c.oracle.jump(k) * math.exp(-(z[k] ** 2) / 2) for k in c.kinks)
    return sum(masses) / math.sqrt(2 * math.pi * s) / 2


def _group(about: str, prefix: str, changes: dict[str, Any], wrap: Callable[[Any], Any]) -> list[Operator]:
    return [Operator(f"{prefix}: {name}", about, wrap(change)) for name, change in changes.items()]


_FAMILIES = {
    "a parameter for one minus it": lambda x: 1 - x,
    "the number pi for a parameter": lambda x: math.pi,
    "a parameter a tenth off": lambda x: x + 0.1,
    "a parameter negated": lambda x: -x,
}
OPERATORS = {
    operator.name: operator
    for operator in (
        *_group("generator", "generator", _GENERATORS, _record),
        *_group("generator", "generator", _FAMILIES, _parameters),
        *_group("limits", "limits", _LIMITED, _itself),
        *_group("conjugate", "conjugate", _CONJUGATES, partial(_of, "conjugate")),
        *_group("adjoint", "adjoint", _ADJOINTS, _itself),
        *_group("gaussian", "D(s)", _GAUSSIANS, partial(_of, "gaussian")),
        *_group("weight", "w(s)", _WEIGHTS, partial(_of, "weight")),
        *_group("critic", "critic", _CRITICS, _itself),
    )
}


def killer(c: Claims, judges: tuple[Law, ...]) -> str:
    """Return the name of the first law that fails; empty where all hold."""
    for law in judges:
        try:
            if not all(comparison.holds for comparison in law.everywhere(c)):
                return law.name
        except (TypeError, ValueError, ArithmeticError):  # a complex or undefined value
            return law.name
    return ""


@cache
def verdict(operator: str, spec: str) -> str | None:
    """Return the law that killed the mutant, an empty string for a survivor, None where there is no such mutant."""
    chosen, original = OPERATORS[operator], claims(fdiv.divergence(spec))
    mutant = chosen.mutate(original)
    return None if mutant in (None, original) else killer(mutant, chosen.judges)


def _self_adjoint(c: Claims) -> bool:
    """Whether u f(1/u) - f(u) is a multiple of u - 1."""
    ratios = [(c.adjoint(x) - c.oracle.value(x)) / math.expm1(x) for x in LOGS]
    return max(ratios) - min(ratios) <= 1e-9 * (1 + abs(ratios[0]))


def _exactly_self_adjoint(c: Claims) -> bool:
    return all(math.isclose(c.adjoint(x), c.oracle.value(x), rel_tol=1e-9) for x in LOGS)


def _constant_weight(c: Claims) -> bool:
    return c.weight(0.3) == c.weight(2.0) == _half(c.weight(2.0))


def _odd_activation(c: Claims) -> bool:
    return all(math.isclose(c.output(x), -c.output(-x), abs_tol=1e-12) for x in LOGS)


def _fixed_by_the_conjugate(c: Claims) -> bool:
    return all(math.isclose(c.output(x), c.term(x), abs_tol=1e-12) for x in LOGS)


_LINEAR = ("D is linear in s: its weight is one number, which half precision holds", _constant_weight)
_SAME = ("f is its own adjoint", _exactly_self_adjoint)
_FIXED = ("f*(t) = t on the whole domain", _fixed_by_the_conjugate)
EQUIVALENT: dict[str, tuple[str, Callable[[Claims], bool]]] = {
    "generator: affine term added": ("E_Q[u - 1] = 0, so a(u - 1) drops out of D", lambda c: True),
    "generator: adjoint instead": ("f is its own adjoint up to a(u - 1)", _self_adjoint),
    "adjoint: f for its adjoint": _SAME,
    "adjoint: twice the adjoint is the adjoint": _SAME,
    "D(s): the limit at zero for D": _LINEAR,
    "D(s): s w(s) for D": _LINEAR,
    "w(s): D/s for dD/ds": _LINEAR,
    "w(s): at s/2": _LINEAR,
    "w(s): half precision": _LINEAR,
    "critic: T of the adjoint": ("T is odd", _odd_activation),
    "critic: T for f*(T)": _FIXED,
    "critic: slope of T for f*(T)": _FIXED,
}


def equivalent(operator: str, spec: str) -> str:
    """Return the theorem by which the mutant equals the original, empty where none does."""
    theorem, holds = EQUIVALENT.get(operator, ("", lambda c: False))
    return theorem if holds(claims(fdiv.divergence(spec))) else ""


def report() -> str:
    """One row an operator, for docs/mutation.md."""
    rows = ["| operator | mutants | killed | equivalent | killed by |", "|-|-|-|-|-|"]
    total = [0, 0, 0]
    for name in OPERATORS:
        found = {spec: verdict(name, spec) for spec in SPECS}
        made = [law for law in found.values() if law is not None]
        killers = sorted({law for law in made if law}, key=lambda law: (-made.count(law), law))
        same = sum(bool(equivalent(name, spec)) for spec, law in found.items() if law is not None)
        counts = [len(made), sum(map(bool, made)), same]
        total = [a + b for a, b in zip(total, counts, strict=True)]
        rows.append(f"| {name} | {' | '.join(map(str, counts))} | {', '.join(killers)} |")
    return "\n".join([*rows, f"| **all** | {' | '.join(map(str, total))} | |"])
