"""From SymPy to callables: one small interpreter for every array library.

`lower` walks an expression once and returns nested closures. No source text is generated, so nothing is executed
that was not written here. `outward` and `cancelled` rewrite what would lose digits, or a branch, in numbers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any

import mpmath
import numpy as np
import sympy
from sympy import Expr, Symbol
from sympy.codegen.cfunctions import expm1, log1p

from fdiv.exact.symbols import u, v

Function = Callable[[Any], Any]


class softplus(sympy.Function):  # noqa: N801  (SymPy names functions in lower case)
    """log(1 + e^x)."""

    def fdiff(self, argindex: int = 1) -> Expr:
        """Return the logistic function."""
        return 1 / (1 + sympy.exp(-self.args[0]))

    def _eval_evalf(self, precision: int) -> Expr:
        return sympy.log(1 + sympy.exp(self.args[0]))._eval_evalf(precision)


@dataclass(frozen=True)
class Backend:
    """What `lower` needs of an array library."""

    functions: Mapping[Any, Function]
    number: Callable[[Expr], Any]
    where: Callable[[Any, Any, Any], Any]
    fill: Callable[[Any, Any], Any]
    clip: Callable[[Any, Any, Any], Any]
    array: Callable[[Any, Any], Any]
    derived: Callable[..., Function] = lambda first, *derivatives: first  # attach derivatives where they can be used
    wide: Function = lambda x: x  # to double precision
    narrow: Callable[[Any, Any], Any] = lambda x, like: x  # back to the precision of an input
    power: Callable[[Any, Any], Any] = operator.pow


def lower(expression: Expr, symbol: Symbol, backend: Backend) -> Function:
    """Return `expression` as a function of `symbol`; any shape in, the same shape out."""
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
    if isinstance(node, sympy.LambertW):
        branch = int(node.args[1]) if len(node.args) > 1 else 0
        return lambda x: backend.functions[sympy.LambertW](parts[0](x), branch)  # type: ignore[call-arg]
    if node.func not in backend.functions:
        raise NotImplementedError(f"{node.func} has no numeric form")
    function = backend.functions[node.func]
    return lambda x: function(parts[0](x))


def _power(base: Function, power: Expr, backend: Backend) -> Function:
    if power == -1:
        return lambda x: 1 / base(x)
    if power in (sympy.Rational(1, 2), sympy.Rational(-1, 2)):
        root = backend.functions[sympy.sqrt]
        return (lambda x: root(base(x))) if power > 0 else (lambda x: 1 / root(base(x)))
    exponent = int(power) if power.is_Integer else backend.number(power)
    return lambda x: backend.power(base(x), exponent)


def _piecewise(node: Expr, symbol: Symbol, backend: Backend) -> Function:
    """Lower a Piecewise whose conditions read ``symbol < c`` or ``symbol <= c``, in increasing order of c.

    A branch is given a point inside its own interval wherever it is not taken, so that no NaN reaches a gradient.
    """
    *branches, (otherwise, _) = node.args
    bounds = [backend.number(condition.rhs) for _, condition in branches]
    result = _sheltered(lower(otherwise, symbol, backend), lambda x: x > bounds[-1], bounds[-1] + 1, backend)
    for i, (branch, condition) in reversed(list(enumerate(branches))):
        inside = bounds[i] - 1 if i == 0 else (bounds[i - 1] + bounds[i]) / 2
        strict = isinstance(condition, sympy.StrictLessThan)
        function = lower(branch, symbol, backend)
        result = _choose(function, result, bounds[i], bounds[i - 1] if i else None, strict, inside, backend)
    return result


def _sheltered(function: Function, taken: Function, inside: Any, backend: Backend) -> Function:
    return lambda x: function(backend.where(taken(x), x, backend.fill(x, inside)))


def _choose(
    low: Function, high: Function, bound: Any, before: Any, strict: bool, inside: Any, backend: Backend
) -> Function:
    def below(x: Any) -> Any:
        return x < bound if strict else x <= bound

    def own(x: Any) -> Any:
        return below(x) if before is None else below(x) & (x >= before)

    sheltered = _sheltered(low, own, inside, backend)
    return lambda x: backend.where(below(x), sheltered(x), high(x))


def _mp_number(expression: Expr) -> Any:
    value = expression.evalf(max(30, mpmath.mp.dps + 5))
    return {sympy.oo: mpmath.inf, -sympy.oo: -mpmath.inf}.get(value) or mpmath.mpmathify(value)


MPMATH = Backend(
    {
        sympy.exp: mpmath.exp,
        sympy.log: mpmath.log,
        sympy.sqrt: mpmath.sqrt,
        sympy.erf: mpmath.erf,
        sympy.LambertW: mpmath.lambertw,
        expm1: mpmath.expm1,
        log1p: mpmath.log1p,
        softplus: lambda x: mpmath.log1p(mpmath.exp(x)),
    },
    _mp_number,
    lambda condition, yes, no: yes if condition else no,
    lambda x, constant: constant,
    lambda x, low, high: min(max(x, low), high),
    lambda values, like: values,
)


@cache
def numpy_backend() -> Backend:
    """Return NumPy with SciPy's erf."""
    from scipy.special import erf

    functions = {
        sympy.exp: np.exp,
        sympy.log: np.log,
        sympy.sqrt: np.sqrt,
        sympy.erf: erf,
        expm1: np.expm1,
        log1p: np.log1p,
        softplus: lambda x: np.logaddexp(x, x.dtype.type(0)),
    }
    return Backend(
        functions,
        float,
        np.where,
        np.full_like,
        np.clip,
        lambda values, like: np.asarray(values, dtype=like.dtype),
        wide=lambda x: np.asarray(x, dtype=np.float64),
        narrow=lambda x, like: x.astype(np.promote_types(like.dtype, np.float32)),
    )


