"""Systematic mutants of the kernel: ``python -m tests.fdiv.kernel.systematic MINUTES SEED [FILE ...]``.

Every comparison, sum, product, number, truth value, condition and negation of `fdiv/kernel` is changed in turn, in an
order that the seed shuffles, and what the kernel then confirms of each statement of the tests is compared with what it
confirms now; of those that are left the same is asked of the statements of the catalogue's examples. A mutant that
changes nothing has survived, and is printed.
"""

from __future__ import annotations

import ast
import copy
import importlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fdiv
from fdiv.kernel import claims as kernel
from tests.fdiv.kernel.test_mutants import CASES

SOURCES = Path(kernel.__file__).parent
_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_COMBINED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_LONGEST = 30  # seconds that a mutant may take over one statement


class _TooLong(BaseException):
    """A mutant that does not come to an end is seen."""


def variants(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """Yield (field, changed value) for every way to change a node."""
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            for other in _COMPARED[type(operator)]:
                yield "ops", [*node.ops[:i], other(), *node.ops[i + 1 :]]
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _COMBINED:
        yield "op", _COMBINED[type(node.op)]()
    if isinstance(node, ast.BoolOp):
        yield "op", ast.Or() if isinstance(node.op, ast.And) else ast.And()
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield "value", not node.value
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield "value", node.value + 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield "op", ast.UAdd() if isinstance(node.op, ast.USub) else None
    if isinstance(node, ast.If | ast.IfExp):
        yield "test", ast.Constant(True)
        yield "test", ast.Constant(False)


def mutants(files: Iterable[Path]) -> list[tuple[str, int, str, str]]:
    """Return (file, line, the line's old text, the whole mutated source) of every mutant of the files."""
    found = []
    for path in files:
        source = path.read_text()
        tree = ast.parse(source)
        unread = _annotations(tree)
        for at, node in enumerate(ast.walk(tree)):
            if node in unread:
                continue
            for field, value in variants(node):
                changed = copy.deepcopy(tree)
                twin = list(ast.walk(changed))[at]
                if field == "op" and value is None:
                    twin.op, twin.operand = ast.Not(), ast.UnaryOp(ast.Not(), twin.operand)  # type: ignore[attr-defined]
                else:
                    setattr(twin, field, value)
                line = getattr(node, "lineno", 0)
                new = ast.unparse(twin).splitlines()[0]
                shown = f"{ast.unparse(node).splitlines()[0]}  ->  {new}"
                found.append((path.stem, line, shown, ast.unparse(ast.fix_missing_locations(changed))))
    return found


def _annotations(tree: ast.AST) -> set[ast.AST]:
    """Return all that stands in annotations, which nobody looks at when the kernel runs."""
    found = [getattr(node, name, None) for node in ast.walk(tree) for name in ("annotation", "returns")]
    return {inner for annotation in found if annotation is not None for inner in ast.walk(annotation)}


def shown(verify: Any, certificate: Any) -> set[str]:
    """Return the claims that are confirmed of a statement."""
    return {claim for claim, verdict in verify(certificate).items() if verdict.confirmed}


def catalogue() -> dict[str, Any]:
    """Return the statements of the catalogue's examples."""
    examples = {record.name: {p.name: p.example for p in record.parameters} for record in fdiv.CATALOG.values()}
    return {name: dict(fdiv.certify(fdiv.divergence(name, **values)).statement) for name, values in examples.items()}


def killed(file: str, source: str, cases: dict[str, Any], right: dict[str, set[str]]) -> str | None:
    """Return the statement that shows a mutant first, None if it survives."""
    package = f"kernel_{time.monotonic_ns()}"
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(SOURCES, Path(folder) / package, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (Path(folder) / package).rglob("*.py"):
            text = source if path.stem == file else path.read_text()
            path.write_text(text.replace("fdiv.kernel", package))
        sys.path.insert(0, folder)
        try:
            signal.alarm(_LONGEST)
            verify = importlib.import_module(f"{package}.claims").verify
            for name in right:
                signal.alarm(_LONGEST)
                if shown(verify, cases[name]) != right[name]:
                    return name
        except _TooLong:
            return "it takes too long"
        except Exception as error:
            return f"{type(error).__name__}"
        finally:
            signal.alarm(0)
            sys.path.remove(folder)
            for name in [name for name in sys.modules if name.startswith(package)]:
                del sys.modules[name]
    return None


def main(minutes: float, seed: int, *files: str) -> None:
    """Try mutants of all files, or of those named, for that many minutes of processor time; say which survive."""

    def stop(*_: Any) -> None:
        raise _TooLong

    signal.signal(signal.SIGALRM, stop)
    every = mutants(path for path in sorted(SOURCES.rglob("*.py")) if not files or path.stem in files)
    random.Random(seed).shuffle(every)
    right, end, tried, left = _confirmed(CASES), time.process_time() + 60 * minutes, 0, []
    for mutant in every:
        if time.process_time() > end:
            break
        tried += 1
        file, line, change, source = mutant
        seen = killed(file, source, CASES, right)
        if seen is None:
            left.append(mutant)
        elif seen in right:  # what has shown one mutant shows many
            right = {seen: right[seen], **right}
    cases = catalogue()
    right, survived = _confirmed(cases), 0
    for file, line, change, source in left:
        if killed(file, source, cases, right) is None:
            survived += 1
            print(f"{file}:{line}: {change}", flush=True)
    print(f"{tried} of {len(every)} mutants: {tried - len(left)} seen by the tests' statements, {survived} by nothing")


def _confirmed(cases: dict[str, Any]) -> dict[str, set[str]]:
    return {name: shown(kernel.verify, certificate) for name, certificate in cases.items()}


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
