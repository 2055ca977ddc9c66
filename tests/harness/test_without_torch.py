"""Help and what is wrong with the input come before torch and diffusers are imported, which takes seconds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = ("unlearn", "sweep", "benchmark.__main__", "evaluate", "export.__main__")
HEAVY = ("torch", "diffusers", "transformers", "accelerate", "matplotlib")
ERRORS = [
    (["--objective", "magic"], 2),
    (["--steps", "0"], 2),
    (["--config", "/no/file.yaml"], 2),
    (["--resume", "/no/run"], 2),
    (["--continue", "/no/run"], 2),
    (["--model", "/no/such/folder"], 2),
    (["--target", "comet"], 2),
    (["--anchor", "star"], 2),
    (["--concepts", "/no/file.yaml"], 2),
    (["--stop-when", "UA>0.9"], 2),
    (["--latents", "1", "--concepts", "{two}"], 2),
    (["--output", "{taken}"], 2),
    (["--divergence", "helinger"], 2),
    (["--divergence", "nowhere.py:mine"], 2),
    (["--divergence", "u*log(u)**2"], 1),
]
SCRIPT = f"""
import importlib, json, sys
cases, codes = json.loads(sys.argv[1]), []
for command, arguments in cases:
    try:
        code = importlib.import_module(f"harness.{{command}}").main(arguments)
    except SystemExit as end:
        code = end.code
    codes.append([code, sorted(set({HEAVY}) & sys.modules.keys())])
print("RESULT" + json.dumps(codes))
"""


OTHERS = [
    ("sweep", ("--divergences", "helinger")),
    ("benchmark.__main__", ("--shape", "cube")),
    ("evaluate", ("/no/run",)),
    ("export.__main__", ("/no/run",)),
]


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """By command and arguments, the exit code and what was imported by then; all in one process, one after another."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "two.yaml").write_text("- {target: star}\n- {target: outline}\n")
    places = {"two": folder / "two.yaml", "taken": folder}
    cases = [("unlearn", tuple(arguments)) for arguments, _ in ERRORS]
    cases += [(command, ("--help",)) for command in COMMANDS] + OTHERS
    filled = [
        (command, [each.format_map(places) if "{" in each else each for each in given]) for command, given in cases
    ]
    arguments = [sys.executable, "-c", SCRIPT, json.dumps(filled)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.rpartition("RESULT")[2])
    return dict(zip(cases, results, strict=True))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_no_torch(ended, command):
    assert ended[command, ("--help",)] == [0, []]


@pytest.mark.parametrize(
    ("arguments", "code"), ERRORS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_an_error_in_the_input_needs_no_torch(ended, arguments, code):
    assert ended["unlearn", tuple(arguments)] == [code, []]


@pytest.mark.parametrize(("command", "arguments"), OTHERS)
def test_an_error_in_another_commands_input_needs_no_torch(ended, command, arguments):
    assert ended[command, arguments] == [2, []]


def test_the_package_needs_no_torch_until_it_is_asked_for_something():
    script = f"import harness, sys; harness.UsageError; print(set({HEAVY}) & sys.modules.keys(), dir(harness))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.startswith("set() ")
    assert "'erase'" in done.stdout
