"""How a command ends whose output nobody reads any more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.runs.ends import run_command

CODE = """
import sys
from harness.runs.ends import run_command
def work():
    for _ in range(1000):
        print("said", file=sys.{stream}, flush=True)
sys.exit(run_command(work))
"""


def _unread(stream, *command):
    """Exit code, and what was said on the other stream, of a command of which one stream's reader has gone."""
    read, write = os.pipe()
    os.close(read)
    ends = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {stream: write}
    done = subprocess.run([sys.executable, *command], cwd=Path(__file__).parents[3], text=True, **ends)
    os.close(write)
    return done.returncode, done.stdout or done.stderr or ""


def test_help_that_nobody_reads_to_its_end_ends_without_a_word():
    assert _unread("stdout", "-m", "harness.unlearn", "--help") == (141, "")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_work_whose_reader_has_gone_does_not_pass_for_done(stream):
    assert _unread(stream, "-c", CODE.format(stream=stream)) == (141, "")


def test_a_broken_pipe_of_something_else_is_a_bug_as_any():
    def work():
        raise BrokenPipeError(32, "a service has gone")

    with pytest.raises(BrokenPipeError, match="a service has gone"):
        run_command(work)
