"""How a command ends."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_reader_that_has_seen_enough_ends_a_command_without_a_word():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "harness.unlearn", "--help"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=Path(__file__).parents[3], text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
