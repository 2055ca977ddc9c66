"""Without its extras the trainer says what to install."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WITHOUT = """
import sys
from importlib.machinery import PathFinder
found = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name in ("tyro", "diffusers") else found(name, *rest)
import harness
"""


def test_without_its_extras_the_trainer_says_what_to_install():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: harness needs tyro, diffusers: pip install 'fdiv-unlearning[harness]'; fdiv works without"
    )
