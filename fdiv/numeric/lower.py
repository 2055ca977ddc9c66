"""From SymPy to callables: one small interpreter for every array library.

`lower` walks an expression once and returns nested closures; it generates no source text. (The gate's oracles, which
share no code with what they judge, let SymPy's lambdify generate it, from expressions that `fdiv.expression` parsed.)
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import sympy
from sympy import Expr, Symbol

from fdiv.numeric.backends import Backend, Function


def lower(expression: Expr, symbol: Symbol, backend: Backend) -> Function:
    """Return `expression` as a function of `symbol`; any shape in, the same shape out.

    Raises:
        NotImplementedError: a function in it is none of the backend's.
    """
    if not expression.has(symbol):
        constant = backend.number(expression)
        return lambda x: backend.fill(x, constant)
    return _closure(expression, symbol, backend)


def _closure(node: Expr, symbol: Symbol, backend: Backend) -> Function:
    if node == symbol:
        return lambda x: x
    if not node.has(symbol):
        constant = backend.number(node)
        return lambda x: constant
    if isinstance(node, sympy.Piecewise):
        return _piecewise(node, symbol, backend)
    if node.is_Pow and not node.exp.has(symbol):
        return _power(_closure(node.base, symbol, backend), node.exp, backend)
    if node.is_Pow:
        return _closure(sympy.exp(node.exp * sympy.log(node.base), evaluate=False), symbol, backend)
    arguments = node.args
    if node.is_Add:  # the constants are added up exactly: 1/(a - 1) - 2^(1 - a)/(a - 1) loses its digits near a = 1
        constants = [argument for argument in arguments if not argument.has(symbol)]
        total = [sympy.Add(*constants)] if constants else []
        arguments = [*(argument for argument in arguments if argument.has(symbol)), *total]
    parts = [_closure(argument, symbol, backend) for argument in arguments]
    if node.is_Add or node.is_Mul:
        join = operator.add if node.is_Add else operator.mul
        return lambda x: reduce(join, [part(x) for part in parts])
    if node.func not in backend.functions:
        raise NotImplementedError(f"{node.func} has no numeric form")
    function = backend.functions[node.func]
    if isinstance(node, sympy.LambertW):
        branch = int(node.args[1]) if len(node.args) > 1 else 0
        return lambda x: function(parts[0](x), branch)  # type: ignore[call-arg]
    return lambda x: function(parts[0](x))


def _power(base: Function, power: Expr, backend: Backend) -> Function:
    if power == -1:
        return lambda x: 1 / base(x)
    if power in (sympy.Rational(1, 2), sympy.Rational(-1, 2)):
        root = backend.functions[sympy.sqrt]
        return (lambda x: root(base(x))) if power > 0 else (lambda x: 1 / root(base(x)))
    exponent = int(power) if power.is_Integer else backend.number(power)
    return lambda x: backend.power(base(x), exponent)


@dataclass(frozen=True)
class _Branch:
    """A branch of a Piecewise, taken below its `bound` and from `start` on, with a point `inside` its interval."""

    function: Function
    start: Any
    bound: Any
    strict: bool
    inside: Any


def _piecewise(node: Expr, symbol: Symbol, backend: Backend) -> Function:
    """Lower a Piecewise whose conditions read ``symbol < c`` or ``symbol <= c``, in increasing order of c.

    A branch is given a point inside its own interval wherever it is not taken, so that no NaN reaches a gradient.
    """
    *conditional, (otherwise, _) = node.args
    last, start, branches = lower(otherwise, symbol, backend), None, []
    for expression, condition in conditional:
        bound = backend.number(condition.rhs)
        inside = bound - 1 if start is None else (start + bound) / 2
        strict = isinstance(condition, sympy.StrictLessThan)
        branches.append(_Branch(lower(expression, symbol, backend), start, bound, strict, inside))
        start = bound
    end = branches[-1].bound

    def value(x: Any) -> Any:
        result = last(backend.where(x > end, x, backend.fill(x, end + 1)))
        for branch in reversed(branches):
            below = x < branch.bound if branch.strict else x <= branch.bound
            own = below if branch.start is None else below & (x >= branch.start)
            sheltered = backend.where(own, x, backend.fill(x, branch.inside))
            result = backend.where(below, branch.function(sheltered), result)
        return result

    return value
