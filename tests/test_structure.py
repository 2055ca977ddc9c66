"""The house: every import runs down the floors, no file is long, no folder is full."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {
    "fdiv": (
        ("__main__",),
        ("show",),
        ("__init__",),
        ("losses", "lookup"),
        ("equivalence", "monotone", "expression"),
        ("evidence",),
        ("catalog",),
        ("record",),
        ("between",),
        ("derive",),
        ("balls",),
        ("numeric",),
        ("exact",),
        ("kernel", "deadline"),
    ),
    "theory": (
        ("__main__",),
        ("document", "__init__"),
        ("training",),
        ("general",),
        ("gaussians",),
        ("theorem", "pictures"),
        ("laws",),
    ),
    "harness": (
        ("__init__",),
        ("sweep",),
        ("unlearn", "evaluate", "export", "benchmark"),
        ("erasure",),
        ("examine",),
        ("train", "prepare"),
        ("plan",),
        ("show",),
        ("judging",),
        ("loss",),
        ("attacking",),
        ("data",),
        ("miniature",),
        ("models",),
        ("prompts",),
        ("runs",),
        ("config", "discovery"),
    ),
}
"""From the top down. A room is a folder, or a file beside the folders; rooms of one floor do not import each other."""
MOST_LINES, MOST_FILES = 350, 10


@cache
def _files() -> dict[str, Path]:
    """Every module of the three packages by its dotted name."""
    paths = [path for package in FLOORS for path in sorted((ROOT / package).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def _imports(path: Path) -> set[str]:
    """The modules of ours that a file imports, at its head, inside its functions or for its annotations alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & _files().keys()) or {str(node.module)}
            if not inner <= _files().keys():
                found.add(str(node.module))
    return {name for name in found if name in _files()}


@cache
def _graph() -> dict[str, set[str]]:
    return {name: _imports(path) - {name} for name, path in _files().items()}


def _room(name: str) -> tuple[str, str]:
    package, *rest = name.split(".")
    return package, rest[0] if rest else "__init__"


def _floor(name: str) -> int:
    """How far up; raises StopIteration for a room that is on no floor."""
    package, room = _room(name)
    return next(i for i, floor in enumerate(reversed(FLOORS[package])) if room in floor)


def test_no_files_import_each_other_in_a_circle() -> None:
    tuple(TopologicalSorter(_graph()).static_order())


@pytest.mark.parametrize("package", FLOORS)
def test_every_room_is_on_a_floor_and_every_floor_exists(package: str) -> None:
    rooms = {_room(name)[1] for name in _files() if name.split(".")[0] == package}
    assert rooms == {room for floor in FLOORS[package] for room in floor}


def test_imports_run_down_the_floors() -> None:
    arrows = [(name, other) for name, others in _graph().items() for other in others]
    inside = [(a, b) for a, b in arrows if a.split(".")[0] == b.split(".")[0] and _room(a) != _room(b)]
    assert [f"{a} -> {b}" for a, b in inside if _floor(a) <= _floor(b)] == []


def test_the_packages_import_one_way() -> None:
    between = {(a.split(".")[0], b.split(".")[0]) for a, others in _graph().items() for b in others}
    assert between - {(package, package) for package in FLOORS} == {("theory", "fdiv"), ("harness", "fdiv")}


def test_no_file_is_long_and_no_folder_full() -> None:
    every = [path for folder in (*FLOORS, "tests", "docs") for path in (ROOT / folder).rglob("*.py")]
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in every}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
    folders = {folder: sum(path.parent == folder for path in every) for folder in {path.parent for path in every}}
    assert {str(folder.relative_to(ROOT)): n for folder, n in folders.items() if n > MOST_FILES} == {}
