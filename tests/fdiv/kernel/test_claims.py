"""What the kernel confirms and what not: true statements, false ones, and every kind of damage to a true one."""

from __future__ import annotations

import ast
import copy
import json
import math
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flint import fmpq

import fdiv
from fdiv.catalog import CATALOG
from fdiv.kernel import claims as kernel
from fdiv.kernel import tails
from fdiv.kernel.field import Field
from fdiv.kernel.ledger import Ledger, Unproved
from tests.fdiv.kernel.rare import RARE
from tests.fdiv.kernel.statements import FALSE, TRUE
from tests.fdiv.kernel.words import FOUNDATIONS, GAUSSIAN, value

SOURCES = Path(kernel.__file__).parent


def confirmed(certificate: Any) -> set[str]:
    return {name for name, verdict in kernel.verify(certificate).items() if verdict.confirmed}


@pytest.mark.parametrize("name", TRUE)
def test_what_is_true_is_confirmed(name: str) -> None:
    found = kernel.verify(json.loads(json.dumps(TRUE[name])))
    assert {claim: verdict.reason for claim, verdict in found.items() if not verdict.confirmed} == {}
    assert set(found) == set(TRUE[name]["claims"])


@pytest.mark.parametrize("name", FALSE)
def test_what_is_false_is_not_confirmed(name: str) -> None:
    claim, certificate = FALSE[name]
    assert claim in certificate["claims"]
    assert claim not in confirmed(certificate)
    assert "malformed" not in kernel.verify(certificate)[claim].reason


def test_it_imports_flint_and_the_standard_library_alone() -> None:
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] in {"flint", *sys.stdlib_module_names} or name.startswith("fdiv.kernel.")


@pytest.mark.parametrize("name", CATALOG)
def test_the_whole_catalogue_is_confirmed_by_a_bound_where_there_is_no_closed_form(name: str) -> None:
    record = CATALOG[name]
    found = fdiv.certify(record.bind({parameter.name: parameter.example for parameter in record.parameters}))
    start = time.process_time()
    shown = confirmed(found.statement)
    assert time.process_time() - start < 2.0  # it takes 6 to 66 ms, with a quadrature 30 to 320
    assert shown >= {claim.name for claim in found.claims if claim.evidence in ("proved", "certified")}
    assert {claim.name for claim in found.claims if claim.evidence == "tested"} <= {"activation"}
    closed = fdiv.divergence(found.spec).gaussian.formula is not None
    by_a_bound = {claim.name for claim in found.claims if claim.evidence == "certified"}
    assert by_a_bound == (set() if closed else set(GAUSSIAN))


# Forgeries: every leaf and every branch of a true statement, damaged in every way.

PARTS = {
    "generator": kernel.CLAIMS,
    "cuts": kernel.CLAIMS,
    "order": (),  # another order shows the same, or less
    "covers": (),
    "limits": ("limits",),
    "conjugate": ("conjugate", "conjugate on the whole line"),
    "adjoint": ("adjoint",),
    "activation": ("activation",),
    "gaussian": ("D(s)", "w(s) = dD/ds >= 0"),
    "curvature": ("reduction to MSE",),
}
"""The parts of a statement, and the claims of which one is no longer true where the part is changed."""
ODD: tuple[Any, ...] = (None, 0, 1.5, math.nan, math.inf, True, "", "nan", "inf", "1e5", "1/0", "0x1", "9" * 200)
ODD += (
    [],
    {},
    [[]],
    ["log"],
    ["exec", "1"],
    ["^", "u"],
    ["^", "u", "u"],
    ["log", "0"],
    ["pi", "u"],
    {"zero": "u"},
    "u",
)
OTHER = {"+": "*", "*": "+", "log": "exp", "exp": "log", "max": "min", "min": "max", "<": "<=", "u": "2", "t": "1"}
OTHER |= {"v": "1", "s": "1", "W": "W-1", "abs": "exp", "erf": "exp", "inf": "-inf", "-inf": "inf", "pi": "e"}


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(node, dict | list):
        for key in node if isinstance(node, dict) else range(len(node)):
            yield from places(node[key], (*path, key))


def changed(certificate: Any, path: tuple[Any, ...], new: Any) -> Any:
    forged = copy.deepcopy(certificate)
    inner = forged
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return forged


def near(node: Any) -> list[Any]:
    """Other leaves in the place of this one."""
    if node in OTHER:
        return [OTHER[node]]
    if isinstance(node, str) and node.lstrip("-")[:1].isdigit():
        above, _, under = node.partition("/")
        return [f"{int(above) * 7 + int(under or 1)}/{int(under or 1) * 7}", f"{-int(above) or 3}/{under or 1}"]
    return [None]


def forgeries(certificate: Any) -> Iterator[tuple[str, Any]]:
    for path in places(certificate):
        if not path or path[0] == "claims":
            continue
        node = certificate
        for key in path:
            node = node[key]
        if isinstance(node, list | dict):
            yield path[0], changed(certificate, path, node[:-1] if isinstance(node, list) else {})
            yield path[0], changed(certificate, path, [*node, "1/3"] if isinstance(node, list) else None)
        else:
            for new in near(node):
                yield path[0], changed(certificate, path, new)


COMMON = [name for name in TRUE if name not in RARE]  # the rare ones are there for a rule each
FORGED = [(name, part, forged) for name in COMMON for part, forged in forgeries(TRUE[name])]


def harmless(name: str, part: str, forged: Any) -> bool:
    """Whether a change says the same: by values at some places, read in floating point."""
    before, after = TRUE[name].get(part), forged.get(part)
    try:
        points = [dict.fromkeys("utvs", place) for place in (0.3, 0.45, 0.7)]
        return all(
            math.isclose(value(a, p), value(b, p))
            for a, b in zip(_leaves(before), _leaves(after), strict=True)
            for p in points
        )
    except (ArithmeticError, ValueError, TypeError, KeyError, AttributeError, LookupError):
        return before == after


