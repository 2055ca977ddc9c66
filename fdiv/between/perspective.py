"""q f(p/q) for arrays of atoms, with zeros, and f(u) for arrays of ratios: NumPy and torch, gradients too.

Conventions: 0 f(0/0) = 0, q f(0) where p = 0 < q, and p f'(inf) where q = 0 < p (Liese and Vajda 2006). Each atom is in
one of five cases, and a case is given no atom of another, so that no NaN reaches a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import sympy

from fdiv.between.tangent import FAR, Tangent, derive_tangent
from fdiv.derive.generator import Generator
from fdiv.exact.symbols import u, v
from fdiv.numeric.backends import Backend, Function, backend_of, elementwise, is_number, numpy_backend
from fdiv.numeric.lower import lower

_CHUNK = 1 << 16  # atoms at a time, which with their intermediate results stay in a cache
_FAR = 600.0  # log p - log q beyond which p or q is no longer a normal double beside the other
Rule = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class _Cases:
    """The functions of a tangent in one array library."""

    tangent: Tangent
    backend: Backend
    middle: Function
    left: Function
    right: Function
    near_zero: Function
    far: Function

    def terms(self, p: Any, q: Any) -> Any:
        """Return q h(p/q) >= 0 for two vectors of doubles >= 0."""
        ratio = _plain(p) / _plain(q)
        usual = (abs(ratio - 1) >= self.tangent.radius) & (ratio > 1 / FAR) & (ratio < FAR)
        if not bool(usual.any()):
            return self._unusual(p, q)
        if p is not _plain(p) or q is not _plain(q):  # a gradient must not see what is not used
            p_used, q_used = self.backend.where(usual, p, 2 * q + 2), self.backend.where(usual, q, q + 1)
            result = q_used * self.middle(p_used / q_used)
        else:
            result = q * self.middle(ratio)
        if not bool(usual.all()):
            rest = self.backend.places(~usual)
            result[rest] = self._unusual(p[rest], q[rest])
        return result

    def _unusual(self, p: Any, q: Any) -> Any:
        result = self.backend.fill(p, 0.0)
        for own, rule in self._rules(p, q):
            if bool(own.all()):
                return rule(p, q)
            if bool(own.any()):
                result[own] = rule(p[own], q[own])
        return result

    def _rules(self, p: Any, q: Any) -> Iterator[tuple[Any, Rule]]:
        """Yield which atoms are beside 1, far out, or at an end, with the rule for each."""
        near = (p < 2 * q) & (2 * p > q)
        if self.tangent.left == self.tangent.right:
            yield near, lambda p, q: q * self.right((p - q) / q)
        else:
            yield near & (p >= q), lambda p, q: q * self.right((p - q) / q)
            yield near & (p < q), lambda p, q: q * self.left((p - q) / q)
        log = self.backend.functions[sympy.log]
        yield (p > 0) & (2 * p <= q), lambda p, q: q * self.near_zero(log(p) - log(q))
        yield (q > 0) & (2 * q <= p), lambda p, q: p * self.far(log(q) - log(p))
        yield (p == 0) & (q > 0), lambda p, q: _on_the_line(q, p, self.tangent.at_zero)
        yield (q == 0) & (p > 0), lambda p, q: _on_the_line(p, q, self.tangent.at_infinity)


def _plain(x: Any) -> Any:
    """Return x without its gradient: x itself where it has none."""
    return x.detach() if getattr(x, "requires_grad", False) else x


def _on_the_line(mass: Any, other: Any, end: tuple[float, float | None]) -> Any:
    """Return mass * value + other * slope, where `other` is 0 and counts in gradients alone, if the slope is finite."""
    value, slope = end
    return mass * value if slope is None else mass * value + other * slope


@dataclass(frozen=True)
class Perspective:
    """(p, q) -> q f(p/q) of one generator, for the arrays of every library."""

    generator: Generator

    @cached_property
    def tangent(self) -> Tangent:
        """f above its tangent at 1."""
        return derive_tangent(self.generator)

    @cached_property
    def _cases(self) -> Callable[[Backend], _Cases]:
        return cache(partial(_cases, self.tangent))

    @cached_property
    def _raw(self) -> Callable[[Backend], Function]:
        return cache(partial(_raw, self.generator))

    @cached_property
    def _at_infinity(self) -> float:
        last = self.generator.pieces[-1]
        return float(last.limit(last.expression, sympy.oo))

    def terms(self, p: Any, q: Any) -> Any:
        """Return q f(p/q) - f'(1) (p - q) >= 0, elementwise, for doubles >= 0 of one shape.

        Summed over two distributions they are D_f.
        """
        backend = backend_of(p, q)
        cases, shape = self._cases(backend), p.shape
        p, q = p.reshape(-1), q.reshape(-1)
        size = _CHUNK if backend is numpy_backend() or p.device.type == "cpu" else len(p)
        with np.errstate(all="ignore"):
            found = [cases.terms(p[at : at + size], q[at : at + size]) for at in range(0, len(p), size)]
        return backend.joined(found).reshape(shape)

    def log_terms(self, log_p: Any, log_q: Any) -> Any:
        """Return the terms of densities given by their logarithms, vectors of doubles, -inf where there is none."""
        cases = self._cases(numpy_backend())
        with np.errstate(all="ignore"):
            larger = np.maximum(log_p, log_q)
            safe = np.where(np.isfinite(larger), larger, 0.0)
            result = np.exp(larger) * cases.terms(np.exp(log_p - safe), np.exp(log_q - safe))
            ratio = log_p - log_q
            # beyond, the smaller of the two is nothing beside the larger, but its logarithm counts
            for own, mass, form in ((ratio > _FAR, log_p, cases.far), (ratio < -_FAR, log_q, cases.near_zero)):
                own &= np.isfinite(ratio)
                result[own] = np.exp(mass[own]) * form(-abs(ratio[own]))
        return np.where(larger == -np.inf, 0.0, result)

    def __call__(self, ratio: Any) -> Any:
        """Return f(u) at a number or elementwise; see `Divergence.__call__`."""
        if is_number(ratio):
            return float(self(np.array(ratio, dtype=float)))
        return elementwise(self._on, ratio)

    def _on(self, backend: Backend) -> Function:
        def value(ratio: Any) -> Any:
            found = self._values(backend.wide(ratio).reshape(-1), backend)
            return backend.narrow(found.reshape(ratio.shape), ratio)

        return value

    def _values(self, ratio: Any, backend: Backend) -> Any:
        cases, tangent = self._cases(backend), self.tangent
        beside = abs(ratio - 1) < tangent.radius
        usual = (ratio > 0) & (ratio < float("inf")) & ~beside
        function = self._raw(backend)
        result = function(backend.where(usual, ratio, backend.fill(ratio, 2.0)))
        result = backend.where(ratio >= 0, result, backend.fill(ratio, float("nan")))
        for own, side in ((beside & (ratio >= 1), cases.right), (beside & (ratio < 1), cases.left)):
            step = ratio[own] - 1
            result[own] = side(step) + tangent.slope * step
        for end, value in ((0.0, self.generator.value_at_zero), (float("inf"), self._at_infinity)):
            result = backend.where(ratio == end, backend.fill(ratio, float(value)), result)
        return result


def _raw(generator: Generator, backend: Backend) -> Function:
    """Lower f as it was written, piece by piece."""
    *inner, last = generator.pieces
    branches = [(piece.expression, u <= piece.upper) for piece in inner]
    return lower(sympy.Piecewise(*branches, (last.expression, True)) if inner else last.expression, u, backend)


def _cases(tangent: Tangent, backend: Backend) -> _Cases:
    middle = lower(tangent.expression, u, backend)
    near_zero = _outward(tangent.near_zero, tangent.at_zero[0], backend)
    far = _outward(tangent.far, tangent.at_infinity[0], backend)
    return _Cases(tangent, backend, middle, tangent.left.on(backend), tangent.right.on(backend), near_zero, far)


def _outward(form: sympy.Expr, end: float, backend: Backend) -> Function:
    """Lower a form in the logarithm of a small ratio, with its limit, if that is finite, where e^v would be 0."""
    function = lower(form, v, backend)
    if end == float("inf"):
        return function
    return lambda x: backend.where(x > -_FAR, function(backend.clip(x, -_FAR, None)), backend.fill(x, end))
