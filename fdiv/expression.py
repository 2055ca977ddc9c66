"""A safe parser for generators typed by a user: Python's grammar, a whitelist of nodes, no evaluation.

Accepted: numbers, u, + - * / **, log exp sqrt Abs Max Min Piecewise, and comparisons inside Piecewise. The
text is only parsed (`ast.parse` runs nothing), every node is checked, and SymPy objects are built from the
outside.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import sympy
from sympy import Expr

from fdiv.calculus import u
from fdiv.divergence import Divergence, custom

_LONGEST = 500
_DEEPEST = 40
_LARGEST_POWER = 64
_LARGEST_NUMBER = 1e40
_FUNCTIONS: dict[str, tuple[Callable[..., Expr], int, int]] = {
    "log": (sympy.log, 1, 1),
    "exp": (sympy.exp, 1, 1),
    "sqrt": (sympy.sqrt, 1, 1),
    "Abs": (sympy.Abs, 1, 1),
    "abs": (sympy.Abs, 1, 1),
    "Max": (sympy.Max, 2, 8),
    "Min": (sympy.Min, 2, 8),
}
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: sympy.StrictLessThan,
    ast.LtE: sympy.LessThan,
    ast.Gt: sympy.StrictGreaterThan,
    ast.GtE: sympy.GreaterThan,
}


class ExpressionError(ValueError):
    """The text is not an accepted generator; the message shows the text with the place marked."""

    def __init__(self, text: str, column: int, message: str) -> None:
        """Mark `column` of `text`."""
        start = max(0, column - 30)
        shown = text[start : start + 60].replace("\n", " ")
        self.column = column
        super().__init__(f"{message}, at >>> {shown[: column - start]}[HERE]{shown[column - start :]}")


def from_expression(text: str, name: str | None = None) -> Divergence:
    """Parse a generator in u, named by its own text unless `name` is given; certifies nothing.

    Raises ExpressionError (a ValueError) that marks the place.
    """
    if len(text) > _LONGEST:
        raise ExpressionError(text, _LONGEST, f"a generator has at most {_LONGEST} characters, got {len(text)}")
    generator = _Reader(text).read()
    if not generator.has(u):
        raise ExpressionError(text, 0, "a generator is a function of u")
    return custom(generator, " ".join(text.split()) if name is None else name)


class _Reader:
    """Builds one SymPy expression from one text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def read(self) -> Expr:
        try:
            tree = ast.parse(self.text.strip(), mode="eval")
        except SyntaxError as error:
            raise ExpressionError(self.text, max(0, (error.offset or 1) - 1), "not an expression") from None
        except (ValueError, RecursionError, MemoryError):
            raise ExpressionError(self.text, 0, "not an expression") from None
        self.text = self.text.strip()
        return self.build(tree.body, 0)

    def refuse(self, node: ast.AST, message: str) -> ExpressionError:
        return ExpressionError(self.text, getattr(node, "col_offset", 0), message)

    def build(self, node: ast.AST, depth: int) -> Expr:
        if depth > _DEEPEST:
            raise self.refuse(node, f"nested more than {_DEEPEST} deep")
        if isinstance(node, ast.Constant):
            return self.number(node)
        if isinstance(node, ast.Name):
            if node.id == "u":
                return u
            raise self.refuse(node, f"unknown name {node.id!r}: a generator is a function of u")
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            value = self.build(node.operand, depth + 1)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.BinOp):
            return self.binary(node, depth)
        if isinstance(node, ast.Call):
            return self.call(node, depth)
        raise self.refuse(
            node, f"{type(node).__name__} is not allowed: use arithmetic, {', '.join(_FUNCTIONS)}, Piecewise"
        )

    def number(self, node: ast.Constant) -> Expr:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise self.refuse(node, f"{node.value!r} is not a number")
        if not abs(node.value) <= 1e12 or 0 < abs(node.value) < 1e-12:
            raise self.refuse(node, "a number lies between 1e-12 and 1e12")
        return sympy.Rational(repr(node.value))

    def binary(self, node: ast.BinOp, depth: int) -> Expr:
        left, right = self.build(node.left, depth + 1), self.build(node.right, depth + 1)
        if isinstance(node.op, ast.Pow):
            if not right.is_number and left != sympy.E:
                raise self.refuse(node.right, "an exponent is a number")
            if right.is_number and not (right.is_real and abs(right) <= _LARGEST_POWER):
                raise self.refuse(node.right, f"an exponent lies in [-{_LARGEST_POWER}, {_LARGEST_POWER}]")
            return self.defined(node, left**right)
        if type(node.op) not in _OPERATORS:
            raise self.refuse(node, f"the operator {type(node.op).__name__} is not allowed")
        if isinstance(node.op, ast.Div) and right == 0:
            raise self.refuse(node.right, "division by zero")
        return self.defined(node, _OPERATORS[type(node.op)](left, right))

    def call(self, node: ast.Call, depth: int) -> Expr:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if node.keywords or name not in {*_FUNCTIONS, "Piecewise"}:
            raise self.refuse(node, f"only these can be called: {', '.join(_FUNCTIONS)}, Piecewise")
        if name == "Piecewise":
            return self.piecewise(node, depth)
        function, fewest, most = _FUNCTIONS[str(name)]
        if not fewest <= len(node.args) <= most:
            raise self.refuse(node, f"{name} takes {fewest} to {most} arguments, got {len(node.args)}")
        return self.defined(node, function(*(self.build(argument, depth + 1) for argument in node.args)))

    def piecewise(self, node: ast.Call, depth: int) -> Expr:
        """Piecewise((expression, condition), ..., (expression, True))."""
        branches = []
        for pair in node.args:
            if not isinstance(pair, ast.Tuple) or len(pair.elts) != 2:
                raise self.refuse(pair, "Piecewise takes pairs (expression, condition)")
            branches.append((self.build(pair.elts[0], depth + 1), self.condition(pair.elts[1], depth + 1)))
        if not branches or len(branches) > 8:
            raise self.refuse(node, "Piecewise takes 1 to 8 pairs")
        return sympy.Piecewise(*branches)

    def condition(self, node: ast.AST, depth: int) -> Any:
        if isinstance(node, ast.Constant) and node.value is True:
            return sympy.true
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARISONS:
            left, right = self.build(node.left, depth), self.build(node.comparators[0], depth)
            return _COMPARISONS[type(node.ops[0])](left, right)
        raise self.refuse(node, "a condition is one comparison with <, <=, > or >=, or True")

    def defined(self, node: ast.AST, value: Expr) -> Expr:
        if value.has(sympy.zoo, sympy.nan, sympy.oo, sympy.I):
            raise self.refuse(node, "not a real finite expression")
        if sum(abs(power.exp) for power in value.atoms(sympy.Pow) if power.exp.is_number) > 2 * _LARGEST_POWER:
            raise self.refuse(node, f"the exponents add up to more than {2 * _LARGEST_POWER}")
        if any(abs(number) > _LARGEST_NUMBER for number in value.atoms(sympy.Rational)):
            raise self.refuse(node, f"a number exceeds {_LARGEST_NUMBER:.0e}")
        return value