@cache
def torch_backend() -> Backend:
    """Return torch; constants are Python floats, so dtype and device are the input's."""
    import torch

    from fdiv.numeric.autograd import derived

    functions = {
        sympy.exp: torch.exp,
        sympy.log: torch.log,
        sympy.sqrt: torch.sqrt,
        sympy.erf: torch.special.erf,
        expm1: torch.expm1,
        log1p: torch.log1p,
        # not torch's softplus, which drops e^-x above its threshold of 20
        softplus: lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    }
    return Backend(
        functions,
        float,
        torch.where,
        torch.full_like,
        torch.clamp,
        lambda values, like: torch.as_tensor(values, dtype=like.dtype, device=like.device),
        derived,
        lambda x: x if x.device.type == "mps" else x.double(),
        lambda x, like: x.to(torch.promote_types(like.dtype, torch.float32)),
    )


@cache
def flint_backend(bits: int) -> Backend:
    """Return python-flint's complex balls, with constants that are accurate to `bits` bits."""
    from flint import ctx

    def number(expression: Expr) -> Any:
        with ctx.workprec(bits + 32):
            return _ball(expression)

    return Backend(
        {
            sympy.exp: lambda z: z.exp(),
            sympy.log: lambda z: z.log(),
            sympy.sqrt: lambda z: z.sqrt(),
            log1p: lambda z: z.log1p(),
            expm1: lambda z: z.expm1(),
        },
        number,
        lambda condition, yes, no: yes if condition else no,
        lambda x, constant: constant,
        lambda x, low, high: min(max(x, low), high),
        lambda values, like: values,
    )


def _ball(constant: Expr) -> Any:
    """Enclose a constant expression at flint's working precision."""
    from flint import acb, arb, fmpq

    from fdiv.balls.tails import constant_ball

    if constant.is_Rational or constant.is_Float:
        exact = sympy.Rational(constant)
        return acb(arb(fmpq(int(exact.p), int(exact.q))))
    if constant in (sympy.pi, sympy.E):
        return acb(arb.pi()) if constant == sympy.pi else acb(1).exp()
    if constant.is_NumberSymbol:
        return acb(constant_ball(constant))
    parts = [_ball(argument) for argument in constant.args]
    if constant.is_Add or constant.is_Mul:
        return reduce(operator.add if constant.is_Add else operator.mul, parts)
    if constant.is_Pow:
        return parts[0].sqrt() if constant.exp == sympy.Rational(1, 2) else parts[0] ** parts[1]
    if isinstance(constant, sympy.log | sympy.exp):
        return parts[0].log() if isinstance(constant, sympy.log) else parts[0].exp()
    raise NotImplementedError(f"the constant {constant} has no ball")


def outward(expression: Expr, sign: int) -> Expr:
    """Write an expression in u = e^{sign v} so that it is analytic where Re v > 0 and no zero is crossed.

    In log(g) and g^p the monomial of g that dominates for large v is taken out, and log1p of the rest stays on its
    principal branch, while log(g) itself would jump where Im v passes a multiple of pi.
    """
    if not expression.has(u):
        return expression
    if expression == u:
        return sympy.exp(sign * v)
    if isinstance(expression, sympy.log):
        return _outward_log(expression.args[0], sign)
    if expression.is_Pow and not expression.exp.has(u) and not expression.exp.is_Integer:
        return sympy.exp(sympy.expand(expression.exp * _outward_log(expression.base, sign)))
    return expression.func(*(outward(a, sign) for a in expression.args)) if expression.args else expression


def _outward_log(argument: Expr, sign: int) -> Expr:
    monomials: dict[Expr, Expr] = {}
    for term in sympy.Add.make_args(sympy.expand(argument)):
        coefficient, power = term.as_independent(u, as_Add=False)
        base, exponent = power.as_base_exp() if power != 1 else (u, sympy.S.Zero)
        if base != u:
            return sympy.log(outward(argument, sign))
        monomials[sign * exponent] = monomials.get(sign * exponent, sympy.S.Zero) + coefficient
    # the argument is positive, but its leading monomial need not be on a panel that ends, as 3 - u's on (0, 3)
    top = max(monomials, key=lambda power: (bool(monomials[power] > 0), float(power)))
    rest = [c / monomials[top] * sympy.exp((power - top) * v) for power, c in monomials.items() if power != top]
    return sympy.log(monomials[top]) + top * v + (log1p(sympy.Add(*rest)) if rest else 0)


def cancelled(expression: Expr, symbol: Symbol) -> Expr:
    """Replace e^x by expm1(x) + 1 in the terms of a sum, so that the constants cancel exactly."""
    terms = []
    for term in sympy.Add.make_args(sympy.expand(expression)):
        coefficient, factor = term.as_independent(symbol, as_Add=False)
        if isinstance(factor, sympy.exp):
            terms += [coefficient * expm1(factor.args[0]), coefficient]
        else:
            terms.append(term)
    return sympy.Add(*terms)
