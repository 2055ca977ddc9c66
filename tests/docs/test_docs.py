"""What the documents say is so."""

import json
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import fdiv
from harness import sweep, unlearn
from harness.config import WEIGHTS, Config
from harness.prompts.draft import Draft
from harness.prompts.ladder import check_unnamed, general_ladder, read_ladder
from harness.prompts.vocabulary import read_vocabulary
from harness.runs.command import parse, presets

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def _blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_first_screen_has_the_two_commands_and_ci_runs_exactly_the_second():
    first, second = (block.strip() for block in _blocks("bash")[:2])
    assert "\n" not in first + second
    assert first.endswith("-m harness.unlearn")
    assert (ROOT / ".ci" / "run").read_text().strip().splitlines()[-1] == second


def test_the_library_example_runs_and_prints_what_it_says():
    (example,) = _blocks("python")
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    weights = re.search(r"tensor\(\[(.*)\]\)", done.stdout)
    assert weights is not None
    printed = [float(number) for number in weights[1].split(",")]
    assert printed == pytest.approx([2.718281828 ** (-s / 8) / 4 for s in (0.1, 1.0, 10.0)], abs=1e-4)


def test_the_guide_to_given_distributions_runs_and_prints_what_it_says():
    text = (ROOT / "docs" / "between.md").read_text()
    example = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("0.219")
    assert lines[-1].startswith("1.0 (0.0,) 0.99999")


def _commands(module, text):
    lines = re.findall(rf"python -m {module} (.*?)(?:  +#.*)?$", text, re.MULTILINE)
    assert lines
    return lines


@pytest.mark.parametrize("line", _commands("harness.unlearn", README + unlearn.__doc__))
def test_every_command_shown_has_flags_that_exist_and_a_divergence_that_is_in_the_catalogue(line):
    line = re.sub(r"--(continue|resume) \S+", "", line.split("#")[0])  # runs that are not there
    options = parse(shlex.split(line))
    assert isinstance(options, Config)
    fdiv.resolve(options.divergence)


def test_what_a_command_of_the_readme_reads_is_shipped_or_written_by_one_before_it():
    written, readings = set(), 0
    for flag, path in re.findall(r"(--\w+|harness\.evaluate) ((?:runs|docs)/\S+)", README.partition("## Erasing")[2]):
        if flag == "--output":
            written.add(path)
        else:
            assert path in written or (ROOT / path).is_file(), path
            readings += 1
    assert readings >= 5


def test_the_example_of_kinds_of_prompts_can_be_used_and_is_the_one_shown():
    file = ROOT / "docs" / "examples" / "kinds.yaml"
    own = read_ladder(file)
    assert list(own) == ["implicit", "paraphrase", "misspelled"]
    check_unnamed(file, own, ["Van Gogh"])
    draft = Draft.of(Config(target="Van Gogh", concept_type="style"), None)
    concepts = draft.settle(lambda _, names: [*names])
    kinds = general_ladder(concepts.erased[0], concepts.general, "Claude Monet", own).kinds
    assert list(kinds) == ["name", "several", "superclass", "empty", *own]
    assert "docs/examples/kinds.yaml" in (ROOT / "docs" / "evaluation.md").read_text()


def test_the_example_of_several_concepts_can_be_used():
    options = Config(concepts=ROOT / "docs" / "examples" / "concepts.yaml")
    draft = Draft.of(options, read_vocabulary(WEIGHTS))
    assert [wish.target for wish in draft.erased] == ["star", "mosaic", "pink"]
    for wish in draft.erased:
        fdiv.resolve(wish.divergence)


def _tree():
    """Each name in the README's tree, below its package: `{package: {name, ...}}`; folders end in a slash."""
    tree = README.partition("## The house")[2].split("```")[1]
    found, package = {}, ""
    for line in tree.strip().splitlines():
        package = line.split("/")[0] if not line.startswith(" ") else package
        found.setdefault(package, set()).update(re.findall(r"(?:^  |[;,:] )(\w+(?:\.py|/))(?= |:|,|$)", line))
    return found


@pytest.mark.parametrize("package", ["fdiv", "theory", "harness"])
def test_the_readmes_tree_names_every_module_and_every_room_and_nothing_else(package):
    modules = {file.name for file in (ROOT / package).glob("*.py") if not file.name.startswith("__")}
    folders = {f"{file.parent.name}/" for file in (ROOT / package).rglob("__init__.py")} - {f"{package}/"}
    assert modules | folders <= _tree()[package]
    for name in _tree()[package]:
        assert list((ROOT / package).rglob(name.rstrip("/"))), name


def test_the_table_of_options_is_the_dataclasses_own():
    table = runpy.run_path(str(ROOT / "docs" / "options.py"))["table"]()
    assert table in (ROOT / "docs" / "erasure.md").read_text(), "print it with: python docs/options.py"
    assert len(table.splitlines()) == 2 + len(fields(Config))


def test_the_table_of_presets_is_that_of_their_file():
    table = runpy.run_path(str(ROOT / "docs" / "options.py"))["recipes"]()
    assert table in (ROOT / "docs" / "erasure.md").read_text(), "print it with: python docs/options.py"
    assert len(table.splitlines()) == 2 + len(presets())


@pytest.mark.parametrize("name", ["choosing-a-divergence", "choosing-a-divergence-style"])
def test_the_tables_of_divergences_are_those_of_the_runs(name):
    """Each figure of a table in `docs/choosing-a-divergence.md` comes from the rows that a sweep left beside it."""
    rows = json.loads((ROOT / "docs" / f"{name}.json").read_text())["rows"]
    assert len(rows) >= 10
    assert sweep.table(rows) in (ROOT / "docs" / "choosing-a-divergence.md").read_text()


def test_every_relative_link_and_picture_of_the_readme_exists():
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_constraints_pin_every_dependency():
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    declared = re.findall(r'^\s+"?([a-z-]+)>=|"([a-z-]+)>=', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    names = {a or b for a, b in declared} - {"hatchling"}
    assert len(names) > 15
    assert {name.replace("pre-commit", "pre_commit") for name in names} <= pinned
