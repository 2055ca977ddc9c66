"""Two frozen records: a catalogue `Record` (data), and a bound `Divergence` that derives all else from it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import sympy
from sympy import Expr

from fdiv.balls.zeros import Crossing
from fdiv.derive import calculus
from fdiv.derive.calculus import Piece, u
from fdiv.exact.domain import Parameter

if TYPE_CHECKING:
    from fdiv.derive.activation import Activation
    from fdiv.derive.conjugate import Conjugate
    from fdiv.derive.gaussian import Gaussian


class UnknownDivergence(ValueError):  # noqa: N818  (named as the fault, like ParameterError)
    """No divergence of that name is in the catalogue."""


class ParameterError(ValueError):
    """A parameter is unknown, missing, not a number, or outside its domain."""


@dataclass(frozen=True)
class Record:
    """A row of the catalogue: nothing but data.

    The generator f is a SymPy expression in `calculus.u` and the symbols named by `parameters`; it is
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
                raise ParameterError(f"{self.name} needs {parameter}, for example {self.name}:{parameter.name}=0.5")
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


@dataclass(frozen=True)
class Divergence:
    """A record with its parameters bound; every property below is derived from the generator alone, once."""

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
        exact = {sympy.Symbol(name, real=True): sympy.Rational(repr(value)) for name, value in self.values}
        generator = self.record.generator.subs(exact)
        if generator.has(sympy.nan, sympy.zoo, sympy.oo):
            return calculus.limit_generator(self.record.generator, exact)
        return generator

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The smooth pieces of f, in increasing order of u."""
        return calculus.pieces(self.generator)

    def value_at(self, place: Expr) -> Expr:
        """f at a place between two pieces; where two branches of a Max cross, the value that both have."""
        if isinstance(place, Crossing):  # SymPy would compare the two, which are equal, in ever more digits
            left = next(piece for piece in self.pieces if piece.upper == place)
            return left.limit(left.expression, place)
        return self.generator.subs(u, place)

    @cached_property
    def kinks(self) -> tuple[tuple[Expr, Expr], ...]:
        """(place, jump of the slope) where two pieces meet and the slope jumps."""
        pairs = zip(self.pieces, self.pieces[1:], strict=False)
        jumps = ((a.upper, b.limit(b.slope, b.lower) - a.limit(a.slope, a.upper)) for a, b in pairs)
        return tuple((place, sympy.simplify(jump)) for place, jump in jumps if sympy.simplify(jump) != 0)

    @cached_property
    def value_at_zero(self) -> Expr:
        """f(0+), possibly infinite."""
        first = self.pieces[0]
        return first.limit(first.expression, first.lower)

    @cached_property
    def slope_at_zero(self) -> Expr:
        """f'(0+), possibly -infinite: below it the conjugate is the constant -f(0+)."""
        first = self.pieces[0]
        return first.limit(first.slope, first.lower)

    @cached_property
    def slope_at_infinity(self) -> Expr:
        """f'(inf) = lim f(u)/u, possibly infinite: where the conjugate becomes infinite."""
        last = self.pieces[-1]
        return last.limit(last.slope, last.upper)

    @cached_property
    def curvatures(self) -> tuple[Expr, Expr]:
        """f''(1-) and f''(1+); both infinite at a kink."""
        if any(place == 1 for place, _ in self.kinks):
            return sympy.oo, sympy.oo
        ends = [sympy.simplify(p.limit(p.second, sympy.S.One)) for p in self._around_one]
        return ends[0], ends[-1]

    @property
    def curvature(self) -> Expr | None:
        """f''(1); infinite at a kink, None where the two one-sided values differ."""
        left, right = self.curvatures
        return left if left == right else None

    @property
    def _around_one(self) -> list[Piece]:
        return [piece for piece in self.pieces if piece.lower <= 1 <= piece.upper]

    @cached_property
    def slope_at_one(self) -> Expr:
        """A subgradient of f at 1: the slope from the right."""
        piece = self._around_one[-1]
        return piece.limit(piece.slope, sympy.S.One)

    @cached_property
    def adjoint(self) -> Divergence:
        """The divergence of u f(1/u): P and Q exchanged."""
        record = Record(
            f"adjoint_{self.name}",
            f"adjoint of {self.title}",
            calculus.adjoint(self.generator),
            self.reference,
        )
        return Divergence(record)

    @cached_property
    def conjugate(self) -> Conjugate:
        """f*(t) = sup over u >= 0 of u t - f(u), on the whole line."""
        from fdiv.derive.conjugate import derive_conjugate

        return derive_conjugate(self)

    @cached_property
    def gaussian(self) -> Gaussian:
        """D(s) and w(s) = dD/ds between Gaussians of one covariance."""
        from fdiv.derive.gaussian import derive_gaussian

        return derive_gaussian(self)

    @cached_property
    def activation(self) -> Activation:
        """The canonical output activation T(v) = f'(e^v) and f*(T(v))."""
        from fdiv.derive.activation import derive_activation

        return derive_activation(self)


def _shortest(value: float) -> str:
    return re.sub(r"\.0$", "", repr(value))


def custom(generator: Expr, name: str = "custom") -> Divergence:
    """Return a divergence of a generator that is in no catalogue; nothing is checked until `fdiv.certify`."""
    if generator.free_symbols - {u}:
        extra = ", ".join(sorted(str(symbol) for symbol in generator.free_symbols - {u}))
        raise ValueError(f"a generator is a function of u alone, got also {extra}")
    return Divergence(Record(name, name, generator, "given by the user"))
