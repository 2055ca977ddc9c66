"""A safe parser for generators typed by a user: a whitelist of tokens and nodes, limits, and no evaluation.

Accepted: numbers, pi, E, u, + - * / **, log exp sqrt Abs Max Min Piecewise, and comparisons inside Piecewise. The
text is scanned first, so that a foreign character or name never reaches Python's parser; then it is only parsed
(`ast.parse` runs nothing), every node is measured against the limits, and SymPy objects are built from the outside.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

import sympy
from sympy import Expr

from fdiv.deadline import OutOfTime, within
from fdiv.exact.constants import OpenError, constant_ball
from fdiv.exact.symbols import u
from fdiv.numeric.typed import CONSTANTS, FUNCTIONS, OPERATORS, size
from fdiv.record import Divergence, custom

_LONGEST = 500
_DEEPEST = 40
_MOST_NODES = 160
_LARGEST_POWER = 64
_LARGEST_NUMBER = 1e40
_LARGEST_EXPONENT = 1e5
_LOOKED_AT = (1 / 16, 0.2, 4 / 7, 1.0, 4 / 3, 9.0, 16.0)
_SECONDS = 2.0  # to build what has been measured; it takes milliseconds

_NUMBER, _NAME = r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", r"(?P<name>[A-Za-z_]\w*)"
_TOKEN = re.compile(rf" +|{_NUMBER}|{_NAME}|\*\*|[<>]=?|[-+*/(),]", re.ASCII)
_NAMES = ("u", *CONSTANTS, *FUNCTIONS, "Piecewise", "True")
_INSTEAD = {"ln": "log", "power": "**", "pow": "**", "^": "**"}
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
    plain = re.sub(r"\s", " ", text).rstrip()
    offset = len(plain) - len(plain.lstrip())
    plain = plain[offset:]
    if not plain:
        raise ExpressionError(text, 0, "an empty text is no generator")
    if len(plain) > _LONGEST:
        raise ExpressionError(plain, _LONGEST, f"a generator has at most {_LONGEST} characters, got {len(plain)}")
    _scan(plain)
    try:
        tree = ast.parse(plain, mode="eval").body
    except SyntaxError as error:
        column = min(error.offset - 1, len(plain)) if error.offset else len(plain)
        raise ExpressionError(plain, column, "not an expression") from None
    except (ValueError, RecursionError, MemoryError):
        raise ExpressionError(plain, 0, "not an expression") from None
    measure = _Measure(plain)
    if measure.value(tree, 0) is not None:
        raise ExpressionError(plain, 0, "a generator is a function of u")
    measure.exponents(tree)
    try:
        generator = within(_SECONDS, lambda: _Builder(plain).whole(tree))
    except OutOfTime:
        raise ExpressionError(plain, 0, f"not understood within {_SECONDS:g} seconds") from None
    if not generator.has(u):
        raise ExpressionError(plain, 0, "a generator is a function of u, and this one is constant")
    return custom(generator, " ".join(plain.split()) if name is None else name)


def _scan(text: str) -> None:
    """Refuse any character, name or nesting that no generator has."""
    at = depth = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            hint = f"; write {_INSTEAD[text[at]]}" if text[at] in _INSTEAD else ""
            raise ExpressionError(text, at, f"{text[at]!r} is not allowed in a generator{hint}")
        name = token["name"]
        if name is not None and name not in _NAMES:
            same = (known for known in _NAMES if known.lower() == name.lower())
            near = _INSTEAD.get(name.lower()) or next(same, None)
            hint = f"; write {near}" if near else f": use u, arithmetic, {', '.join(_NAMES[1:-1])}"
            raise ExpressionError(text, at, f"unknown name {name!r}{hint}")
        depth += (token[0] == "(") - (token[0] == ")")
        if depth > _DEEPEST:
            raise ExpressionError(text, at, f"nested more than {_DEEPEST} deep")
        at = token.end()


class _Measure:
    """Walks the tree once, without SymPy: every node is allowed, every number in bounds, and all of it small."""

    def __init__(self, text: str) -> None:
        self.text, self.nodes = text, 0

    def refuse(self, node: ast.AST, message: str) -> ExpressionError:
        return ExpressionError(self.text, getattr(node, "col_offset", 0), message)

    def value(self, node: ast.AST, depth: int, in_exponent: bool = False) -> float | None:
        """Return the value of a constant, None for a function of u; raises ExpressionError."""
        self.nodes += 1
        if depth > _DEEPEST or self.nodes > _MOST_NODES:
            limit = f"nested more than {_DEEPEST} deep" if depth > _DEEPEST else f"more than {_MOST_NODES} parts"
            raise self.refuse(node, limit)
        number = self._value(node, depth + 1, in_exponent)
        if number is not None and (not abs(number) <= _LARGEST_NUMBER or 0 < abs(number) < 1 / _LARGEST_NUMBER):
            raise self.refuse(node, f"a number lies between 1e-40 and 1e40 in size, got {number:.3g}")
        return number

    def _value(self, node: ast.AST, depth: int, in_exponent: bool) -> float | None:
        if isinstance(node, ast.Constant):
            if isinstance(node.value, bool) or not isinstance(node.value, int | float):
                raise self.refuse(node, f"{node.value!r} is not a number")
            digits = re.split("[eE]", self.text[node.col_offset : node.end_col_offset])[0]
            lost = node.value == 0 and digits.strip("0.") != ""  # 1e-400 is 0.0
            if lost or not abs(node.value) <= 1e12 or 0 < abs(node.value) < 1e-12:
                raise self.refuse(node, "a number that is typed lies between 1e-12 and 1e12")
            return float(node.value)
        if isinstance(node, ast.Name):
            if node.id != "u" and node.id not in CONSTANTS:
                raise self.refuse(node, f"{node.id} is a function and needs its arguments")
            return None if node.id == "u" else CONSTANTS[node.id][1]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            inner = self.value(node.operand, depth, in_exponent)
            return inner if inner is None or isinstance(node.op, ast.UAdd) else -inner
        if isinstance(node, ast.BinOp):
            return self._operation(node, depth, in_exponent)
        if isinstance(node, ast.Call):
            return self._call(node, depth, in_exponent)
        raise self.refuse(node, f"{type(node).__name__} is not allowed: use arithmetic and {', '.join(FUNCTIONS)}")

    def _operation(self, node: ast.BinOp, depth: int, in_exponent: bool) -> float | None:
        if type(node.op) not in OPERATORS:
            place = node.left.end_col_offset or 0
            raise ExpressionError(self.text, place, f"the operator {type(node.op).__name__} is not allowed")
        self._not_too_long(node, depth)
        left = self.value(node.left, depth, in_exponent)
        if isinstance(node.op, ast.Pow):
            return self._power(node, left, depth, in_exponent)
        right = self.value(node.right, depth, in_exponent)
        if isinstance(node.op, ast.Div) and right == 0:
            raise self.refuse(node.right, "division by zero")
        return None if left is None or right is None else float(OPERATORS[type(node.op)](left, right))

    def _not_too_long(self, node: ast.BinOp, depth: int) -> None:
        """Refuse a long sum or product as such: as a tree it is as deep as it is long."""
        terms: list[ast.expr] = []
        inner: ast.expr = node
        while isinstance(inner, ast.BinOp) and inner.col_offset == node.col_offset:  # no parenthesis in between
            terms.insert(0, inner.right)
            inner = inner.left
        most = _DEEPEST - depth + 2  # the first term is at depth + len(terms) - 1
        if len(terms) + 1 > max(most, _DEEPEST // 2):  # a shorter one is nested
            message = f"a sum or product of {len(terms) + 1} terms and factors in a row, where {most} are read"
            raise self.refuse(terms[most - 1], message)

    def _power(self, node: ast.BinOp, left: float | None, depth: int, in_exponent: bool) -> float | None:
        constant = self._is_constant(node.right)
        if not constant:
            if left is None or left <= 0:
                raise self.refuse(node.right, "an exponent is a number, unless its base is a positive number")
            self._no_tower(node, in_exponent)
        right = self.value(node.right, depth, in_exponent or not constant)
        if right is None:
            return None
        if abs(right) > _LARGEST_POWER:
            raise self.refuse(node.right, f"an exponent lies in [-{_LARGEST_POWER}, {_LARGEST_POWER}]")
        if left is None:
            return None
        try:
            value = left**right
        except (OverflowError, ZeroDivisionError):
            raise self.refuse(node, "not a finite number") from None
        if isinstance(value, complex):
            raise self.refuse(node, "not a real number")
        return float(value)

    def exponents(self, tree: ast.AST) -> None:
        """Refuse powers such as 3**(1e12*u), all of whose digits SymPy would write out at u = 1."""
        for node in ast.walk(tree):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and not self._is_constant(node.right):
                exponent: ast.AST = ast.BinOp(node.right, ast.Mult(), ast.Call(ast.Name("log"), [node.left], []))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "exp":
                (exponent,) = node.args
                if not any(isinstance(part, ast.Name) and part.id == "log" for part in ast.walk(exponent)):
                    continue
            else:
                continue
            sizes = [size(exponent, ratio) for ratio in _LOOKED_AT]
            if max(sizes) > _LARGEST_EXPONENT:
                where = _LOOKED_AT[sizes.index(max(sizes))]
                raise self.refuse(node, f"an exponential beyond e^{_LARGEST_EXPONENT:g} at u = {where:g}")

    @staticmethod
    def _is_constant(node: ast.AST) -> bool:
        return not any(isinstance(part, ast.Name) and part.id == "u" for part in ast.walk(node))

    def _no_tower(self, node: ast.AST, in_exponent: bool) -> None:
        if in_exponent:
            raise self.refuse(node, "an exponential of an exponential overflows every number")

    def _call(self, node: ast.Call, depth: int, in_exponent: bool) -> float | None:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if node.keywords or name not in {*FUNCTIONS, "Piecewise"}:
            raise self.refuse(node, f"only these can be called: {', '.join(FUNCTIONS)}, Piecewise")
        if name == "Piecewise":
            self._piecewise(node, depth, in_exponent)
            return None
        _, function, fewest, most = FUNCTIONS[str(name)]
        if not fewest <= len(node.args) <= most:
            takes = fewest if fewest == most else f"{fewest} to {most}"
            raise self.refuse(node, f"{name} takes {takes} arguments, got {len(node.args)}")
        exponential = name == "exp" and not self._is_constant(node)
        if exponential:
            self._no_tower(node, in_exponent)
        values = [self.value(argument, depth, in_exponent or exponential) for argument in node.args]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        try:
            return float(function(*known))
        except (OverflowError, ValueError):
            raise self.refuse(node, "not a real finite number") from None

    def _piecewise(self, node: ast.Call, depth: int, in_exponent: bool) -> None:
        """Piecewise((expression, condition), ..., (expression, True))."""
        if not 1 <= len(node.args) <= 8:
            raise self.refuse(node, "Piecewise takes 1 to 8 pairs")
        for pair in node.args:
            if not isinstance(pair, ast.Tuple) or len(pair.elts) != 2:
                raise self.refuse(pair, "Piecewise takes pairs (expression, condition)")
            expression, condition = pair.elts
            self.value(expression, depth, in_exponent)
            if isinstance(condition, ast.Constant) and condition.value is True:
                continue
            if not (isinstance(condition, ast.Compare) and len(condition.ops) == 1):
                raise self.refuse(condition, "a condition is one comparison with <, <=, > or >=, or True")
            for side in (condition.left, *condition.comparators):
                self.value(side, depth, in_exponent)


class _Builder:
    """Builds one SymPy expression from a tree that has been measured."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.positive: list[tuple[int, Expr]] = []  # what a log or root is of, and where it was typed

    def whole(self, tree: Any) -> Expr:
        """Build all of it; refuse a log or root of what is negative that SymPy cancels, so that nobody would see it."""
        generator = self.build(tree)
        everywhere = [] if generator.has(sympy.Piecewise) else self.positive  # a branch need not be defined elsewhere
        nodes = generator.atoms(sympy.log, sympy.Pow)
        kept = {node.args[0] for node in nodes if not (node.is_Pow and node.exp.is_integer)}
        for column, argument in everywhere:
            if argument not in kept and any(_is_negative(argument, ratio) for ratio in _LOOKED_AT):
                raise ExpressionError(self.text, column, "a log or root of what is negative for some u, which cancels")
        return generator

    def build(self, node: Any) -> Expr:
        if isinstance(node, ast.Constant):
            return sympy.Rational(self.text[node.col_offset : node.end_col_offset])  # all digits, not those of a float
        if isinstance(node, ast.Name):
            return u if node.id == "u" else CONSTANTS[node.id][0]
        if isinstance(node, ast.UnaryOp):
            value = self.build(node.operand)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.BinOp):
            left, right = self.build(node.left), self.build(node.right)
            return self.defined(node, OPERATORS[type(node.op)], left, right)
        if node.func.id == "Piecewise":
            pairs = [(self.build(pair.elts[0]), self.condition(pair.elts[1])) for pair in node.args]
            return self.defined(node, sympy.Piecewise, *pairs)
        return self.defined(node, FUNCTIONS[node.func.id][0], *map(self.build, node.args))

    def condition(self, node: Any) -> Any:
        if isinstance(node, ast.Constant):
            return sympy.true
        sides = self.build(node.left), self.build(node.comparators[0])
        return self.defined(node, _COMPARISONS[type(node.ops[0])], *sides)

    def defined(self, node: ast.AST, function: Callable[..., Any], *arguments: Any) -> Any:
        """Apply a function; refuse what is no real finite expression, and powers and numbers that have added up."""
        column = getattr(node, "col_offset", 0)
        if function in (sympy.log, sympy.sqrt) or (function is operator.pow and arguments[1].is_integer is not True):
            self.positive.append((column, arguments[0]))
        try:
            value = function(*arguments)
            broken = value.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.I)
        except (TypeError, ValueError, ArithmeticError, AttributeError, RecursionError):
            broken = True
        if broken:
            raise ExpressionError(self.text, column, "not a real finite expression")
        powers = [power.exp for power in value.atoms(sympy.Pow) if power.exp.is_number]
        if sum(abs(exponent) for exponent in powers) > 2 * _LARGEST_POWER:
            raise ExpressionError(self.text, column, f"the exponents add up to more than {2 * _LARGEST_POWER}")
        if any(max(abs(number.p), number.q) > _LARGEST_NUMBER for number in value.atoms(sympy.Rational)):
            raise ExpressionError(self.text, column, f"a number exceeds {_LARGEST_NUMBER:.0e}")
        return value


def _is_negative(argument: Expr, ratio: float) -> bool:
    """Whether it is certainly negative at that u."""
    try:
        return bool(constant_ball(argument.subs(u, sympy.Rational(ratio))) < 0)
    except OpenError:
        return False
