"""The words of a typed generator, and its value in floating point."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

import sympy
from sympy import Expr

CONSTANTS: dict[str, tuple[Expr, float]] = {"pi": (sympy.pi, math.pi), "E": (sympy.E, math.e)}
FUNCTIONS: dict[str, tuple[Callable[..., Expr], Callable[..., float], int, int]] = {
    "log": (sympy.log, math.log, 1, 1),
    "exp": (sympy.exp, math.exp, 1, 1),
    "sqrt": (sympy.sqrt, math.sqrt, 1, 1),
    "Abs": (sympy.Abs, abs, 1, 1),
    "Max": (sympy.Max, max, 2, 8),
    "Min": (sympy.Min, min, 2, 8),
}
OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def at(node: Any, ratio: float) -> float:
    """Return the value of a measured tree at u = `ratio`, in floating point, as far as it goes."""
    if isinstance(node, ast.Constant):
        return float(str(node.value))
    if isinstance(node, ast.Name):
        return ratio if node.id == "u" else CONSTANTS[node.id][1]
    if isinstance(node, ast.UnaryOp):
        value = at(node.operand, ratio)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        return float(OPERATORS[type(node.op)](at(node.left, ratio), at(node.right, ratio)))
    if node.func.id == "Piecewise":
        return max((at(pair.elts[0], ratio) for pair in node.args), key=abs)
    return float(FUNCTIONS[node.func.id][1](*(at(argument, ratio) for argument in node.args)))


def size(node: Any, ratio: float) -> float:
    """Return the size of a measured tree at u = `ratio`: 0 where it has none, infinite where it overflows."""
    try:
        return abs(at(node, ratio))
    except OverflowError:
        return math.inf
    except (ArithmeticError, ValueError, TypeError):
        return 0.0