def _leaves(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return [leaf for part in node.values() for leaf in _leaves(part)]
    expression = isinstance(node, str) or (
        isinstance(node, list) and node and isinstance(node[0], str) and len(node[0]) < 10
    )
    return [node] if expression else [leaf for part in node for leaf in _leaves(part)]


def test_there_are_hundreds_of_forgeries() -> None:
    assert len(FORGED) >= 500
    assert {part for _, part, _ in FORGED} == set(PARTS)


@pytest.mark.parametrize("name", COMMON)
def test_a_forged_statement_loses_a_claim(name: str) -> None:
    """Unless it is another generator of which nothing more is stated, and then what is confirmed is true of it."""
    honest = set(TRUE[name]["claims"])
    for part, forged in [(part, forged) for other, part, forged in FORGED if other == name and PARTS[part]]:
        needed = {*FOUNDATIONS, "limits", "conjugate", *PARTS[part]}
        shown = confirmed({**forged, "claims": sorted(honest & needed)})
        if part in ("generator", "cuts") and "conjugate" not in honest:
            assert_true_of_values(forged["generator"], shown)
        else:
            assert (honest - shown) & set(PARTS[part]) or harmless(name, part, forged), (part, forged[part])


@pytest.mark.parametrize("name", ["kl", "hockey-stick, gamma = 2", "two branches that cross at no formula"])
def test_no_odd_value_anywhere_raises_or_is_confirmed(name: str) -> None:
    certificate = TRUE[name]
    for path in places(certificate):
        for odd in random.Random(str(path)).sample(ODD, 2):
            found = kernel.verify(changed(certificate, path, odd) if path else odd)
            assert set(found) <= set(kernel.CLAIMS)
            if path and path[0] == "generator" and all(v.confirmed for v in found.values()) and found:
                assert harmless(name, "generator", changed(certificate, path, odd))


@pytest.mark.parametrize("order", [0, 1])
def test_no_series_is_of_what_may_not_tend_to_zero(order: int) -> None:
    """Nothing is known of it but O(w^order (log w)^m), and log w has no limit; of order -1 it is a series."""
    tail = tails._Tail(Field(Ledger(1)), 1, 3)
    for series in (lambda x: tail._exp(x, fmpq(1)), lambda x: tail._series(x, [fmpq(0), fmpq(1)])):
        with pytest.raises(Unproved, match="does not tend to zero"):
            series(({}, fmpq(order)))
        assert series(({}, fmpq(-1)))[1] < 0


def test_work_and_memory_are_bounded() -> None:
    deep: Any = "u"
    for _ in range(3000):
        deep = ["exp", deep]
    tower: Any = "u"
    for _ in range(40):
        tower = ["^", ["+", tower, ["log", tower], "1"], "7"]
    wide = ["*", *(["+", "u", ["log", ["+", "u", f"{k}"]]] for k in range(2, 14))]
    primes = ["log", ["+", "u", "9" * 100 + "7"]]
    dense = ["^", ["+", *(["^", "u", f"{k}/7"] for k in range(1, 60))], "11"]
    circle: list[Any] = ["+"]
    circle.append(circle)
    for generator in (deep, tower, wide, dense, primes, ["^", "2", "9" * 100], ["^", "u", "9" * 100], circle):
        start = time.process_time()
        forged = {"generator": generator, "cuts": [], "order": 210, "claims": list(kernel.CLAIMS)}
        assert "limits" not in confirmed(forged)
        assert time.process_time() - start < 5.0


def random_expression(draw: random.Random, depth: int) -> Any:
    if depth == 0:
        return draw.choice(["u", "u", "1", "2", "1/2", "-1", "3"])
    kind = draw.choice(["+", "+", "*", "*", "log", "exp", "^", "max", "abs"])
    if kind == "^":
        return [kind, random_expression(draw, depth - 1), draw.choice(["2", "-1", "1/2", "3/2", "3"])]
    count = 2 if kind in ("+", "*", "max") else 1
    return [kind, *(random_expression(draw, depth - 1) for _ in range(count))]


@pytest.mark.parametrize("seed", range(4))
def test_what_is_confirmed_of_random_functions_is_true_of_their_values(seed: int) -> None:
    draw, kept = random.Random(seed), 0
    for _ in range(100):
        node = random_expression(draw, draw.choice([1, 2, 2, 3, 3]))
        cuts = draw.choice([[], [], ["1"], ["1", "2"]])
        shown = confirmed({"generator": node, "cuts": cuts, "order": 2, "claims": list(kernel.CLAIMS)})
        assert_true_of_values(node, shown)
        kept += "convexity" in shown
    assert kept > 5


def assert_true_of_values(node: Any, shown: set[str]) -> None:
    if "f(1) = 0" in shown:
        assert value(node, {"u": 1.0}) == pytest.approx(0, abs=1e-9)
    if "finite on (0, inf)" not in shown:
        return
    points, values = [math.exp(x / 20) for x in range(-60, 61)], []
    for point in points:
        try:
            values.append(value(node, {"u": point}))
        except OverflowError:
            values.append(math.inf)
    assert all(isinstance(x, float) and not math.isnan(x) for x in values), node
    for i in range(len(points) - 2 if "convexity" in shown else 0):
        (a, b, c), (fa, fb, fc) = points[i : i + 3], values[i : i + 3]
        chord = fa + (fc - fa) * (b - a) / (c - a) if math.isfinite(fa + fc) else math.inf
        assert fb <= chord + 1e-9 * (abs(fa) + abs(fb) + abs(fc)), (node, b)
