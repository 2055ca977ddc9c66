"""Two frozen records: a catalogue `Record` (data), and a bound `Divergence` that derives all else from it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, final

import sympy
from sympy import Expr

from fdiv.between.given import Effort, between
from fdiv.between.perspective import Perspective
from fdiv.derive.activation import Activation, derive_activation
from fdiv.derive.conjugate import Conjugate, derive_conjugate
from fdiv.derive.gaussian import Gaussian, derive_gaussian
from fdiv.derive.generator import Generator
from fdiv.exact.domain import Parameter
from fdiv.exact.simplify import adjoint, limit_generator, on_one_base
from fdiv.exact.symbols import u


class UnknownDivergence(ValueError):  # noqa: N818  (named as the fault, like ParameterError)
    """No divergence of that name is in the catalogue."""


class ParameterError(ValueError):
    """A parameter is unknown, missing, not a number, or outside its domain."""


@dataclass(frozen=True)
class Record:
    """A row of the catalogue: nothing but data.

    The generator f is a SymPy expression in `u` and the symbols named by `parameters`; it is
    convex on (0, inf) with f(1) = 0, and D_f(P||Q) = E_Q[f(dP/dQ)].
    """

    name: str
    title: str
    generator: Expr
    reference: str
    parameters: tuple[Parameter, ...] = ()
    aliases: tuple[str, ...] = ()

    def bind(self, values: Mapping[str, object]) -> Divergence:
        """Give every parameter its value; raises ParameterError naming the value and the choices."""
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in values:
            if name not in known:
                takes = ", ".join(known) or "none"
                raise ParameterError(f"{self.name} has no parameter {name!r}; its parameters: {takes}")
        bound = []
        for parameter in self.parameters:
            if parameter.name not in values:
                example = self.bind({each.name: each.example for each in self.parameters})
                raise ParameterError(f"{self.name} needs {parameter}, for example {example.spec}")
            bound.append((parameter.name, _number(self.name, parameter, values[parameter.name])))
        return Divergence(self, tuple(bound))


def _number(name: str, parameter: Parameter, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ParameterError(f"{name}: {parameter.name}={value!r} is not a number") from None
    if not math.isfinite(number) or not parameter.contains(number):
        raise ParameterError(f"{name}: {parameter.name}={value} is outside {parameter}: {parameter.reason}")
    return number


@final
@dataclass(frozen=True)
class Divergence(Generator):
    """A record with its parameters bound; all but its names is derived from the generator alone, once."""

    record: Record
    values: tuple[tuple[str, float], ...] = ()

    @property
    def name(self) -> str:
        """The catalogue's name."""
        return self.record.name

    @property
    def title(self) -> str:
        """One line for people, which states the normalisation."""
        return self.record.title

    @property
    def reference(self) -> str:
        """Where the generator is published."""
        return self.record.reference

    @property
    def parameters(self) -> Mapping[str, float]:
        """The bound values by name."""
        return MappingProxyType(dict(self.values))

    @property
    def spec(self) -> str:
        """The canonical text that `fdiv.divergence` turns back into an equal divergence."""
        pairs = ",".join(f"{name}={_shortest(value)}" for name, value in self.values)
        return f"{self.name}:{pairs}" if pairs else self.name

    @cached_property
    def generator(self) -> Expr:
        """f as a SymPy expression in u, parameters replaced by exact rationals.

        Where the family's formula is 0/0 (alpha at 0 and 1), the limit of f - f'(1)(u-1), the same divergence.
        """
        numbers = {name: sympy.Rational(repr(value)) for name, value in self.values}
        symbols = self.record.generator.free_symbols - {u}
        exact = {symbol: numbers[symbol.name] for symbol in symbols if symbol.name in numbers}
        generator = _decimal(self.record.generator).subs(exact)
        if generator.has(sympy.nan, sympy.zoo, sympy.oo):
            return limit_generator(_decimal(self.record.generator), exact)
        return generator

    @cached_property
    def adjoint(self) -> Divergence:
        """The divergence of u f(1/u): P and Q exchanged."""
        record = Record(
            f"adjoint_{self.name}",
            f"adjoint of {self.title}",
            adjoint(self.generator),
            self.reference,
        )
        return Divergence(record)

    @property
    def reduces_to_mse(self) -> bool:
        """Whether 0 < f''(1) < inf: then D(s) is f''(1)/2 s for small s, a multiple of the squared error."""
        return self.curvature is not None and bool(self.curvature.is_finite and self.curvature > 0)

    @cached_property
    def perspective(self) -> Perspective:
        """(p, q) -> q f(p/q) for arrays."""
        return Perspective(self)

    def __call__(self, ratio: Any) -> Any:
        """f(u) at a number u >= 0, or elementwise at an array or tensor.

        At 0 and inf the limits; NaN for a negative u. Arrays are computed in fp64 and keep their dtype (fp32 for
        shorter ones), device and gradient, which at 0 and at inf is 0.
        """
        return self.perspective(ratio)

    def between(self, p: Any, q: Any, *, draws: int | None = None, neighbours: int | None = None, seed: int = 0) -> Any:
        """D_f(P||Q) in nats between two given distributions: see `fdiv.between.given.between` for what may be given.

        Nothing is certified here: ask `fdiv.require` first where the generator is your own.
        """
        return between(self, p, q, Effort(draws, neighbours, seed))

    @cached_property
    def conjugate(self) -> Conjugate:
        """f*(t) = sup over u >= 0 of u t - f(u), on the whole line."""
        return derive_conjugate(self)

    @cached_property
    def gaussian(self) -> Gaussian:
        """D(s) and w(s) = dD/ds between Gaussians of one covariance."""
        return derive_gaussian(self)

    @cached_property
    def activation(self) -> Activation:
        """The canonical output activation T(v) = f'(e^v) and f*(T(v))."""
        return derive_activation(self)


def _decimal(generator: Expr) -> Expr:
    """Read each double in a generator as the shortest decimal that it is the nearest double to: 0.1 is 1/10."""
    return generator.xreplace({number: sympy.Rational(repr(float(number))) for number in generator.atoms(sympy.Float)})


def _shortest(value: float) -> str:
    return re.sub(r"\.0$", "", repr(value))


def custom(generator: Expr, name: str = "custom") -> Divergence:
    """Return a divergence of a generator that is in no catalogue; nothing is checked until `fdiv.certify`."""
    if generator.free_symbols - {u}:
        extra = ", ".join(sorted(str(symbol) for symbol in generator.free_symbols - {u}))
        raise ValueError(f"a generator is a function of u alone, got also {extra}")
    return Divergence(Record(name, name, on_one_base(generator), "given by the user"))
